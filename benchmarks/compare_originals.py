"""Imports checkpoints of usual size, and compares what the ONNX files return with what the original returned:
prints a line for each [dB], with the seconds of one core that the import and a second of noise take.

    python benchmarks/compare_originals.py FOLDER FORMAT [SAMPLE_RATE]

FOLDER is what a make_…_originals.py --full wrote: a folder for each, in which `outputs` holds a mixture and
the original's outputs.
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


def decibels(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum()))


def main(folder: Path, format: str, sample_rate: int | None) -> None:
    with tempfile.TemporaryDirectory() as out:
        for path in sorted(each.parent for each in folder.glob("*/outputs")):
            began = time.process_time()
            card = import_checkpoint(path, format=format, out=Path(out), sample_rate=sample_rate)
            took = time.process_time() - began
            known = torch.load(path / "outputs", weights_only=True)
            expected, mixture = known["outputs"][0].numpy(), known["mixture"].numpy()
            separator = load(card.with_suffix(".onnx"), backend="onnxruntime")
            by_onnxruntime = decibels(separator.outputs(mixture[0]), expected)
            by_openvino = {
                name: compile_openvino(card.with_suffix(".onnx"), name, False, 1) for name in ("f32", "bf16")
            }
            agree = {name: decibels(run(mixture)[0][0], expected) for name, run in by_openvino.items()}
            noise = 0.1 * np.random.default_rng(0).standard_normal((1, 1, 10 * separator.sample_rate))
            by_openvino["f32"](noise.astype(np.float32))
            began = time.process_time()
            by_openvino["f32"](noise.astype(np.float32))
            factor = (time.process_time() - began) / 10
            print(
                f"{path.name}: {separator.card.parameters:,} parameters, imported in {took:.0f} s; "
                f"ONNX Runtime {by_onnxruntime:.0f} dB, OpenVINO {agree['f32']:.0f} dB, in bfloat16 "
                f"{agree['bf16']:.0f} dB; real-time factor {factor:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
