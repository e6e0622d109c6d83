"""Short-time objective intelligibility, with a gradient."""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.resample import resample
from unmingle.objectives.loss_inputs import LossInputs

RATE = 10_000  # [Hz]
WINDOW, HOP, N_FFT = 256, 128, 512
N_BANDS, LOWEST = 15, 150.0  # third octaves from this centre on [Hz]
SEGMENT = 30  # frames, 384 ms
SILENT_DB = 40.0  # frames that lie further below the loudest do not count
CLIP = 10 ** (15 / 20)  # an error of more than −15 dB SDR is as bad as that


@lru_cache
def _bands() -> Tensor:
    """Which bins belong to which third octave: `(15, F)`."""
    bins = torch.linspace(0, RATE, N_FFT + 1, dtype=torch.float64)[: N_FFT // 2 + 1]
    centres = LOWEST * 2 ** (torch.arange(N_BANDS, dtype=torch.float64) / 3)
    low, high = ((bins - (centres * 2**shift)[:, None]).abs().argmin(1)[:, None] for shift in (-1 / 6, 1 / 6))
    at = torch.arange(len(bins))
    return ((low <= at) & (at < high)).float()


def _frames(samples: Tensor) -> Tensor:
    """Windowed: `(…, T)` → `(…, N, 256)`; one that would end with the last sample is left out, as in the
    reference.
    """
    window = torch.hann_window(WINDOW + 2, periodic=False, device=samples.device)[1:-1]
    return samples[..., :-1].unfold(-1, WINDOW, HOP) * window


def _levels(frames: Tensor) -> Tensor:
    """Of every third octave: frames `(…, K, 256)`, added up again, → `(…, 15, K − 1)`."""
    first, second = frames.unflatten(-1, (2, HOP)).unbind(-2)
    joined = functional.pad(first, (0, 0, 0, 1)) + functional.pad(second, (0, 0, 1, 0))
    spectrum = torch.fft.rfft(_frames(joined.flatten(-2)), N_FFT)
    return (_bands().to(frames.device) @ torch.view_as_real(spectrum).square().sum(-1).mT + 1e-12).sqrt()


def stoi(estimates: Tensor, reference: Tensor, sample_rate: int) -> Tensor:
    """STOI of estimates `(…, T)` of one reference `(T,)` → `(…)`, 1 for the reference itself.

    The mean correlation of third-octave levels over 384 ms, estimates scaled to the reference's energy and
    clipped; frames more than 40 dB below the reference's loudest are cut out first. Speech of less than 400
    ms is filled up with silence (the reference implementation gives up there), so that a silent one has 0,
    and no gradient.

    >>> voice = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    >>> round(float(stoi(0.1 * voice, voice, 16000)), 4)
    1.0

    References:
        C. H. Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted noisy
        speech", 2011.
    """
    with torch.autocast(estimates.device.type, enabled=False):
        both = resample(
            torch.cat([reference[None], estimates.reshape(-1, reference.shape[-1])]).float(),
            sample_rate,
            RATE,
        )
        frames = _frames(functional.pad(both, (0, max(0, WINDOW + 1 - both.shape[-1]))))
        energy = frames[0].square().sum(-1) + 1e-24
        frames = frames[:, energy > 10 ** (-SILENT_DB / 10) * energy.max()]
        frames = functional.pad(frames, (0, 0, 0, max(0, SEGMENT + 1 - frames.shape[1])))
        segments = _levels(frames).unfold(-1, SEGMENT, 1)  # 1 + estimates, bands, segments, frames
        clean, found = segments[:1], segments[1:]
        found = found * clean.norm(dim=-1, keepdim=True) / found.norm(dim=-1, keepdim=True)
        found = torch.minimum(found, (1 + CLIP) * clean)
        clean, found = (levels - levels.mean(-1, keepdim=True) for levels in (clean, found))
        norms = [(levels.square().sum(-1) + 1e-12).sqrt() for levels in (clean, found)]
        return ((clean * found).sum(-1) / (norms[0] * norms[1])).mean((-2, -1)).reshape(estimates.shape[:-1])


class STOI(nn.Module):
    """`1 − stoi` of every estimate and every source."""

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        rate = inputs.separator.facts.sample_rate
        items = zip(inputs.estimates, inputs.sources, strict=True)
        # One source at a time: it decides which frames count.
        return torch.stack(
            [
                torch.stack([1 - stoi(estimates, source, rate) for source in sources], 1)
                for estimates, sources in items
            ]
        )
