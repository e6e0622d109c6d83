"""Whether the shipped models' outputs on the example are the same, to the bit, before and after a change.

    PYTHONPATH=BEFORE/src python benchmarks/same_outputs.py /tmp/before.npz
    python benchmarks/same_outputs.py /tmp/after.npz --against /tmp/before.npz

Every model that `unmingle models` lists runs through `unmingle.separate` or `unmingle.enhance` on
examples/two-voices.flac, by ONNX Runtime and by OpenVINO in float32. Only the public interface is used, so
that one script measures both versions.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ["XDG_CACHE_HOME"] = os.devnull  # without a cache OpenVINO runs in float32, see runtime/openvino.py

import numpy as np
import soundfile

import unmingle

EXAMPLE = Path(__file__).parents[1] / "examples/two-voices.flac"
BACKENDS = ("onnxruntime", "openvino")


def listed_models() -> list[tuple[str, bool]]:
    """Name of each model that is listed, and whether it enhances."""
    command = [sys.executable, "-m", "unmingle", "models", "--json"]
    cards = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["models"]
    return [(card["name"], card["facts"].get("task", card.get("job")) == "enhance") for card in cards]


def outputs_of(name: str, enhances: bool, backend: str, mixture: np.ndarray, sample_rate: int) -> np.ndarray:
    """The outputs `(S, T)` of one model."""
    model = unmingle.load(name, backend=backend)
    if model.backend != backend:
        raise SystemExit(f"{name}: runs as {model.backend}, not in float32; make the cache unwritable")
    if enhances:
        return unmingle.enhance(mixture, sample_rate, model)[None]
    return unmingle.separate(mixture, sample_rate, model.n_src or "auto", model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path, help="the .npz to write")
    parser.add_argument(
        "--against", type=Path, help="an .npz written before; exits with 1 if an output differs"
    )
    arguments = parser.parse_args()
    mixture, sample_rate = soundfile.read(EXAMPLE, dtype="float32")
    before = dict(np.load(arguments.against)) if arguments.against else {}
    found, differing = {}, []
    print(f"{'model':<24}{'backend':<14}{'seconds':>8}  {'SHA-256':<18}{'largest difference':>20}")
    for name, enhances in listed_models():
        for backend in BACKENDS:
            began, key = time.perf_counter(), f"{name}/{backend}"
            outputs = outputs_of(name, enhances, backend, mixture, sample_rate)
            seconds = time.perf_counter() - began
            found[key] = outputs
            difference = ""
            if key in before:
                same = np.array_equal(outputs, before[key])
                difference = "0, bit-equal" if same else f"{np.abs(outputs - before[key]).max():.3g}"
                if not same:
                    differing.append(key)
            digest = hashlib.sha256(outputs.tobytes()).hexdigest()[:16]
            print(f"{name:<24}{backend:<14}{seconds:>8.1f}  {digest:<18}{difference:>20}", flush=True)
    np.savez_compressed(arguments.out, **found)
    missing = sorted(set(before) - set(found))
    if arguments.against:
        print(f"{len(set(found) & set(before)) - len(differing)} of {len(before)} outputs are bit-equal")
    if differing or missing:
        raise SystemExit(
            f"different: {', '.join(differing) or 'none'}; missing: {', '.join(missing) or 'none'}"
        )


if __name__ == "__main__":
    main()
