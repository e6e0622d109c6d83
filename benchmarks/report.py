"""What the benchmarks share: the machine in one line, tables in Markdown, and where results are kept."""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

import unmingle

HERE = Path(__file__).parent
RESULTS = HERE / "results"
EXAMPLE = HERE.parent / "examples/two-voices.flac"


def talk(length_s: float, sample_rate: int) -> np.ndarray:
    """Two synthetic voices talking at once, the example repeated: float32 `(T,)`."""
    samples, rate = soundfile.read(EXAMPLE, dtype="float32")
    return np.resize(soxr.resample(samples, rate, sample_rate), round(length_s * sample_rate))


def machine() -> str:
    """Processor, cores that this process may use, how busy they were before it started, and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    versions = [f"unmingle {unmingle.__version__}"]
    for package in ("openvino", "onnxruntime", "torch"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return (
        f"{name}, {cores} cores{load}; Python {platform.python_version()}, {', '.join(versions)}; "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )


def beside_asteroid(parser: argparse.ArgumentParser, seconds: float, what: str, quick: str) -> None:
    """The options of a script that measures unmingle and Asteroid in turns."""
    parser.add_argument(
        "--asteroid",
        type=Path,
        default=Path(".cache/asteroid"),
        help="virtual environment that setup_asteroid.sh made",
    )
    parser.add_argument("--threads", type=int, default=2, help="cores for each")
    parser.add_argument("--seconds", type=float, default=seconds, help=f"length of {what}")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--quick", action="store_true", help=f"only see that it runs: {quick}, twice; nothing is kept"
    )


def cache_in(folder: Path) -> dict[str, str]:
    """Environment variables with which a fresh process keeps its compiled models in this folder."""
    names = {"darwin": "HOME", "win32": "LOCALAPPDATA"}
    return {names.get(sys.platform, "XDG_CACHE_HOME"): str(folder)}


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of the same keys as a Markdown table; floats get three significant digits."""
    cells = [list(rows[0]), ["---"] * len(rows[0])]
    cells += [
        [
            f"{value:.3g}"
            if isinstance(value, float) and abs(value) < 100
            else f"{value:.0f}"
            if isinstance(value, float)
            else str(value)
            for value in row.values()
        ]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def separated(source: Path, *options: str, **environment: str) -> tuple[dict[str, Any], float]:
    """Separate a file in a process of its own: what the command line printed of it, and peak memory [MB]."""
    command = [sys.executable, "-m", "unmingle", "separate", str(source), "--json", *options]
    with tempfile.TemporaryFile() as answer:
        process = subprocess.Popen(command, stdout=answer, env={**os.environ, **environment})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed")
        answer.seek(0)
        result = json.load(answer)["inputs"][0]
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss [bytes]
    return result, usage.ru_maxrss * unit / 1e6


def publish(name: str, parts: list[str], *, keep: bool) -> None:
    """Print text and tables; with `keep` also write them to `results/NAME.md`."""
    text = "\n\n".join(parts) + "\n"
    print(text)
    if keep:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")


def write_rows(name: str, rows: list[dict[str, Any]]) -> None:
    """Write every single measurement to `results/NAME.csv`."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(
            {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
            for row in rows
        )
