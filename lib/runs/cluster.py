"""Where cells are computed: Dask on this machine's processors, or on the user's own scheduler."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import queue
import signal
import sys
import threading
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing import resource_tracker
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
from distributed.utils import LoopRunner

from lib.runs.provenance import code_hash, provenance

CONNECT_SECONDS = 5  # until a scheduler counts as unreachable
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Bytes that a worker keeps: memory given back to the system comes again page by page, and an attack takes twice as long
KEPT = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
DEATHS = 1  # of workers that a cell may cause on this machine before it is tried alone

Cell = Mapping[str, Any]
Result = tuple[list[dict[str, Any]], dict[str, bytes], str]  # rows, files, and what went wrong


@contextlib.contextmanager
def connect(scheduler: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """A client of the scheduler at an address, or of a cluster on this machine, closed at the end.

    On this machine there are as many workers as the process may use processors, each with one thread.

    Raises
    ------
    ConnectionError : nothing answers at the address within `CONNECT_SECONDS` and one more.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what fails is listed at the end
    if scheduler is not None:
        with _client(scheduler) as client:
            yield client
        return
    settings = {
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(THREADS, 1) | dict.fromkeys(KEPT, 2**28),
    }
    options = {"threads_per_worker": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL, "loop": _loop()}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=workers or CPU_COUNT, dashboard_address="127.0.0.1:0", **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _loop() -> Any:
    """An event loop in a thread of its own, whose processes leave Ctrl-C to this one: they inherit what it blocks."""
    resource_tracker.ensure_running()  # by itself it would start with the first of them, and unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        runner = LoopRunner()
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return runner.loop


def _client(scheduler: str) -> Client:
    answers: queue.SimpleQueue[Client | str] = queue.SimpleQueue()

    def ask() -> None:
        answer: Client | str
        try:
            answer = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except Exception as error:  # whatever comes of talking to something that is no scheduler
            answer = type(error).__name__
        # now: met by the garbage collector in the middle of another client's start, the failed one would block both
        gc.collect()
        answers.put(answer)

    # in a thread: what accepts the connection but never answers would hold the client for ever
    threading.Thread(target=ask, daemon=True).start()
    try:
        client = answers.get(timeout=CONNECT_SECONDS + 1)
    except queue.Empty:
        client = "no answer"
    if isinstance(client, str):
        raise ConnectionError(
            f"no Dask scheduler answers at {scheduler} within {CONNECT_SECONDS} s ({client}). "
            "Is it running (`dask scheduler` prints its address), and is the address right, as tcp://host:8786? "
            "Without --scheduler the run uses this machine."
        )
    return client


def computed(
    client: Client, compute: Callable[..., Any], code: str, cells: Iterable[Cell]
) -> Iterator[tuple[Cell, Result]]:
    """The cells with what ``compute`` gives for them, as they are done.

    A cell whose worker died is tried once more, alone, after all others: it may have died for one beside it.
    """
    waiting, suspects, alone = deque(cells), deque[Cell](), False
    given: dict[Any, Cell] = {}
    pending = as_completed(loop=client.loop)

    def give() -> None:
        nonlocal alone
        alone = alone or not (waiting or given)
        source, room = (suspects, 1) if alone else (waiting, max(1, sum(client.nthreads().values())))
        while source and len(given) < room:  # no more than can run: workers come and go
            cell = source.popleft()
            future = client.submit(_task, compute, code, dict(cell), pure=False)
            given[future.key] = cell
            pending.add(future)

    give()
    for future in pending:
        cell = given.pop(future.key)
        try:  # whatever its status is: a finished result goes with a worker that dies before it is fetched
            result: Result | None = _fetched(future)
        except KilledWorker:
            result = None if not alone else ([], {}, "KilledWorker: its worker died, twice")
        if result is None:
            suspects.append(cell)
        else:
            yield cell, result
        future.release()
        give()


def _task(compute: Callable[..., Any], code: str, cell: Mapping[str, Any]) -> Result:
    """On a worker: the rows of a cell, with what they cost, where they were computed and by which code."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # there is a worker for each processor
    start = _processor_seconds()
    try:
        rows, files = compute(**cell)
        rows = list(rows)
    except Exception as error:  # it stops no other cell; what it leaves to look at may hang on the error
        return [], getattr(error, "files", {}), f"{type(error).__name__}: {error}"
    seconds = (_processor_seconds() - start) / max(1, len(rows))  # each row's share
    origin = {"seconds": f"{seconds:.2f}", "threads": 1, **provenance(), "code": code or code_hash(compute)}
    return [{**row, **origin} for row in rows], dict(files), ""


def _processor_seconds() -> float:
    """What this process and its ended children, such as the kernel of a notebook, have had of the processors."""
    return sum(os.times()[:4])


def _fetched(future: Future) -> Result:
    """What Dask has for a cell, or why it has none."""
    if future.status not in ("finished", "error"):
        return [], {}, f"the scheduler lost it ({future.status})"
    try:
        return future.result()
    except KilledWorker:
        raise
    except (Exception, CancelledError) as error:
        return [], {}, f"{type(error).__name__}: {error}"
