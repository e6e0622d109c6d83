"""What the networks of Looking to Listen share: dilated convolutions over time and frequency, and the layers
that end in complex masks.
"""

import torch
from torch import Tensor, nn

# Kernels and dilations of the convolutions, time × frequency.
CONVOLUTIONS = (
    ((1, 7), (1, 1)),
    ((7, 1), (1, 1)),
    *(((5, 5), (2**n, 1)) for n in range(6)),
    *(((5, 5), (2**n, 2**n)) for n in range(6)),
)


def compressed_and_level(spectrum: Tensor, power: float) -> Tensor:
    """The spectrum with its magnitudes raised to a power, over its root mean square: `(B, 2, F, N)` →
    same.
    """
    magnitude = (spectrum.square().sum(1, keepdim=True) + 1e-8).sqrt()
    compressed = spectrum * magnitude ** (power - 1)
    return compressed / (compressed.square().mean((1, 2, 3), keepdim=True) + 1e-8).sqrt()


def dilated_convolutions(n_channels: int, n_last: int) -> nn.Sequential:
    """14 convolutions of `n_channels` over time and frequency, and a 1×1 that leaves `n_last` features of
    each bin: `(B, 2, N, F)` → `(B, n_last, N, F)`.
    """
    layers = [
        convolution(n_channels if number else 2, n_channels, *shape)
        for number, shape in enumerate(CONVOLUTIONS)
    ]
    return nn.Sequential(*layers, convolution(n_channels, n_last, (1, 1), (1, 1)))


def convolution(n_in: int, n_out: int, kernel: tuple[int, int], dilation: tuple[int, int]) -> nn.Sequential:
    """A convolution that keeps the size, batch norm and ReLU; the norm has the bias."""
    padding = (dilation[0] * (kernel[0] // 2), dilation[1] * (kernel[1] // 2))
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    )


def per_frame(convolutions: nn.Module, spectrum: Tensor) -> Tensor:
    """What convolutions over time and frequency leave of all bins of a frame: `(B, 2, F, N)` → `(B, N,
    D)`.
    """
    # B D N F; features last are faster on a processor.
    ordered = spectrum.transpose(2, 3).contiguous(memory_format=torch.channels_last)
    return convolutions(ordered).transpose(1, 2).flatten(2)


def linear_layers(n_in: int, n_features: int) -> nn.Sequential:
    """Three linear layers with ReLU."""
    return nn.Sequential(
        nn.Linear(n_in, n_features),
        nn.ReLU(),
        nn.Linear(n_features, n_features),
        nn.ReLU(),
        nn.Linear(n_features, n_features),
        nn.ReLU(),
    )


def mask_layer(n_features: int, n_masks: int, n_bins: int, share: float) -> nn.Linear:
    """A linear layer whose output is complex masks, `n_masks · 2 · n_bins` values; they begin at the real
    number `share`.
    """
    layer = nn.Linear(n_features, n_masks * 2 * n_bins)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([share, 0.0]).repeat(n_masks).repeat_interleave(n_bins))
    return layer
