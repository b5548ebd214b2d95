"""Tira in the page beside torch: its images, its derivative, the ascent against it."""

import functools
import json

import pytest
import torch

from lib.attack import disk_weight, localized_attack, power_ascent
from lib.explorer import IMAGES, features
from lib.explorer.data import WORKER, static_text
from lib.explorer.trained import network_data
from lib.networks import LINES, N, load_network
from lib.operators import MaskedFourier, radial_mask

OP = MaskedFourier(radial_mask(N, LINES), real=True)
# the first job and, once it has answered, the others; as text, which is faster
ASK = """async (text) => {
  const { worker: script, weights, jobs } = JSON.parse(text), answers = [];
  const worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  const send = (job, i) => worker.postMessage({ ...job, id: i + 1, n: 256, lines: 40, weights });
  for (const job of jobs)
    for (const name of ["image", "feature"]) if (job[name]) job[name] = Float32Array.from(job[name]);
  return await new Promise((resolve) => {
    worker.onmessage = ({ data }) => {
      answers.push(data);
      if (answers.length === 1) jobs.forEach((job, i) => i && send(job, i));
      if (data.id !== jobs.length || !(data.done || data.error)) return;
      worker.terminate();
      resolve(JSON.stringify(answers, (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value)));
    };
    send(jobs[0], 0);
  }); }"""


@pytest.fixture
def ask(browser):
    """A function that sends jobs to a new worker and returns its answers until the last one is done."""
    page = browser.new_page()
    job = {"worker": static_text(*WORKER), "weights": network_data()}
    yield lambda *jobs: json.loads(page.evaluate(ASK, json.dumps({**job, "jobs": jobs})))
    page.close()


@functools.cache
def tira():
    network = load_network("tira")
    return lambda y: network(y)  # as a function: in single precision throughout


def listed(image):
    return image.flatten().tolist()


def picture(values):
    return torch.tensor(values).reshape(N, N)


def test_images_of_tira_agree_with_torch(ask):
    x, d = IMAGES["brain"](), features.disc(N, (100, 140), 6)
    y = OP.A(x)
    e = features.perturbation(OP, d, 0.08 * torch.linalg.vector_norm(y))
    (answer,) = ask({"kind": "network", "image": listed(x), "feature": listed(d), "noise": 0.08})
    clean, attacked = tira()(torch.stack([y, y + e]))
    assert (attacked - clean).abs().max() > 0.1
    expected = {"clean": clean, "attacked": attacked, "artifact": attacked - clean, "perturbation": OP.A_dagger(e).real}
    for key, image in expected.items():
        seen = image if key == "perturbation" else image.abs()
        assert (picture(answer[key]) - seen).abs().max() < 1e-3, key


def test_the_first_step_is_the_gradient_of_torch(ask):
    x, mu = IMAGES["ellipses"](), (80, 112)
    answers = ask({"kind": "networkAttack", "image": listed(x), "mu": mu, "sigma": 5, "noise": 0.04, "steps": 1})
    phi, ascent = disk_weight(N, mu, 5), functools.partial(power_ascent, steps=1)
    attack = localized_attack(tira(), OP.A(x), OP, 0.04, phi, optimiser=ascent)
    assert [answer["done"] for answer in answers] == [False, True]
    found, expected = picture(answers[-1]["perturbation"]), attack.image_perturbation.real
    assert torch.linalg.vector_norm(found - expected) < 0.01 * torch.linalg.vector_norm(expected)


def test_the_ascent_agrees_with_lib_attack(ask):
    x, mu = IMAGES["Shepp-Logan"](), (60, 150)
    answer = ask({"kind": "networkAttack", "image": listed(x), "mu": mu, "sigma": 4, "noise": 0.02, "steps": 2})[-1]
    ascent = functools.partial(power_ascent, steps=2)
    attack = localized_attack(tira(), OP.A(x), OP, 0.02, disk_weight(N, mu, 4), optimiser=ascent)
    for name, values in zip(("objective", "peak"), attack.history.tolist(), strict=True):
        assert [step[name] for step in answer["tried"]] == pytest.approx(values, rel=0.01), name
    alpha = max(answer["artifact"]) / max(map(abs, answer["perturbation"]))
    assert alpha == pytest.approx(float(attack.amplification), rel=0.01)
    assert answer["tried"][answer["chosen"]]["objective"] == pytest.approx(float(attack.objective), rel=0.01)


def test_an_ascent_that_was_stopped_goes_on_from_there(ask):
    x, mu = IMAGES["ellipses"](), (80, 112)
    job = {"kind": "networkAttack", "image": listed(x), "mu": mu, "sigma": 5, "noise": 0.04}
    answers = ask({**job, "steps": 5}, {**job, "steps": 1})
    assert [(answer["id"], len(answer["tried"]), answer["done"]) for answer in answers] == [
        (1, 1, False),
        (2, 1, False),
        (2, 2, True),
    ]
    ascent = functools.partial(power_ascent, steps=1)
    attack = localized_attack(tira(), OP.A(x), OP, 0.04, disk_weight(N, mu, 5), optimiser=ascent)
    assert answers[-1]["best"] == answers[-1]["chosen"] == 1
    assert [step["objective"] for step in answers[-1]["tried"]] == pytest.approx(attack.history[0].tolist(), rel=0.01)
    alpha = max(answers[-1]["artifact"]) / max(map(abs, answers[-1]["perturbation"]))
    assert alpha == pytest.approx(float(attack.amplification), rel=0.01)


def test_a_newer_message_stops_the_ascent(ask):
    x = IMAGES["ellipses"]()
    job = {"image": listed(x), "noise": 0.04}
    answers = ask(
        {"kind": "networkAttack", "mu": (80, 112), "sigma": 5, "steps": 5, **job},
        {"kind": "network", "feature": listed(torch.zeros_like(x)), **job},
    )
    assert [answer["id"] for answer in answers] == [1, 2] and not answers[0]["done"]
    for other in (answers[0]["clean"], answers[1]["attacked"]):
        assert answers[1]["clean"] == pytest.approx(other, abs=1e-5)
    assert max(answers[1]["artifact"]) < 1e-5
