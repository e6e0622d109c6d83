"""How many recordings get done by a shell loop, by one call, by a pool of processes and on Ray.

    python benchmarks/batch.py --n 200

Cuts passages of a few seconds out of the example, one after the other 25 ms later, and lets the commands
separate them; every time is of the whole command, its start included. The shell loop does the first tenth,
which is taken for all: each of its files takes as long as the one before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

EXAMPLE = Path(__file__).parents[1] / "examples/two-voices.flac"
SHARE_OF_LOOP = 10


def make(folder: Path, n: int, seconds: float) -> list[Path]:
    samples, rate = soundfile.read(EXAMPLE, dtype="float32")
    room = len(samples) - round(seconds * rate)
    paths = [folder / f"talk-{k:04d}.wav" for k in range(n)]
    for k, path in enumerate(paths):
        start = k * rate // 40 % room
        soundfile.write(path, samples[start : start + round(seconds * rate)], rate)
    return paths


def timed(*arguments: str | Path) -> float:
    began = time.perf_counter()
    run = [sys.executable, "-m", "unmingle", "separate", *map(str, arguments)]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="number of recordings")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each")
    parser.add_argument("--model", help="of the separator; the default, which finds the people, unless given")
    options = parser.parse_args()
    model = ["--model", options.model] if options.model else []
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name), Path(name) / "results"
        (folder / "in").mkdir()
        paths = make(folder / "in", options.n, options.seconds)
        timed(paths[0], "--out", out / "first", *model)  # compiled models are kept
        few = paths[: max(1, options.n // SHARE_OF_LOOP)]
        loop_s = sum(timed(path, "--out", out / "loop", *model) for path in few) / len(few) * options.n
        times = {"shell loop, a command per recording": loop_s}
        times["one command, without a manifest"] = timed(*paths, "--out", out / "one", *model)
        for engine in ("pool", "ray"):
            for workers in (1, 2):
                where = out / f"{engine}-{workers}"
                how = ["--engine", engine, "--workers", str(workers), "--out", where]
                times[f"{engine}, {workers} worker{'s'[: workers - 1]}"] = timed(folder / "in", *how, *model)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{options.n} recordings of {options.seconds:g} s, {os.cpu_count()} cores, load at the end {load}\n"
    )
    print("| | s | recordings per minute | times the loop |\n|---|--:|--:|--:|")
    for what, seconds in times.items():
        print(f"| {what} | {seconds:.0f} | {60 * options.n / seconds:.0f} | {loop_s / seconds:.1f} |")


if __name__ == "__main__":
    main()
