"""Published enhancers with their real weights, imported, beside what their authors' own files return: level
over the difference on noisy speech of three lengths [dB].

    python benchmarks/compare_enhancers.py --speech data --gtcrn FOLDER --dtln FOLDER

FOLDER is stream/onnx_models of a clone of github.com/Xiaobin-Rong/gtcrn, where a checkpoint lies beside the
ONNX file that was made of it; pretrained_model of one of github.com/breizhn/DTLN. Theirs are fed block by
block, as streaming_peers.py does.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import report
from streaming_peers import dtln, gtcrn

from unmingle import load
from unmingle.data.sets import read_set
from unmingle.published.importing import import_checkpoint

LENGTHS = (1_000, 16_001, 56_789)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, default=Path("data"), help="folder the set's paths start in")
    parser.add_argument("--gtcrn", type=Path)
    parser.add_argument("--dtln", type=Path)
    options = parser.parse_args()
    cases = {}
    if options.gtcrn:
        checkpoint = options.gtcrn / "model_trained_on_dns3.tar"
        cases["gtcrn"] = (checkpoint, gtcrn(options.gtcrn / "gtcrn.onnx")[0])
    if options.dtln:
        files = [options.dtln / f"model_{number}.onnx" for number in (1, 2)]
        cases["dtln"] = (options.dtln, dtln(files)[0])
    entries = read_set(report.HERE / "valid-noisy.csv", options.speech, first=len(LENGTHS))
    with tempfile.TemporaryDirectory() as out:
        for format, (path, original) in cases.items():
            began = time.perf_counter()
            card = import_checkpoint(path, format=format, name=format, out=Path(out))
            print(f"{format}: imported in {time.perf_counter() - began:.0f} s", flush=True)
            for backend in ("onnxruntime", "openvino"):
                separator, levels = load(card.with_suffix(".onnx"), backend=backend), []
                for entry, length in zip(entries, LENGTHS, strict=True):
                    samples = entry.read().mixture[0, :length].astype(np.float32)
                    wanted, found = original(samples), separator.outputs(samples[None])[0]
                    levels.append(10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum()))
                agree = ", ".join(
                    f"{level:.0f} dB at {length:,}" for level, length in zip(levels, LENGTHS, strict=True)
                )
                print(f"  {separator.backend}: {agree} samples", flush=True)


if __name__ == "__main__":
    main()
