# make book and make test need nothing but Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# what _toc.yml names: a user's own notebooks are no chapters
NOTEBOOKS := $(shell sed -n 's|.*file: \(notebooks/[^ ]*\).*|\1.ipynb|p' _toc.yml)
SOURCES := _config.yml _toc.yml $(shell find book -type f -not -path '*/.*' -not -name '* *' 2>/dev/null) $(NOTEBOOKS) $(wildcard results/figures/* results/explorer/* weights/*) $(shell find lib -name '*.py') CHANGELOG.md CONTRIBUTING.md
HTML := _build/html/index.html
quoted = '$(subst ','\'',$(1))'

.DEFAULT_GOAL := help
.PHONY: help book pdf strict test quick check format execute bench calibrate calibrate-authors theory fidelity beyond verify sweep table1 train gpu gpu-results compare explorer solver lab serve lock clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'
	@echo "make fig-NAME   rebuild a figure into results/figures:" $(FIGURES:fig-%=%) | fold -s

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

book: $(HTML)  ## build the HTML book from the committed notebooks
	@echo "The book: file://$(CURDIR)/$(HTML)"

$(HTML): $(READY) $(SOURCES)
	$(BIN)/jupyter-book build . --quiet
	touch $@

strict: $(READY)  ## build the book from nothing; any warning is an error
	rm -rf _build
	$(BIN)/jupyter-book build . -W -n --keep-going

test: $(READY)  ## run every test, notebooks included (three processes: browsers and kernels make tests wait)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

quick: $(READY)  ## run the unit tests of lib/*.py and of the book's sources
	$(BIN)/python -m pytest -n auto -m "not slow" tests/test_*.py lib

check: $(READY)  ## ruff, its formatter, and the types of lib
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)  ## let ruff mend and format what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

execute: $(READY)  ## re-execute all notebooks in place
	$(BIN)/python book/execute.py $(NOTEBOOKS)

# Long runs. Each resumes, on this machine (WORKERS=2 processes) or on a Dask cluster (SCHEDULER=tcp://...).
SCHEDULER ?=
WORKERS ?=
PLACE = $(if $(SCHEDULER),--scheduler $(call quoted,$(SCHEDULER))) $(if $(WORKERS),--workers $(call quoted,$(WORKERS)))

calibrate: $(READY)  ## choose lambda for each mask and noise level (results/lambda.csv)
	$(BIN)/python -m lib.runs lambda $(PLACE)

calibrate-authors: $(READY)  ## the authors' search for lambda and rho (results/authors_search.csv; several hours)
	$(BIN)/python -m lib.runs authors_search $(PLACE)

NETWORK ?= tira
PRESET ?= compact
DEVICE ?= auto
MINUTES ?= 60
train: $(READY)  ## train a network: NETWORK=tira|tirafl PRESET=compact|noisy|paper DEVICE=auto MINUTES=60 RATE=7e-4 BATCH=4 (resumes; weights/)
	$(BIN)/python -m lib.runs.training $(call quoted,$(NETWORK)) --preset $(call quoted,$(PRESET)) --device $(call quoted,$(DEVICE)) --minutes $(call quoted,$(MINUTES)) $(if $(RATE),--rate $(call quoted,$(RATE))) $(if $(BATCH),--batch $(call quoted,$(BATCH)))

OUT ?= _gpu
gpu: $(READY)  ## check and time all on a GPU, then train the paper's networks: MINUTES=60 OUT=_gpu NETWORK=tira|tirafl
	$(BIN)/python -m lib.runs.gpu --minutes "$(MINUTES)" --out "$(OUT)" --network "$(NETWORK)" --device "$(DEVICE)"

gpu-results: $(READY)  ## take what make gpu has left into results/ and weights/: DIR=_gpu
	$(BIN)/python -m lib.runs.gpu --take "$(or $(DIR),$(OUT))"

compare: $(READY)  ## errors of the networks, TV and zero filling against noise (results/networks_error.csv)
	$(BIN)/python -m lib.runs networks_error $(PLACE)

theory: $(READY)  ## compute the long runs of the theory chapter (results/theory_*.csv)
	$(BIN)/python -m lib.runs theory_growth theory_few theory_masks theory_transition $(PLACE)

table1: $(READY)  ## attack the test images of Section 4: WORKERS=2 SCHEDULER=tcp://... (results/table1.csv, sigma, transfer, robustness, sensitivity, final)
	$(BIN)/python -m lib.runs table1 sigma transfer robustness sensitivity final $(PLACE)

beyond: $(READY)  ## measure what the paper leaves open: masks, priors, coils, lesions (results/beyond.csv)
	$(BIN)/python -m lib.runs beyond $(PLACE)

TABLE ?= table1
SHARE ?= 0.05
verify: $(READY)  ## compute a sample of rows again whose code has changed since: TABLE=table1 SHARE=0.05
	$(BIN)/python -m lib.runs $(foreach name,$(TABLE),$(call quoted,$(name))) --verify $(call quoted,$(SHARE)) $(PLACE)

fidelity: $(READY)  ## measure the paper's claims anew from results/ (book/fidelity.md)
	$(BIN)/python -m lib.runs.fidelity

SWEEP ?= notebooks/attack_cell.yml
sweep: $(READY)  ## run a notebook over parameters: SWEEP=FILE.yml SCHEDULER=tcp://... WORKERS=2 (_sweeps/)
	$(BIN)/python -m lib.runs.sweep $(call quoted,$(SWEEP)) $(PLACE)

STEPS ?= 3
explorer: $(READY)  ## compute the frames of the explorer: STEPS=3 of the ascent against a network (results/explorer)
	$(BIN)/python -m lib.runs frames transfer_frames --steps $(call quoted,$(STEPS)) $(PLACE)
	$(BIN)/python -m lib.explorer.page

solver: $(READY)  ## compile solver.c and network.c of the views to WebAssembly (book/_static/*.wasm.js); needs clang and lld
	$(BIN)/python book/solver.py

# a static pattern: a plain fig-% would also match the files in results/figures
FIGURES := $(addprefix fig-, 1 2 3 4 5 6 7 attack-iterations attack-optimum attack-strength constant cover explorer-transfer gpu growth \
	lambda networks-error pairs peers phase radius robustness scaling sensitivity subsampling tolerance training transfer)
.PHONY: $(FIGURES)
$(FIGURES): fig-%: $(READY)
	$(BIN)/python -m lib.figures $*

bench: $(READY)  ## time solver, attack and networks, the first two beside their peers, measure their accuracy (results/)
	$(BIN)/python benchmarks/bench_tv.py
	$(BIN)/python benchmarks/tolerance.py
	$(BIN)/python benchmarks/bench_attack.py
	$(BIN)/python benchmarks/bench_networks.py

pdf: $(READY)  ## print the whole book into _build/book.pdf; needs Chromium, no TeX
	$(BIN)/jupyter-book build . --quiet --builder custom --custom-builder singlehtml
	cp _build/singlehtml/book/index.html _build/singlehtml/book.html
	$(BIN)/python book/pdf.py _build/singlehtml/book.html _build/book.pdf

PORT ?= 8000
serve: book  ## serve the book at http://localhost:8000, or another PORT=8001
	$(BIN)/python book/serve.py $(call quoted,$(PORT))

# at the root, as the chapters' links lead to book/, too
lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks

lock:  ## resolve pyproject.toml anew and write requirements.lock
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet torch==2.13.0
	.venv-lock/bin/python -m pip install --quiet setuptools ".[book,test,check,bench]"
	.venv-lock/bin/python -m pip freeze --all --exclude pip --exclude localized-artifacts > requirements.tmp
	sed 's/+cpu$$//' requirements.tmp > requirements.lock
	rm -rf requirements.tmp .venv-lock build

clean:  ## remove the environment and everything built; trainings and sweeps (_train, _sweeps) stay
	rm -rf $(VENV) .venv-lock _build build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
