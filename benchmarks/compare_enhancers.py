r"""Published enhancers with their real weights, imported, beside what their authors' own files return: level
over the difference on noisy speech of three lengths [dB].

    python benchmarks/compare_enhancers.py --speech data --gtcrn FOLDER --dtln FOLDER \
        --deepfilternet DeepFilterNet3_onnx.tar.gz

FOLDER is stream/onnx_models of a clone of github.com/Xiaobin-Rong/gtcrn, where a checkpoint lies beside the
ONNX file that was made of it; pretrained_model of one of github.com/breizhn/DTLN. Theirs are fed block by
block, as streaming_peers.py does; DeepFilterNet3's as make_enhancer_originals.py does, which says what it
needs, with the speech at 48 kHz.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import report
import soxr
from make_enhancer_originals import deepfilternet_files, run_deepfilternet
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
    parser.add_argument("--deepfilternet", type=Path)
    options = parser.parse_args()
    cases = {}
    if options.gtcrn:
        checkpoint = options.gtcrn / "model_trained_on_dns3.tar"
        cases["gtcrn"] = (checkpoint, gtcrn(options.gtcrn / "gtcrn.onnx")[0])
    if options.dtln:
        both = [options.dtln / f"model_{number}.onnx" for number in (1, 2)]
        cases["dtln"] = (options.dtln, dtln(both)[0])
    if options.deepfilternet:
        files = deepfilternet_files(options.deepfilternet)
        cases["deepfilternet"] = (options.deepfilternet, lambda samples: run_deepfilternet(files, samples))
    entries = read_set(report.HERE / "valid-noisy.csv", options.speech, first=len(LENGTHS))
    with tempfile.TemporaryDirectory() as out:
        for format, (path, original) in cases.items():
            began = time.perf_counter()
            card = import_checkpoint(path, format=format, name=format, out=Path(out))
            print(f"{format}: imported in {time.perf_counter() - began:.0f} s", flush=True)
            for backend in ("onnxruntime", "openvino"):
                separator, levels = load(card.with_suffix(".onnx"), backend=backend), []
                for entry, length in zip(entries, LENGTHS, strict=True):
                    mixture = entry.read().mixture[0].astype(np.float32)
                    samples = soxr.resample(mixture, 16_000, separator.sample_rate)[:length]
                    wanted, found = original(samples), separator.outputs(samples[None])[0]
                    levels.append(10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum()))
                agree = ", ".join(
                    f"{level:.0f} dB at {length:,}" for level, length in zip(levels, LENGTHS, strict=True)
                )
                print(f"  {separator.backend}: {agree} samples", flush=True)


if __name__ == "__main__":
    main()
