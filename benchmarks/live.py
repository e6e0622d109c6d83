"""Whether `unmingle live` keeps up with a source that plays in real time, and how late what it heard comes
out.

    python benchmarks/live.py

A pipe is fed as a microphone would feed it, a block whenever its last sample has been heard: five seconds of
silence with a click in their middle, then the example's two voices in noise. Every sample that comes out is
timed against the moment at which it was heard. The latency in the command's first line is the model's; what
is measured holds the computing and the pipes too.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import report

CLICK_S, SILENCE_S = 2.5, 5.0


def source(seconds: float, sample_rate: int) -> np.ndarray:
    """Raw samples `(T,)`, 16 bits."""
    samples = report.talk(seconds, sample_rate) + 0.01 * np.random.default_rng(0).standard_normal(
        round(seconds * sample_rate)
    )
    samples[: round(SILENCE_S * sample_rate)] = 0
    samples[round(CLICK_S * sample_rate)] = 0.9
    return (32767 * samples.clip(-1, 1)).astype("<i2")


def play(
    command: list[str], samples: np.ndarray, sample_rate: int, block: int
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Feed the command in real time; return what came out `(T,)`, how long after it was heard [s] `(T,)`, and
    what it said.
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin and process.stdout and process.stderr
    said = [process.stderr.readline().decode().strip()]  # it is ready when it has said what it is
    arrived: list[tuple[float, bytes]] = []

    def listen(pipe: Any) -> None:
        while data := os.read(pipe.fileno(), 1 << 16):
            arrived.append((time.perf_counter(), data))

    threads = [
        threading.Thread(target=listen, args=(process.stdout,)),
        threading.Thread(target=lambda: said.extend(process.stderr)),
    ]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    for start in range(0, len(samples), block):
        piece = samples[start : start + block]
        time.sleep(max(0.0, began + (start + len(piece)) / sample_rate - time.perf_counter()))
        process.stdin.write(piece.tobytes())
        process.stdin.flush()
    process.stdin.close()
    for thread in threads:
        thread.join()
    process.wait()
    out = np.frombuffer(b"".join(data for _, data in arrived), "<i2")
    when = np.concatenate([np.full(len(data) // 2, at) for at, data in arrived])
    lines = [line.decode().strip() if isinstance(line, bytes) else line for line in said]
    return out, when - began - np.arange(1, len(when) + 1) / sample_rate, lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="hush-live", help="one that streams and enhances")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--block-ms", type=float, default=16)
    parser.add_argument("--quick", action="store_true", help="only see that it runs: 8 s; nothing is kept")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 8
    from unmingle.runtime.loading import load

    sample_rate, before = load(options.model, task="enhance").sample_rate, report.machine()
    samples = source(options.seconds, sample_rate)
    command = [
        sys.executable,
        "-m",
        "unmingle",
        "live",
        "-",
        "--model",
        options.model,
        "--block-ms",
        str(options.block_ms),
    ]
    out, late, said = play(command, samples, sample_rate, round(options.block_ms / 1000 * sample_rate))
    click = round(CLICK_S * sample_rate)
    found = int(np.abs(out[: round(SILENCE_S * sample_rate)].astype(int)).argmax())
    rows = [
        {
            "model": options.model,
            "heard [s]": len(samples) / sample_rate,
            "came out [s]": len(out) / sample_rate,
            "click moved by [samples]": found - click,
            "click came out after [ms]": 1000 * late[found],
            "median [ms]": 1000 * float(np.median(late)),
            "99.9 % within [ms]": 1000 * float(np.quantile(late, 0.999)),
            "latest [ms]": 1000 * float(late.max()),
            "the last second, median [ms]": 1000 * float(np.median(late[-sample_rate:])),
        }
    ]
    report.publish("live", [before, "\n".join(said), report.table(rows)], keep=not options.quick)


if __name__ == "__main__":
    main()
