"""What PESQ would say of an estimate, with a gradient."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.resample import resample
from unmingle.objectives.frozen import RATE, MelPower, load_frozen, save_frozen
from unmingle.objectives.loss_inputs import LossInputs

FORMAT = "unmingle-pesq-proxy-1"
WORST, BEST = 1.0, 4.644  # wide-band PESQ: the bounds of its scale, the latter of the reference itself
SPEECH = slice(10, 46)  # bands of 0.4 to 3.4 kHz, in which levels are made equal
EXPONENT, FLOOR = 0.23, 1e-6  # of loudness, by Zwicker; power that counts as nothing
CHANNELS = (32, 48, 64, 64)


class PESQProxyNetwork(nn.Module):
    """Loudness of an estimate and of the clean voice → PESQ, where 0 is the worst and 1 the voice itself.

    Convolutions see the estimate beside the clean voice, and the clean voice beside itself. What they find in
    the two differs by `d`, a sum with weights that are never negative, and the score is exp(−d): so it is 1
    for the clean voice, by construction.

    Args:
        channels: of each convolution; each halves bands and frames.

    References:
        S.-W. Fu et al., "MetricGAN: generative adversarial networks based black-box metric scores
        optimization for speech enhancement", 2019, for a network in the place of PESQ. R. Zhang et al., "The
        unreasonable effectiveness of deep features as a perceptual metric", 2018, for the difference.
    """

    def __init__(self, *, channels: tuple[int, ...] | list[int] = CHANNELS) -> None:
        super().__init__()
        self.config = {"channels": list(channels)}
        self.power = MelPower()
        sizes = [5, *[3] * (len(channels) - 1)]
        self.layers = nn.ModuleList(
            nn.Conv2d(ins, outs, size, stride=2, padding=size // 2)
            for ins, outs, size in zip([2, *channels], channels, sizes, strict=False)
        )
        # Of means and of deviations of each channel; softplus makes them positive.
        self.weights = nn.Parameter(torch.full((2 * sum(channels),), -5.0))

    def loudness(self, samples: Tensor) -> Tensor:
        """Of `(B, T)` at 16 kHz: `(B, 64, N)`, at one level."""
        power = self.power(samples)
        return (power / (power[:, SPEECH].mean((1, 2), keepdim=True) + 1e-12) + FLOOR) ** EXPONENT

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Scores of loudness `(B, 64, N)` against loudness `(B, 64, N)`: `(B,)`."""
        x, y = (torch.stack([each, clean], 1) for each in (estimate, clean))
        found = []
        for layer in self.layers:
            x, y = (functional.silu(layer(each)) for each in (x, y))
            difference = (x - y).abs()
            of_frames = difference.mean(2)
            found += [of_frames.mean(-1), (of_frames.square().mean(-1) + 1e-12).sqrt() - 1e-6]
        return (-(torch.cat(found, 1) @ functional.softplus(self.weights))).exp()


def save_pesq_proxy(path: Path, network: PESQProxyNetwork, training: dict[str, Any]) -> None:
    """Write weights and training's account of itself, as safetensors."""
    save_frozen(path, network, format=FORMAT, config=network.config, training=training)


def load_pesq_proxy(path: str | Path) -> PESQProxyNetwork:
    """The frozen network of a file that `save_pesq_proxy` wrote; InputError if it is none."""
    return load_frozen(path, PESQProxyNetwork, "a PESQ proxy", FORMAT, "train_pesq_proxy.py")


class PESQProxy(nn.Module):
    """1 − score of every estimate against every source, by a frozen network that imitates PESQ.

    The network knows what it was trained on; an estimate may learn to please it without pleasing PESQ. So
    take the term beside others, and measure with PESQ itself.

    Args:
        weights: file of the network (benchmarks/train_pesq_proxy.py makes one).
    """

    def __init__(self, *, weights: str) -> None:
        super().__init__()
        self.network = load_pesq_proxy(weights)

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        rate, n_src = inputs.separator.facts.sample_rate, inputs.sources.shape[1]
        estimates, sources = (self._loudness(x, rate) for x in (inputs.estimates, inputs.sources))
        pairs = [
            estimates[:, :, None].expand(-1, -1, n_src, -1, -1),
            sources[:, None].expand(-1, n_src, -1, -1, -1),
        ]
        with torch.autocast(sources.device.type, enabled=False):
            return 1 - self.network(*(each.flatten(0, 2) for each in pairs)).view(-1, n_src, n_src)

    def _loudness(self, samples: Tensor, sample_rate: int) -> Tensor:
        """Of `(B, S, T)`: `(B, S, 64, N)`, in float32 also under autocast."""
        with torch.autocast(samples.device.type, enabled=False):
            at_rate = resample(samples.float(), sample_rate, RATE)
            return self.network.loudness(at_rate.flatten(0, 1)).unflatten(0, samples.shape[:2])
