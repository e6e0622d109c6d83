"""Speed of shipped models beside Asteroid's, in one run, taking turns; and how long the command line takes to
start.

    benchmarks/setup_asteroid.sh
    python benchmarks/inference.py             # the default beside Conv-TasNet
    python benchmarks/inference.py --classics  # each beside the same network, of the same size

Both separate the same mixture in memory on the same two cores: unmingle through `separate()`, chunks, overlap
and stitching included; Asteroid by one forward pass over the whole mixture, which is the most that it can be
given. Deep clustering includes k-means (Asteroid's recipe takes scikit-learn's); one-and-rest, which Asteroid
lacks, stands beside two passes of Conv-TasNet, uPIT beside Asteroid's recurrent layers between its STFT and
the inverse.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import report
import soundfile

import unmingle
from unmingle.catalog import Card, cards

CONV_TASNET = {"class": "ConvTasNet", "n_src": 2, "sample_rate": 16_000}
COMMAND = [sys.executable, "-m", "unmingle"]


class Asteroid:
    """A network of Asteroid's in another virtual environment; calling it does a task there, see
    `asteroid_worker.py`: the seconds it took.
    """

    def __init__(self, venv: Path, samples: Path, threads: int, network: dict[str, Any]) -> None:
        if not (venv / "bin/python").exists():
            sys.exit(f"{venv}: no such virtual environment; make it with benchmarks/setup_asteroid.sh {venv}")
        worker = [
            str(venv / "bin/python"),
            str(report.HERE / "asteroid_worker.py"),
            str(samples),
            str(threads),
            json.dumps(network),
        ]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._process = subprocess.Popen(
            worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.name = self._answer()

    def __call__(self, task: str = "separate") -> float:
        assert self._process.stdin
        print(task, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        if not line:
            sys.exit("Asteroid's worker ended; its message is above")
        return line

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def counterpart(card: Card) -> dict[str, Any]:
    """Asteroid's network of the same size as a shipped model; empty where there is none."""
    of = {"n_src": 2, "sample_rate": 8_000, **card.config}
    common = {"n_src": of["n_src"] or 2, "sample_rate": of["sample_rate"]}
    if card.model in ("conv-tasnet", "one-and-rest"):
        sizes = {
            theirs: of[ours]
            for theirs, ours in (("bn_chan", "n_features"), ("hid_chan", "n_hidden"), ("skip_chan", "n_skip"))
        }
        sizes |= {key: of[key] for key in ("n_filters", "kernel_size", "n_blocks", "n_repeats")}
        causal = of.get("norm") == "cLN"
        norm = {
            "norm_type": "cgLN" if causal else "gLN",
            "causal": causal,
            "mask_act": "relu",
            "stride": of["kernel_size"] // 2,
        }
        return {
            "class": "ConvTasNet",
            **common,
            **sizes,
            **norm,
            **({"passes": 2} if card.model == "one-and-rest" else {}),
        }
    if card.model == "dprnn":
        sizes = {
            "bn_chan": of["n_features"],
            "hid_size": of["hidden"],
            "chunk_size": of["segment_size"],
            "n_repeats": of["n_blocks"],
        }
        return {
            "class": "DPRNNTasNet",
            **common,
            **sizes,
            **{key: of[key] for key in ("n_filters", "kernel_size", "stride")},
        }
    if card.model == "tasnet":
        sizes = {
            "n_filters": of["n_filters"],
            "kernel_size": of["frame"],
            "stride": of["frame"],
            "n_layers": of["n_layers"],
        }
        return {
            "class": "LSTMTasNet",
            **common,
            **sizes,
            "hid_size": of["hidden"],
            "bidirectional": not of["causal"],
        }
    if card.model in ("upit", "deep-clustering"):
        clusters = bool(card.facts.head)
        sizes = {key: of[key] for key in ("n_fft", "hidden", "n_layers")} | {
            "hop": of["n_fft"] // (4 if "n_embedding" in of else 2)
        }
        sizes |= {"bidirectional": not of.get("causal"), "n_embedding": of["n_embedding"] if clusters else 0}
        return {"class": "Spectrogram", **common, **sizes}
    return {}


