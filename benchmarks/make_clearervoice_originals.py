"""Outputs of ClearerVoice-Studio's MossFormer2, which the tests compare ours with.

    git clone https://github.com/modelscope/ClearerVoice-Studio
    pip install --no-deps einops rotary-embedding-torch torchinfo
    python benchmarks/make_clearervoice_originals.py ClearerVoice-Studio tests/clearervoice_outputs.json \\
        [--full FOLDER]

The weights of the small ones follow a formula, so that the tests can make the checkpoints again without the
clone; only what it printed for them is kept: the names and shapes of its weights, and some samples of its
outputs. With --full it also writes one of the published size, randomly initialised, with an input and its
output, for compare_originals.py.
"""

import argparse
import hashlib
import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from asteroid_checkpoints import signal
from clearervoice_checkpoints import LENGTHS, SMALL, weights

PUBLISHED = {
    "encoder_embedding_dim": 512,
    "mossformer_sequence_dim": 512,
    "num_mossformer_layer": 24,
    "encoder_kernel_size": 16,
    "num_spks": 2,
}
FOLDER = "clearvoice/clearvoice/models/mossformer2_ss"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clone", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--full", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    package = sys.modules["mossformer2_ss"] = types.ModuleType("mossformer2_ss")
    package.__path__ = [str(options.clone / FOLDER)]  # without what its packages import besides
    network = importlib.import_module("mossformer2_ss.mossformer2").MossFormer2_SS_16K
    digest = hashlib.sha256((options.clone / FOLDER / "mossformer2.py").read_bytes()).hexdigest()
    found: dict[str, Any] = {
        "source": f"github.com/modelscope/ClearerVoice-Studio {FOLDER}/mossformer2.py, SHA-256 {digest}",
        "checkpoints": {},
    }
    for name, arguments in SMALL.items():
        model = network(argparse.Namespace(**arguments)).model.eval()
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
        model.load_state_dict({key: torch.from_numpy(weights(key, shape)) for key, shape in shapes.items()})
        outputs = []
        for length in LENGTHS:
            with torch.inference_mode():
                estimates = torch.cat(model(torch.from_numpy(signal(length))[None]))
            kept = estimates[:, :: length // 40].tolist()
            outputs.append([[float(f"{value:.7g}") for value in row] for row in kept])
        steps = [length // 40 for length in LENGTHS]
        found["checkpoints"][name] = {"shapes": shapes, "steps": steps, "outputs": outputs}
    options.out.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")
    if options.full:
        torch.manual_seed(0)
        model = network(argparse.Namespace(**PUBLISHED)).model.eval()
        folder = options.full / "mossformer2-ss-16k"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"model": model.state_dict()}, folder / "last_best_checkpoint.pt")
        (folder / "last_best_checkpoint").write_text("last_best_checkpoint.pt\n", encoding="utf-8")
        mixture = 0.1 * torch.randn(1, 1, 20_011)
        with torch.inference_mode():
            outputs = torch.cat(model(mixture[0]))[None]
        torch.save({"mixture": mixture, "outputs": outputs}, folder / "outputs")


if __name__ == "__main__":
    main()
