"""Train a small network of our own that tells voices apart, to be compared with the one that ships.

    python benchmarks/own_embedding.py --noise data/noises.csv --out OWN.safetensors
    python benchmarks/telling_voices_apart.py --speech data --own OWN.safetensors

Pieces of two seconds of the training speakers, each also faster and slower as other speakers (three classes
each), in rooms and noise, half of them with a second voice that leaks in as a separator leaves it; the
classes are told apart with an additive margin. The second command measures it on readers on whom nothing was
trained.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from unmingle.console import say
from unmingle.data.mixer import Mixer
from unmingle.data.recipe import DataRecipe
from unmingle.inference.speaker_embedding import N_BANDS, log_bands
from unmingle.training.optimizers import MuonAndAdamW

SPEEDS = (1.0, 0.9, 1.1)
WEIGHTS: dict[str, float] = {
    "librispeech-train-clean-100": 5,
    "librispeech-dev-clean": 1,
    "speechocean762": 3,
}
LENGTH_S = 2.0  # of a piece drawn
FRAMES = (150, 198)  # of a batch, at least, and below
MARGIN, SCALE = 0.2, 30.0  # of the softmax
LEAK_DB = (6.0, 25.0)  # how far below the other voice lies


class Block(nn.Module):
    """A bottleneck whose middle convolution sees channels in groups, with squeeze and excitation, around a
    shortcut: `(B, C, N)` → the same.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv(channels, channels, 1),
            *conv(channels, channels, 3, dilation=dilation, groups=8),
            *conv(channels, channels, 1),
        )
        self.gate = nn.Sequential(
            nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return x + y * self.gate(y.mean(-1))[..., None]


class Network(nn.Module):
    """Logarithmic bands `(B, N, 80)` without their mean → vectors `(B, dimensions)`.

    References:
        B. Desplanques et al., "ECAPA-TDNN: Emphasized channel attention, propagation and aggregation in TDNN
        based speaker verification", 2020, of which this is a small one.
    """

    def __init__(self, channels: int = 256, dimensions: int = 192) -> None:
        super().__init__()
        wide = 2 * channels
        self.begin = nn.Sequential(*conv(N_BANDS, channels, 5))
        self.blocks = nn.ModuleList(Block(channels, dilation) for dilation in (2, 3, 4))
        self.join = nn.Sequential(*conv(3 * channels, wide, 1))
        self.attention = nn.Sequential(nn.Conv1d(wide, 64, 1), nn.Tanh(), nn.Conv1d(64, wide, 1))
        self.end = nn.Sequential(
            nn.BatchNorm1d(2 * wide), nn.Linear(2 * wide, dimensions), nn.BatchNorm1d(dimensions)
        )

    def forward(self, bands: torch.Tensor) -> torch.Tensor:
        x, found = self.begin(bands.mT), []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        x = self.join(torch.cat(found, 1))
        weights = self.attention(x).float().softmax(-1)
        x = x.float()
        mean = (weights * x).sum(-1)
        spread = ((weights * x.square()).sum(-1) - mean.square()).clamp(min=1e-5).sqrt()
        return self.end(torch.cat([mean, spread], 1))


def conv(ins: int, outs: int, size: int, dilation: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution, ReLU and batch normalisation that keep the number of frames."""
    padding = dilation * (size // 2)
    layer = nn.Conv1d(ins, outs, size, padding=padding, dilation=dilation, groups=groups)
    return [layer, nn.ReLU(), nn.BatchNorm1d(outs)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", default="data/utterances.csv", help="as data.speech of a recipe")
    parser.add_argument("--noise", default="data/noises.csv", help="as data.noise of a recipe")
    parser.add_argument("--cache", default=".cache", help="folder for decoded samples")
    parser.add_argument("--out", type=Path, required=True, help="file for the weights")
    parser.add_argument("--minutes", type=float, default=18.0, help="processor time")
    parser.add_argument("--batch", type=int, default=64, help="pieces in a step")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = DataRecipe(speech=options.speech, noise=options.noise, cache=options.cache)
    voices = data.voices("train")
    speech, noise = data.decode(voices, "voices"), data.noises("train")
    speakers = {name: index for index, name in enumerate(sorted({voice.speaker for voice in voices}))}
    mixers = [
        Mixer(
            speech,
            noise,
            seed=seed,
            n_items=10**9,
            length_s=LENGTH_S,
            speed=(speed, speed),
            tilt_db=5.0,
            p_noise=0.5,
            snr_db=(5.0, 25.0),
            p_room=0.4,
            weights=WEIGHTS,
        )
        for seed, speed in enumerate(SPEEDS)
    ]
    network, classes = Network(), nn.Parameter(torch.randn(len(SPEEDS) * len(speakers), 192) / 192**0.5)
    say(f"{len(speakers)} speakers, {sum(p.numel() for p in network.parameters()):,} parameters")
    train(network, classes, batches(mixers, speakers, options.batch), options.minutes)
    about = json.dumps({"speakers": len(speakers), "minutes": options.minutes})
    save_file(network.eval().state_dict(), options.out, {"own-embedding": about})


def batches(
    mixers: list[Mixer], speakers: dict[str, int], size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Bands `(size, N, 80)` and classes `(size,)`, without end; every mixture gives two pieces."""
    rng = np.random.default_rng(0)
    index = 0
    while True:
        n = int(rng.integers(*FRAMES))
        pieces: list[np.ndarray] = []
        owners: list[int] = []
        while len(pieces) < size:
            version = index % len(mixers)
            item = mixers[version][index]
            index += 1
            for own, other in ((0, 1), (1, 0)):
                leak = 10 ** (-rng.uniform(*LEAK_DB) / 20) if rng.random() < 0.5 else 0.0
                noise = item.mixture[0] - item.sources.sum(axis=0)
                bands = log_bands(item.sources[own] + leak * item.sources[other] + noise)
                start = rng.integers(len(bands) - n + 1)
                pieces.append(bands[start : start + n] - bands[start : start + n].mean(axis=0))
                owners.append(len(speakers) * version + speakers[item.speakers[own]])
        yield torch.from_numpy(np.stack(pieces)), torch.tensor(owners)


def train(
    network: Network,
    classes: nn.Parameter,
    drawn: Iterator[tuple[torch.Tensor, torch.Tensor]],
    minutes: float,
) -> None:
    """Train for so much processor time; the margin grows over the first half, the learning rate falls from a
    tenth of the time on.
    """
    whole = nn.Module()
    whole.network, whole.classes = network, nn.Linear(classes.shape[1], len(classes), bias=False)
    whole.classes.weight = classes
    optimizer = MuonAndAdamW(whole, lr=2e-3, muon_lr=0.01, weight_decay=0.01)
    full = [group["lr"] for group in optimizer.param_groups]
    begin, step, sums = time.process_time(), 0, np.zeros(3)
    while (share := (time.process_time() - begin) / (60 * minutes)) < 1:
        bands, owners = next(drawn)
        for group, lr in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = lr * min(
                1.0, 10 * share + 0.01, 0.5 + 0.5 * math.cos(math.pi * (share - 0.1) / 0.9)
            )
        with torch.autocast("cpu", torch.bfloat16):
            vectors = network(bands)
        cosines = functional.normalize(vectors.float()) @ functional.normalize(classes).T
        margin = MARGIN * min(1.0, 2 * share) * functional.one_hot(owners, len(classes))
        loss = functional.cross_entropy(SCALE * (cosines - margin), owners, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        sums += [1, loss.item(), (cosines.argmax(1) == owners).float().mean().item()]
        if step % 50 == 0:
            say(
                f"{share * minutes:.1f} min, step {step}: loss {sums[1] / sums[0]:.3f}, "
                f"right {sums[2] / sums[0]:.1%}"
            )
            sums[:] = 0


def embedding(path: Path) -> Callable[[list[np.ndarray]], np.ndarray]:
    """What embeds pieces `(T,)` at 16 kHz with the weights in a file, as
    `unmingle.inference.speaker_embedding.embed` does: `(len(pieces), D)`.
    """
    with safe_open(path, "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    network = Network().eval()
    network.load_state_dict(state)

    @torch.inference_mode()
    def embed(pieces: list[np.ndarray]) -> np.ndarray:
        bands = [log_bands(piece) for piece in pieces]
        return np.concatenate([network(torch.from_numpy(b - b.mean(axis=0))[None]).numpy() for b in bands])

    return embed


if __name__ == "__main__":
    main()
