"""What published enhancers themselves return for weights that follow a formula, which the tests compare ours
with.

    python benchmarks/make_enhancer_originals.py tests/enhancer_outputs.json --gtcrn FOLDER

FOLDER is a clone of github.com/Xiaobin-Rong/gtcrn, whose gtcrn.py (which needs einops) is run. Weights and
input are those of tests/enhancer_checkpoints.py; kept are the names and shapes of the weights and some
samples of the output.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from enhancer_checkpoints import mixture, weights


def kept(shapes: dict[str, Any], output: np.ndarray) -> dict[str, Any]:
    step = len(output) // 100
    return {"shapes": shapes, "step": step, "outputs": [float(f"{value:.7g}") for value in output[::step]]}


def by_gtcrn(folder: Path) -> dict[str, Any]:
    """Its network on spectra of 512 samples every 256, between roots of a Hann window, zeros around."""
    import torch

    sys.path.append(str(folder))
    network = importlib.import_module("gtcrn").GTCRN().eval()
    state = network.state_dict()
    shapes = {key: list(value.shape) for key, value in state.items()}
    formulas = {key: torch.from_numpy(np.asarray(weights(key, shape))) for key, shape in shapes.items()}
    network.load_state_dict({key: formulas[key].to(value.dtype) for key, value in state.items()})
    samples, window = mixture(), torch.hann_window(512).sqrt()
    padded = torch.from_numpy(np.pad(samples, (256, 1024 - len(samples) % 256)))
    spectrum = torch.stft(padded, 512, 256, 512, window, center=False, return_complex=True)
    with torch.inference_mode():
        estimate = torch.view_as_complex(network(torch.view_as_real(spectrum)[None])[0].contiguous())
    frames = torch.fft.irfft(estimate, dim=0) * window[:, None]
    output = torch.zeros(len(padded))
    for number, frame in enumerate(frames.T):
        output[256 * number :][:512] += frame
    return kept(shapes, output[256:][: len(samples)].numpy())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--gtcrn", type=Path, required=True)
    options = parser.parse_args()
    found = {"gtcrn": by_gtcrn(options.gtcrn)}
    options.out.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
