"""Imports the folders and files of usual size that make_speechbrain_originals.py --full wrote, and compares
what the ONNX files return with what SpeechBrain and torchaudio returned, at three lengths: prints a line for
each: the worst of the three [dB], and seconds of one core per second of audio.

    python benchmarks/compare_speechbrain.py FOLDER
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from unmingle import load
from unmingle.published.importing import import_checkpoint
from unmingle.runtime.openvino import compile_openvino


def main(folder: Path) -> None:
    for known in sorted(folder.glob("*.outputs")):
        original = known.with_suffix("")
        options = {"format": "speechbrain"}
        if not original.is_dir():
            original, options = known.with_suffix(".pt"), {"format": "torchaudio", "sample_rate": 8000}
        with tempfile.TemporaryDirectory() as out:
            began = time.process_time()
            card = import_checkpoint(original, out=Path(out), **options)
            took = time.process_time() - began
            exact, parameters, speed = compare(card.with_suffix(".onnx"), known)
        agree = ", ".join(f"{name} {level:.0f} dB" for name, level in sorted(exact.items()))
        print(f"{known.stem}: {parameters:,} parameters, import {took:.0f} s; {agree}; {speed}", flush=True)


def compare(weights: Path, known: Path) -> tuple[dict[str, float], int, str]:
    """The worst agreement of each runtime [dB], the number of parameters, and the speed of the usual one."""
    values = torch.load(known, weights_only=True)
    by_onnx, usual = load(weights, backend="onnxruntime"), load(weights)
    network = compile_openvino(weights, "f32")
    runs = {
        "ONNX Runtime": by_onnx.outputs,
        "OpenVINO": lambda mixture: network(mixture[None])[0][0],
        usual.backend: usual.outputs,
    }
    levels: dict[str, float] = {}
    for mixture, expected in zip(values["mixtures"], values["outputs"], strict=True):
        for name, run in runs.items():
            difference = np.square(run(mixture[None].numpy()) - expected.numpy()).sum()
            level = 10 * np.log10(np.square(expected.numpy()).sum() / difference)
            levels[name] = min(level, levels.get(name, np.inf))
    seconds = usual.facts.chunk / usual.sample_rate
    chunk = np.random.default_rng(0).standard_normal((1, usual.facts.chunk)).astype(np.float32)
    usual(chunk)
    began = time.process_time()
    usual(chunk)
    speed = f"{(time.process_time() - began) / seconds:.2f} on chunks of {seconds:.0f} s"
    return levels, by_onnx.card.parameters, speed


if __name__ == "__main__":
    main(Path(sys.argv[1]))
