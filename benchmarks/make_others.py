"""Make the two networks in `src/unmingle/weights/others` of what their authors published.

    pip download --no-deps silero-vad==6.2.3 Resemblyzer==0.1.4 -d wheels
    python benchmarks/make_others.py wheels --speech data

`silero-vad.onnx` is Silero's detector as it is, `speaker-encoder.onnx` Resemblyzer's encoder with a linear
discriminant analysis on top, in which vectors of one person have variance 1; both are stored as float16. The
analysis sees 6,000 pieces of five seconds of the training speakers (without LibriSpeech's dev-clean, which
the thresholds were chosen on), half of them in noise and half in rooms.
"""

import argparse
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from unmingle.catalog import WEIGHTS
from unmingle.console import track
from unmingle.evaluation.conversation_mixer import speech_runs
from unmingle.inference.speaker_embedding import N_MELS, WINDOW, mel_power
from unmingle.inference.voice_activity import RATE
from unmingle.training.batches import build_mixers
from unmingle.training.export import keep_as_float16
from unmingle.training.recipe import read_recipe

ROOT = Path(__file__).parents[1]
N_PIECES, N_DIMENSIONS, SHRINKAGE, CHANNEL = 6_000, 128, 0.2, 0.3
LARGE = 512  # values, from which they are stored as float16


class Encoder(nn.Module):
    """Resemblyzer's network: mel power `(B, 160, 40)` → unit vectors `(B, 256)`."""

    def __init__(self, wheel: Path) -> None:
        super().__init__()
        self.lstm = nn.LSTM(N_MELS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        with zipfile.ZipFile(wheel) as archive:
            file = BytesIO(archive.read("resemblyzer/pretrained.pt"))
        state = torch.load(file, map_location="cpu", weights_only=True)["model_state"]
        self.load_state_dict({key: state[key] for key in self.state_dict()})

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(torch.relu(self.linear(self.lstm(mel)[0][:, -1])), dim=1)


class Discriminant(nn.Module):
    """The encoder and the analysis: vectors `(B, D)`, and the spread of people `(D,)`."""

    def __init__(self, encoder: Encoder, mean: np.ndarray, axes: np.ndarray, spread: np.ndarray) -> None:
        super().__init__()
        self.encoder = encoder
        self.mean, self.axes, self.spread = (
            nn.Parameter(torch.tensor(values, dtype=torch.float32)) for values in (mean, axes, spread)
        )

    def forward(self, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (self.encoder(mel) - self.mean) @ self.axes, self.spread * 1.0


def analyse(vectors: np.ndarray, speakers: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, axes and spread of two-covariance linear discriminant analysis; what differs between corpora is a
    part of what differs within a person.
    """
    corpora, names = np.array([name[:2] for name in speakers]), np.array(speakers)
    means = {corpus: vectors[corpora == corpus].mean(axis=0) for corpus in set(corpora)}
    mean = np.mean(list(means.values()), axis=0)
    centred = vectors - np.stack([means[corpus] for corpus in corpora])
    within, persons, n_free, counts = np.zeros((vectors.shape[1],) * 2), [], 0, Counter(speakers)
    for name in sorted(name for name, count in counts.items() if count > 1):
        own = centred[names == name]
        persons.append(own.mean(axis=0))
        within += (own - persons[-1]).T @ (own - persons[-1])
        n_free += len(own) - 1
    shifts = np.stack(list(means.values())) - mean
    within = within / n_free + CHANNEL * shifts.T @ shifts / len(shifts)
    per_person = 1 / np.mean([1 / count for count in counts.values() if count > 1])
    between = np.stack(persons).T @ np.stack(persons) / len(persons) - within / per_person
    within = (1 - SHRINKAGE) * within + SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    values, axes = np.linalg.eigh(within)
    whitening = axes / np.sqrt(values) @ axes.T
    values, axes = np.linalg.eigh(whitening @ between @ whitening)
    return mean, whitening @ axes[:, ::-1][:, :N_DIMENSIONS], values[::-1][:N_DIMENSIONS].clip(1e-3)


def as_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same, its large weights rounded to float16 and stored so."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > LARGE:
            rounded = values.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return keep_as_float16(model)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheels", type=Path, help="folder with the two wheels")
    parser.add_argument("--speech", type=Path, default=Path("data"), help="folder of utterances.csv")
    parser.add_argument("--cache", default=".cache")
    parser.add_argument("--out", type=Path, default=WEIGHTS / "others")
    options = parser.parse_args()
    (silero,), (resemblyzer,) = (
        options.wheels.glob(f"{name}*.whl") for name in ("silero_vad", "Resemblyzer")
    )
    with zipfile.ZipFile(silero) as archive:
        detector = onnx.load_from_string(archive.read("silero_vad/data/silero_vad_16k_sequence.onnx"))
    onnx.save(as_float16(detector), options.out / "silero-vad.onnx")
    overrides = ["model.n_src=1", "data.n_src=1", "data.p_fewer=0", "data.p_partial=0", "data.length_s=5"]
    overrides += ["data.speed=[1,1]", "data.tilt_db=2", "data.p_noise=0.5", "data.snr_db=[8,30]"]
    overrides += ["data.p_room=0.5", "data.seed=79", f"data.cache={options.cache}"]
    overrides += [f"data.noise={options.speech / 'noises.csv'}"]
    overrides += [f"data.speech={options.speech / 'utterances.csv'}"]
    overrides += ["data.corpora=[librispeech-train-clean-100, speechocean762]"]
    mixer, _ = build_mixers(read_recipe(ROOT / "recipes/libri/trio.yaml", overrides).data)
    encoder, vectors, speakers = Encoder(resemblyzer).eval(), [], []
    for index in track(range(N_PIECES), "embedding", N_PIECES):
        item = mixer[index]
        spoken = [item.mixture[0, a:b] for a, b in speech_runs(item.sources[0], RATE)]
        speech = np.concatenate([np.zeros(0, np.float32), *spoken])
        length = round(1.6 * RATE)
        bands = [
            mel_power(speech[k : k + length])[:WINDOW] for k in range(0, len(speech) - length + 1, length)
        ]
        if bands:
            with torch.no_grad():
                vectors.append(encoder(torch.tensor(np.stack(bands))).numpy())
            speakers += [item.speakers[0]] * len(bands)
    model = Discriminant(encoder, *analyse(np.concatenate(vectors).astype(np.float64), speakers))
    beside = options.out / ".speaker-encoder.part"
    names = {"input_names": ["mel"], "output_names": ["vectors", "spread"]}
    axes = {"mel": {0: "batch"}, "vectors": {0: "batch"}}
    example = (torch.rand(2, WINDOW, N_MELS),)
    torch.onnx.export(model, example, beside, dynamic_axes=axes, dynamo=False, opset_version=17, **names)
    onnx.save(as_float16(onnx.load(beside)), options.out / "speaker-encoder.onnx")
    beside.unlink()
    print(f"{len(speakers)} windows of {len(set(speakers))} speakers")


if __name__ == "__main__":
    main()
