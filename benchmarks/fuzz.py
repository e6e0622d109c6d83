"""Ten thousand damaged files of every container: no crash, no hang, nothing left behind, one clear line.

    python benchmarks/fuzz.py
    python benchmarks/fuzz.py --only 4711 --keep damaged.mkv

Valid files of half a second, made by formula, are damaged, each in up to three ways, as (seed, index) says;
the same numbers give the same files. Each goes through what a user's file goes through: its sound is decoded,
its picture too, every eighth is separated, and some by the default model, by faces, or enhanced. It does so
in a process of its own kind: one that dies or takes too long is counted, ended and replaced. What must not
be: a crash, a hang, an error that is none of unmingle's or does not name the file in one line, files left
behind or open, something printed, memory that grows.
"""

import argparse
import itertools
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import report
from fuzz_checks import Found, check, work
from fuzz_mutations import mutate
from fuzz_seeds import KINDS, make

N = 10_000
LIMIT_S = 20.0  # that a file may take on a busy machine
Run = Callable[[Connection, dict[str, bytes], int, Path], None]  # what a process does: see `work`
HUGE_MB = 500.0  # that a file of less than a megabyte may not take


def make_seeds(folder: Path) -> dict[str, bytes]:
    """The contents of all valid files, by their names."""
    return {kind.name: make(kind, folder).read_bytes() for kind in KINDS}


