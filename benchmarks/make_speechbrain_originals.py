"""Folders and outputs of SpeechBrain itself, and of torchaudio's Conv-TasNet, which the tests compare ours
with.

    benchmarks/setup_speechbrain.sh /tmp/sb
    /tmp/sb/bin/python benchmarks/make_speechbrain_originals.py tests/speechbrain_outputs.json [--full FOLDER]

As make_asteroid_originals.py: the weights of the small ones follow a formula (`formula` in
tests/speechbrain_checkpoints.py), and only names, shapes and some samples of the outputs are kept. With
--full it also writes folders of the usual sizes, randomly initialised, each with mixtures of three lengths
and what SpeechBrain returned for them, for compare_speechbrain.py. torchaudio's own library is not needed: a
stand-in satisfies SpeechBrain's imports, and conv_tasnet.py, which setup_speechbrain.sh unpacks, is loaded by
its path.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import types
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from asteroid_checkpoints import formula as plain_formula
from asteroid_checkpoints import signal
from speechbrain_checkpoints import FULL, PARTS, SMALL, formula, hyperparams

stand_in = types.ModuleType("torchaudio")
stand_in.__version__, stand_in.__spec__ = "2.11.1", importlib.util.spec_from_loader("torchaudio", None)
sys.modules.setdefault("torchaudio", stand_in)
import speechbrain  # noqa: E402
from hyperpyyaml import load_hyperpyyaml  # noqa: E402
from speechbrain.inference.separation import SepformerSeparation  # noqa: E402

LENGTHS = (1_000, 16_001, 56_789)
CONV_TASNET = Path(sys.prefix) / "torchaudio/models/conv_tasnet.py"


def save(folder: Path, text: str, modules: dict[str, torch.nn.Module]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hyperparams.yaml").write_text(text, encoding="utf-8")
    for part in PARTS:
        torch.save(modules[part].state_dict(), folder / f"{part}.ckpt")


def separate(folder: Path, mixture: torch.Tensor) -> torch.Tensor:
    """What its users get of a mixture `(T,)`: `(S, T)`."""
    model = SepformerSeparation.from_hparams(source=str(folder), savedir=str(folder))
    with torch.inference_mode():
        return model.separate_batch(mixture[None])[0].T


def rounded(outputs: torch.Tensor, step: int) -> list[list[float]]:
    return [[float(f"{value:.7g}") for value in row] for row in outputs[:, ::step].tolist()]


def conv_tasnet(n_src: int) -> torch.nn.Module:
    spec = importlib.util.spec_from_file_location("conv_tasnet", CONV_TASNET)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.conv_tasnet_base(n_src).eval()


def small() -> dict:
    found = {"speechbrain": speechbrain.__version__, "checkpoints": {}}
    for name, (network, sizes, length) in SMALL.items():
        text = hyperparams(network, sizes)
        modules = load_hyperpyyaml(text)["modules"]
        shapes = {}
        for part in PARTS:
            state = modules[part].state_dict()
            shapes[part] = {key: list(value.shape) for key, value in state.items()}
            modules[part].load_state_dict(
                {key: torch.from_numpy(formula(key, shape)) for key, shape in shapes[part].items()}
            )
        step = max(1, length // 40)
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder), text, modules)
            outputs = separate(Path(folder), torch.from_numpy(signal(length)))
        found["checkpoints"][name] = {"shapes": shapes, "step": step, "outputs": rounded(outputs, step)}
    model = conv_tasnet(2)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(plain_formula(key, shape)) for key, shape in shapes.items()})
    with torch.inference_mode():
        outputs = model(torch.from_numpy(signal(1001))[None, None])[0]
    found["checkpoints"]["torchaudio"] = {"shapes": shapes, "step": 25, "outputs": rounded(outputs, 25)}
    return found


def full(out: Path) -> None:
    mixtures = [torch.from_numpy(signal(length)) for length in LENGTHS]
    for number, (name, (network, sizes)) in enumerate(FULL.items()):
        torch.manual_seed(number)
        text = hyperparams(network, sizes)
        save(out / name, text, load_hyperpyyaml(text)["modules"])
        outputs = [separate(out / name, mixture) for mixture in mixtures]
        torch.save({"mixtures": mixtures, "outputs": outputs}, out / f"{name}.outputs")
    for n_src in (2, 3):
        torch.manual_seed(n_src)
        model = conv_tasnet(n_src)
        name = f"conv-tasnet-base-{n_src}"
        torch.save(model.state_dict(), out / f"{name}.pt")
        with torch.inference_mode():
            outputs = [model(mixture[None, None])[0] for mixture in mixtures]
        torch.save({"mixtures": mixtures, "outputs": outputs}, out / f"{name}.outputs")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--full", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.write_text(json.dumps(small(), indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
    if options.full:
        full(options.full)


if __name__ == "__main__":
    main()
