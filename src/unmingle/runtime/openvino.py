"""ONNX files, compiled by OpenVINO, in bfloat16 where that is faster and accurate."""

import hashlib
import importlib
import json
import os
import subprocess
import sys
import time
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from unmingle.catalog import Card
from unmingle.facts import Facts
from unmingle.heads import HEADS, Infer
from unmingle.results.folders import replacing
from unmingle.runtime.cache import cache_folder
from unmingle.runtime.separator import Run, whole

BF16_AGREEMENT_DB = 33.0  # of estimates
BF16_SPEED_UP = 1.1
TRIAL_S = 120  # that a trial of a precision may take
#: Environment variables that limit the instructions of oneDNN, but not OpenVINO's list of capabilities.
ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
OPENING = Lock()


def import_openvino() -> Any:
    """The module, which would send word of being imported to Google Analytics if it found
    `openvino_telemetry`, which it brings.
    """
    hidden = "openvino_telemetry"
    there = sys.modules.get(hidden)
    sys.modules[hidden] = None  # type: ignore[assignment]  # so that importing it fails
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[hidden]
        if there is not None:
            sys.modules[hidden] = there


@lru_cache
def open_core() -> tuple[Any, bool]:
    """OpenVINO's runtime, and whether the environment limits the instructions of its oneDNN.

    One per process: each runtime gives its processor plug-in's thread a stack for signals, and the order in
    which several are closed can leave that of a closed one in use, so that the next signal crashes.
    """
    core = import_openvino().Core()
    # Under a limit, oneDNN's kernels disagree with OpenVINO's own, which do not obey it, and recurrent ones
    # crash; its oneDNN reads the variables once, here.
    limits = {name: os.environ.pop(name) for name in ISA_LIMITS if name in os.environ}
    core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    os.environ.update(limits)
    return core, bool(limits)


def open_openvino(path: Path, card: Card) -> tuple[Run, str]:
    """Compile with one thread per physical core; return how to run it and its precision, "f32" or "bf16"."""
    with OPENING:  # two threads at once would open two
        core, limited = open_core()
    capabilities, cache = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"), cache_folder()

    def compiled(precision: str) -> Run:
        return compile_openvino(path, precision)

    # What a stream keeps would lose its precision from call to call.
    facts = card.facts
    if cache is None or facts.state or "BF16" not in capabilities or limited:
        return compiled("f32"), "f32"
    device = core.get_property("CPU", "FULL_DEVICE_NAME")
    identity = json.dumps([card.sha256, version("openvino"), device, sorted(capabilities), os.cpu_count()])
    verdict = cache / f"precision-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.txt"
    precision = verdict.read_text() if verdict.is_file() else ""
    if precision not in ("f32", "bf16"):
        precision = tried_in_another_process(path)
        with replacing(verdict) as beside:
            beside.write_text(precision)
    return compiled(precision), precision


def compile_openvino(
    path: Path, precision: str = "f32", cached: bool = True, n_threads: int | None = None
) -> Run:
    """Compile an ONNX file at one precision, "f32" or "bf16", or take what was compiled before; for one
    thread per physical core unless given.
    """
    with OPENING:
        core, _ = open_core()
    cache = cache_folder() if cached else None
    options = {
        **({} if cache is None else {"CACHE_DIR": str(cache / "openvino")}),
        **({} if n_threads is None else {"INFERENCE_NUM_THREADS": n_threads, "ENABLE_CPU_PINNING": False}),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_HYPER_THREADING": False,
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = core.compile_model(str(path), "CPU", options).create_infer_request()
    # The request's own buffers are written again by the next call, so that the caller gets copies.
    return lambda *inputs: [
        output.copy() for output in request.infer(inputs, share_inputs=True, share_outputs=True).values()
    ]


def tried_in_another_process(path: Path) -> str:
    """The precision that pays, "f32" or "bf16". Where a processor lacks what a kernel in bfloat16 needs, that
    can end the whole process: OpenVINO 2026.4 does on some LSTMs with AVX-512 but without AMX.
    """
    code = "import sys; from unmingle.runtime.openvino import try_bf16; try_bf16(sys.argv[1])"
    try:
        run = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=TRIAL_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return "f32"
    return "bf16" if run.returncode == 0 and run.stdout.strip() == "bf16" else "f32"


def try_bf16(path: str) -> None:
    """Print "bf16" if that precision pays for the ONNX file at `path`."""
    facts = Card.read(Path(path).with_suffix(".yaml")).facts
    exact, short = (whole(compile_openvino(Path(path), precision), facts) for precision in ("f32", "bf16"))
    print("bf16" if bf16_pays(exact, short, facts) else "f32")


def bf16_pays(exact: Infer, short: Infer, facts: Facts) -> bool:
    """Whether bfloat16 agrees with float32 to `BF16_AGREEMENT_DB` and is faster (where a processor only
    imitates it, it is not).

    The test signal is fixed: two seconds of two gliding harmonic tones and noise, at the level at which
    chunks are separated.
    """
    t = np.arange(2 * facts.sample_rate) / facts.sample_rate
    tones = sum(np.sin(2 * np.pi * k * (f0 * t + 15 * t**2)) / k for f0 in (110, 205) for k in range(1, 15))
    signal = (0.04 * tones + 0.004 * np.random.default_rng(0).standard_normal(len(t))).astype(np.float32)
    mixture = np.tile(signal, (facts.n_mics or 1, 1))
    cues = [cue.drawn(1, len(t), facts.sample_rate, seed=0) for cue in facts.cues]

    def fastest(infer: Infer) -> tuple[float, np.ndarray]:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            estimates = HEADS[facts.head](lambda samples: infer(samples, *cues), mixture, facts.n_src or 2)
            times.append(time.perf_counter() - start)
        return min(times[1:]), estimates

    (exact_s, reference), (short_s, estimates) = fastest(exact), fastest(short)
    error = np.sum((estimates - reference) ** 2)
    return bool(
        exact_s > BF16_SPEED_UP * short_s and np.sum(reference**2) > 10 ** (BF16_AGREEMENT_DB / 10) * error
    )
