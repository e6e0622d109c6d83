"""Workers in processes of this machine: one that dies takes no more with it than what it was at."""

import os
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from unmingle.batch.items import Item
from unmingle.batch.manifest import Row
from unmingle.batch.worker import Job, Worker, given_up

PATIENCE_S = 10.0  # with a worker that is told to stop
CONTEXT = get_context("spawn")  # what a model has opened does not survive a fork


@dataclass
class Hand:
    """A process, the line to it, the processor's cores that it has, and what it is at."""

    process: Any
    line: Connection
    cores: set[int]
    item: Item | None = None


def run_in_pool(job: Job, items: Sequence[Item], n_workers: int) -> Iterator[Row]:
    """Process items in `n_workers` processes; their rows as they are done."""
    waiting, deaths = deque(items), dict[str, int]()
    hands = [_hire(job, cores) for cores in shares(min(n_workers, len(items)))]
    try:
        while waiting or any(hand.item for hand in hands):
            for index, hand in enumerate(hands):
                if hand.item is None and waiting:
                    hand.item = waiting.popleft()
                    try:
                        hand.line.send(hand.item)
                    except OSError:  # died meanwhile, at nothing
                        waiting.appendleft(hand.item)
                        hands[index] = _replace(hand, job)
            busy = {hand.line: index for index, hand in enumerate(hands) if hand.item}
            for line in wait(list(busy)):
                index = busy[line]  # type: ignore[index]
                hand = hands[index]
                item = hand.item
                assert item is not None
                try:
                    row = hand.line.recv()
                except (EOFError, OSError):
                    hands[index] = _replace(hand, job)
                    deaths[item.input] = n = deaths.get(item.input, 0) + 1
                    if n > job.retries:
                        yield given_up(item, n, said_of(hand.process.exitcode))
                    else:
                        waiting.append(item)
                    continue
                hand.item = None
                if isinstance(row, Exception):
                    raise row
                row.attempts += deaths.get(item.input, 0)
                yield row
    finally:
        for hand in hands:
            hand.process.terminate()
        for hand in hands:
            hand.process.join(PATIENCE_S)
            hand.process.kill()
            hand.process.join()
            hand.line.close()


def said_of(code: int | None) -> str:
    """Why a process ended."""
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def shares(n: int) -> list[set[int]]:
    """The cores that this process may use, divided among `n` workers; all for each where there are fewer."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return [set(cores[k::n] if n <= len(cores) else cores) for k in range(n)]


@contextmanager
def limited_to(cores: set[int]) -> Iterator[None]:
    """What is started meanwhile has these cores: libraries make as many threads as they see cores."""
    if not hasattr(os, "sched_setaffinity") or not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _hire(job: Job, cores: set[int]) -> Hand:
    ours, its = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(its, job), daemon=True)
    with limited_to(cores):
        process.start()
    its.close()  # so that its end is noticed
    return Hand(process, ours, cores)


def _replace(hand: Hand, job: Job) -> Hand:
    hand.process.join(PATIENCE_S)
    hand.line.close()
    return _hire(job, hand.cores)


def _work(line: Connection, job: Job) -> None:
    """What runs in the process, until nobody is at the other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; who started us stops us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        worker = Worker(job)
    except Exception as error:
        line.recv()
        line.send(error)
        return
    try:
        while True:
            line.send(worker(line.recv()))
    except (EOFError, OSError):
        return
