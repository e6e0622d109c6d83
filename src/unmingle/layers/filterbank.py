"""A learned analysis of waveforms into frames and a learned synthesis back."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.stream_state import StreamState


class LearnedFilterbank(nn.Module):
    """A convolution in place of the spectrogram and a transposed one in place of its inverse; neither is tied
    to the other.

    They begin as a spectrogram does: windowed cosines and sines at equal distances in frequency, the
    synthesis being the inverse where a filter is a whole number of strides long and no longer than there are
    different waves. A training starts with frames that sound, and goes on from there.

    Both run in float32 even under autocast, because the waveform must keep its precision.

    Args:
        n_filters: basis signals.
        kernel_size: their length [samples].
        stride: distance between frames [samples].
        multiple: the number of frames is rounded up to a multiple of this.
        rectified: frames are not negative; half of the waves then begin as the others upside down, so that
            nothing is lost.
        padded: zeros around the samples, so that every one lies in as many frames as every other. Without
            them the first frame begins with the first sample, the last ends at the last at the latest, and
            samples behind it are lost, as in networks of others whose weights are run.

    References:
        Y. Luo and N. Mesgarani, "TasNet: time-domain audio separation network for real-time, single-channel
        speech separation", 2018.
    """

    def __init__(
        self,
        *,
        n_filters: int,
        kernel_size: int,
        stride: int,
        multiple: int = 1,
        rectified: bool = False,
        padded: bool = True,
    ) -> None:
        super().__init__()
        if kernel_size < stride:
            raise ValueError(
                f"kernel_size ({kernel_size}) must be at least as long as stride ({stride}), or samples are "
                "lost between frames"
            )
        self.stride, self.multiple, self.rectified, self.padded = stride, multiple, rectified, padded
        #: samples that neighbouring frames share
        self.overlap = kernel_size - stride
        self.analysis = nn.Conv1d(1, n_filters, kernel_size, stride=stride, bias=False)
        self.synthesis = nn.ConvTranspose1d(n_filters, 1, kernel_size, stride=stride, bias=False)
        filters = windowed_waves(n_filters, kernel_size)
        if rectified:
            waves = windowed_waves(n_filters - n_filters // 2, kernel_size)
            filters = torch.cat([waves, -waves[: n_filters // 2]])
        with torch.no_grad():
            self.analysis.weight[:, 0] = filters
            # Windows that overlap more add up to more.
            self.synthesis.weight[:, 0] = filters * (2 * stride / kernel_size)

    def forward(self, samples: Tensor, *past: StreamState) -> Tensor:
        """`(B, T)` → frames `(B, F, N)`.

        With a `past`, T is a multiple of `stride`, and the T / `stride` frames that end in these samples come
        out.
        """
        if past:
            padded = past[0].extend(samples.float(), self.overlap)[:, None]
        elif not self.padded:
            lack = self.overlap + self.stride - samples.shape[-1]
            behind = (lack + abs(lack)) // 2  # lack, but no less than 0, which ONNX can trace
            padded = functional.pad(samples[:, None].float(), (0, behind))
        else:
            behind = -(samples.shape[-1] + self.overlap) % (self.stride * self.multiple) + self.overlap
            padded = functional.pad(samples[:, None].float(), (self.overlap, behind))
        with torch.autocast(samples.device.type, enabled=False):
            frames = self.analysis(padded)
            return torch.relu(frames) if self.rectified else frames

    def inverse(self, frames: Tensor, length: int) -> Tensor:
        """`(B, F, N)` → `(B, length)`; `length` is that of the signal that was analysed [samples]."""
        samples = self.synthesise(frames)
        if not self.padded:
            lack = length - samples.shape[-1]
            # No less than 0, which OpenVINO refuses.
            return functional.pad(samples, (0, (lack + abs(lack)) // 2))[:, :length]
        return samples[:, self.overlap : self.overlap + length]

    def synthesise(self, frames: Tensor) -> Tensor:
        """`(B, F, N)` → `(B, N · stride + overlap)`, of which the first and the last `overlap` samples belong
        to further frames too.
        """
        with torch.autocast(frames.device.type, enabled=False):
            return self.synthesis(frames.float())[:, 0]


def windowed_waves(n_filters: int, kernel_size: int) -> Tensor:
    """Cosines and sines of `n_filters / 2` frequencies under half a wave of a sine: `(n_filters,
    kernel_size)`.

    Where `kernel_size` is `n_filters` at most, sums over all filters of products of two samples vanish, so
    that the transposed filters are the inverse but for the square of the window.
    """
    centred = torch.arange(kernel_size) - (kernel_size - 1) / 2
    n_waves = (n_filters + 1) // 2
    phases = torch.pi * (torch.arange(n_waves)[:, None] + 0.5) / n_waves * centred
    window = torch.sin(torch.pi * (torch.arange(kernel_size) + 0.5) / kernel_size)
    waves = torch.stack([phases.cos(), phases.sin()], 1).flatten(0, 1)[:n_filters]
    return waves * window / n_waves**0.5