def speed(
    model: str | None, network: dict[str, Any], asteroid: Path, length_s: float, repeats: int, threads: int
) -> tuple[list[dict], list[dict]]:
    """Take turns: every system once to warm up, then `repeats` rounds. Return the summary and every round."""
    sample_rate = network["sample_rate"]
    mixture = report.talk(length_s, sample_rate)
    systems: dict[str, Callable[[], float]] = {}
    for backend in ("openvino", "onnxruntime"):
        if find_spec(backend):
            separator = unmingle.load(model, backend=backend)
            name = f"unmingle {separator.name} {separator.card.parameters / 1e6:.1f} M, {separator.backend}"
            systems[name] = partial(
                timed, unmingle.separate, mixture, sample_rate, speakers=network["n_src"], model=separator
            )
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "mixture.npy", mixture)
        other = Asteroid(asteroid, Path(folder) / "mixture.npy", threads, network)
        systems[other.name] = other
        for run in systems.values():
            run()
        rounds = [{name: run() for name, run in systems.items()} for _ in range(repeats)]
        other.close()
    rows = []
    for name in systems:
        factors = [turn[name] / length_s for turn in rounds]
        gains = [turn[other.name] / turn[name] for turn in rounds]
        rows.append(
            {
                "separator": name,
                "real-time factor": median(factors),
                "× real time": 1 / median(factors),
                "faster than Asteroid (median of pairs)": f"{median(gains):.2f}",
                "range": f"{min(gains):.2f} to {max(gains):.2f}",
            }
        )
    return rows, [
        {"round": index, "model": model or "default", "system": name, "seconds": turn[name]}
        for index, turn in enumerate(rounds)
        for name in systems
    ]


def timed(call: Callable, *arguments: Any, **options: Any) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    call(*arguments, **options)
    return time.perf_counter() - began


def cold_start(model: str | None, repeats: int) -> list[dict]:
    """Seconds from the start of a fresh process to its end; the files that it reads are in the system's own
    cache.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soundfile.write(folder / "talk.wav", report.talk(10, 16_000), 16_000)
        separate = [
            "separate",
            str(folder / "talk.wav"),
            "--out",
            str(folder / "out"),
            "--overwrite",
            *(["--model", model] if model else []),
        ]

        def started(arguments: list[str], cache: str) -> float:
            environment = {**os.environ, **report.cache_in(folder / cache)}
            return timed(
                subprocess.run, [*COMMAND, *arguments], env=environment, check=True, capture_output=True
            )

        runs = {
            "unmingle --version": [started(["--version"], "kept") for _ in range(repeats + 1)][1:],
            "unmingle --help": [started(["--help"], "kept") for _ in range(repeats + 1)][1:],
            "unmingle separate, 10 s, nothing cached": [
                started(separate, f"new-{index}") for index in range(repeats)
            ],
            "unmingle separate, 10 s, compiled model cached": [
                started(separate, "kept") for _ in range(repeats + 1)
            ][1:],
        }
    return [
        {"command": name, "median [s]": median(times), "range [s]": f"{min(times):.2f} to {max(times):.2f}"}
        for name, times in runs.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="name or .onnx file; the default model unless given")
    parser.add_argument(
        "--classics", action="store_true", help="every shipped model of which Asteroid has the network"
    )
    report.beside_asteroid(parser, 30, "the mixture", "4 s")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.repeats = 4, 2
    if hasattr(os, "sched_setaffinity"):  # unmingle takes one thread per core that it sees
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    before = report.machine()
    pairs = (
        {card.name: counterpart(card) for card in cards()}
        if options.classics
        else {options.model: CONV_TASNET}
    )
    rows, rounds = [], []
    for name, network in pairs.items():
        if network:
            found, single = speed(
                name, network, options.asteroid, options.seconds, options.repeats, options.threads
            )
            rows += found
            rounds += single
    setting = (
        f"Separating {options.seconds:g} s, {options.repeats} rounds in turns on {options.threads} threads:"
    )
    parts = [before, setting, report.table(rows)]
    if not options.classics:
        parts += [
            "From the start of a process to its end:",
            report.table(cold_start(options.model, options.repeats)),
        ]
    kept = "inference_classics" if options.classics else "inference"
    report.publish(kept, parts, keep=not options.quick)
    if not options.quick:
        report.write_rows(kept, rounds)


if __name__ == "__main__":
    main()
