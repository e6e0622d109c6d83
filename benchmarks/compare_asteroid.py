"""Imports the checkpoints of usual size that make_asteroid_originals.py --full wrote, and compares what the
ONNX files return with what Asteroid returned: prints a line for each [dB].

    python benchmarks/compare_asteroid.py FOLDER
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
    with tempfile.TemporaryDirectory() as out:
        for path in sorted(folder.glob("*.pth")):
            began = time.perf_counter()
            card = import_checkpoint(path, format="asteroid", out=Path(out))
            took = time.perf_counter() - began
            known = torch.load(path.with_suffix(".outputs"), weights_only=True)
            expected = known["outputs"][0].numpy()
            levels = {}
            for backend in ("openvino", "onnxruntime"):
                separator = load(card.with_suffix(".onnx"), backend=backend)
                found = separator.outputs(known["mixture"][0].numpy())
                difference = np.square(found - expected).sum()
                levels[separator.backend] = 10 * np.log10(np.square(expected).sum() / difference)
            (exact,) = compile_openvino(card.with_suffix(".onnx"), "f32")(known["mixture"].numpy())
            difference = np.square(exact[0] - expected).sum()
            levels["openvino"] = 10 * np.log10(np.square(expected).sum() / difference)
            agree = ", ".join(f"{name} {level:.0f} dB" for name, level in sorted(levels.items()))
            print(f"{path.stem}: {separator.card.parameters:,} parameters, {took:.1f} s; {agree}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