class Worker:
    """A process that checks files.

    Attributes:
        pipe: through which numbers go and what was found comes back.
        index: of the file that is being checked; None = none.
        began: when that began [s, `time.monotonic`].
    """

    def __init__(self, seeds: dict[str, bytes], seed: int, folder: Path, run: Run = work) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._folder = folder
        folder.mkdir()
        self._process = context.Process(target=run, args=(other, seeds, seed, folder), daemon=True)
        self._process.start()
        other.close()
        self.pipe.recv()  # it is ready
        self.index: int | None = None
        self.began = 0.0

    def give(self, index: int) -> None:
        """Let it check the file of this number."""
        self.index, self.began = index, time.monotonic()
        self.pipe.send(index)

    def end(self) -> int | None:
        """Make sure that it has ended; return its exit code, negative for a signal."""
        self._process.join(0.5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return self._process.exitcode


def fuzz(
    seeds: dict[str, bytes],
    seed: int,
    indices: range,
    folder: Path,
    n_workers: int = 1,
    limit_s: float = LIMIT_S,
    run: Run = work,
) -> tuple[list[Found], list[list[Found]]]:
    """Check damaged files.

    Returns:
        What was found, in order; and the same by process, in the order in which each checked them.
    """
    waiting, found, numbers = iter(indices), {}, itertools.count()
    lives: dict[Connection, list[Found]] = {}
    workers: dict[Connection, Worker] = {}

    def hire() -> None:
        worker = Worker(seeds, seed, folder / f"worker-{next(numbers)}", run)
        workers[worker.pipe], lives[worker.pipe] = worker, []
        if (index := next(waiting, None)) is not None:
            worker.give(index)

    def dismiss(worker: Worker, what: str) -> None:
        index = worker.index
        del workers[worker.pipe]
        seconds, code = time.monotonic() - worker.began, worker.end()
        if not what:
            what = f"crash: {signal.Signals(-code).name if code and code < 0 else f'exit code {code}'}"
        assert index is not None
        found[index] = Found(index, False, seconds, 0.0, 0.0, "", [what])
        print(describe(found[index], seeds, seed), flush=True)
        hire()

    for _ in range(n_workers):
        hire()
    while busy := [worker for worker in workers.values() if worker.index is not None]:
        ready = wait([worker.pipe for worker in busy], 1.0)
        for worker in busy:
            if worker.pipe in ready:
                try:
                    result = worker.pipe.recv()
                except EOFError:
                    dismiss(worker, "")
                    continue
                found[result.index] = result
                lives[worker.pipe].append(result)
                if result.wrong:
                    print(describe(result, seeds, seed), flush=True)
                worker.index = None
                if (index := next(waiting, None)) is not None:
                    worker.give(index)
            elif time.monotonic() - worker.began > limit_s:
                dismiss(worker, f"hang: more than {limit_s:g} s")
    for worker in workers.values():
        worker.pipe.send(None)
        worker.end()
    return [found[index] for index in sorted(found)], list(lives.values())


def describe(found: Found, seeds: dict[str, bytes], seed: int) -> str:
    """One line about a file that something is wrong with."""
    mutated = mutate(seeds, seed, found.index)
    return f"{found.index} ({mutated.seed}: {', '.join(mutated.how)}): {'; '.join(found.wrong)}"


def summary(found: list[Found], seeds: dict[str, bytes], seed: int) -> list[dict[str, Any]]:
    """A row per container, and one of all."""
    groups: dict[str, list[Found]] = {}
    for each in found:
        groups.setdefault(mutate(seeds, seed, each.index).seed.rsplit(".", 1)[1], []).append(each)
    rows = []
    for name, its in [*sorted(groups.items()), ("all", found)]:
        wrong = Counter(line.split(":")[0].split()[0] for each in its for line in each.wrong)
        crashes, hangs = wrong.pop("crash", 0), wrong.pop("hang", 0)
        left = sum("left " in line for each in its for line in each.wrong)
        rows.append(
            {
                "container": name,
                "files": len(its),
                "opened": sum(each.opened for each in its),
                "refused": sum(bool(each.said) for each in its),
                "median time [ms]": 1e3 * float(np.median([each.seconds for each in its])),
                "worst [s]": max(each.seconds for each in its),
                "most memory [MB]": max(each.peak_mb for each in its),
                "crashes": crashes,
                "hangs": hangs,
                "leftovers": left,
                "other faults": sum(wrong.values()) - left,
            }
        )
    return rows


def memory_lines(lives: list[list[Found]]) -> list[str]:
    """How much memory each process had in the first, second, fifth and last tenth of its files."""
    lines = []
    for number, its in enumerate((life for life in lives if len(life) >= 100), 1):
        tenth = len(its) // 10
        parts = [its[k * tenth : (k + 1) * tenth] for k in (0, 1, 4, 9)]
        first, second, fifth, last = (float(np.median([each.rss_mb for each in part])) for part in parts)
        lines.append(
            f"Process {number}, {len(its)} files: memory {first:.0f} MB in the first tenth of them, "
            f"{second:.0f} MB in the second, {fifth:.0f} MB in the fifth, {last:.0f} MB in the last: "
            f"{100 * (last / fifth - 1):+.1f} % since the fifth."
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=N, help="how many files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first one")
    parser.add_argument("--workers", type=int, default=1, help="processes at once")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="that a file may take [s]")
    parser.add_argument("--only", type=int, help="check the file of this number only, in this process")
    parser.add_argument("--keep", type=Path, help="with --only: where that file is kept")
    parser.add_argument(
        "--quick", action="store_true", help="only see that it runs: 100 files; nothing is kept"
    )
    options = parser.parse_args()
    before = report.machine()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        (folder / "seeds").mkdir()
        seeds = make_seeds(folder / "seeds")
        if options.only is not None:
            mutated = mutate(seeds, options.seed, options.only)
            if options.keep:
                options.keep.write_bytes(mutated.content)
            (folder / "only").mkdir()
            result = check(mutated, options.only, folder / "only")
            print(mutated.seed, ", ".join(mutated.how), result, sep="\n")
            sys.exit(bool(result.wrong))
        n = 100 if options.quick else options.n
        indices = range(options.start, options.start + n)
        found, lives = fuzz(seeds, options.seed, indices, folder, options.workers, options.limit)
    huge = [each for each in found if each.peak_mb > HUGE_MB]
    parts = [
        before,
        report.table(summary(found, seeds, options.seed)),
        *memory_lines(lives),
        f"{len(huge)} files took more than {HUGE_MB:g} MB{': ' if huge else ''}"
        f"{', '.join(f'{each.index} ({each.peak_mb:.0f} MB)' for each in huge[:20])}.",
    ]
    report.publish("fuzz", parts, keep=not options.quick and n == N)
    sys.exit(bool(huge or any(each.wrong for each in found)))


if __name__ == "__main__":
    main()
