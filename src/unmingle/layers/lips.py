"""What is seen of a speaker: a feature vector for every picture of a mouth."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import LIPS_SIZE

SPREAD = 42.0  # of the grey of mouths, as lip reading has it
N_SEEN = 5  # pictures that the first convolution sees at once


class LipEncoder(nn.Module):
    """Pictures of one mouth become features: a convolution over space and time, then a ResNet-18 for each
    picture, whose last features are averaged.

    What all pictures have in common is taken away first: it is who the person is, not what is said.

    A picture of zeros is none (the face is hidden, or out of the picture): it counts as the mean of the
    others in the convolution, and a learned vector takes the place of its features.

    In training, statistics of batch norm are those of the batch; in use, those kept from training.

    Args:
        n_features: D, of a picture; 8 `width` come without a last linear layer.
        width: channels of the first convolution and of the first quarter of the ResNet, whose other quarters
            have 2, 4 and 8 times as many; 64 in the paper.
        pool: pictures are first averaged over squares of so many pixels a side, which costs that much less.

    References:
        T. Stafylakis and G. Tzimiropoulos, "Combining residual networks with LSTMs for lipreading", 2017.
        T. Afouras et al., "The Conversation: deep audio-visual speech enhancement", 2018.
    """

    def __init__(self, *, n_features: int = 512, width: int = 64, pool: int = 1) -> None:
        super().__init__()
        if not 1 <= pool <= LIPS_SIZE // 8:
            raise ValueError(f"pool is {pool}; it must be from 1 to {LIPS_SIZE // 8}")
        self.pool = pool
        # Pictures are grey, so a 3-D convolution of one channel is a 2-D convolution of five pictures.
        self.enter = nn.Sequential(
            nn.Conv2d(N_SEEN, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        widths = [width, *(width * 2**quarter for quarter in range(4))]
        self.resnet = nn.Sequential(
            *(
                layer
                for quarter in range(4)
                for layer in (
                    ResidualBlock(widths[quarter], widths[quarter + 1], stride=2 if quarter else 1),
                    ResidualBlock(widths[quarter + 1], widths[quarter + 1], stride=1),
                )
            )
        )
        self.leave: Any = (
            nn.Identity() if n_features == widths[-1] else nn.Linear(widths[-1], n_features, bias=False)
        )
        self.missing = nn.Parameter(torch.zeros(n_features))

    def forward(self, mouths: Tensor) -> Tensor:
        """`(B, N, 88, 88)`, grey 0 … 255 → `(B, N, D)`."""
        n_batch, n_pictures = mouths.shape[:2]
        mouths = mouths.float()
        there = mouths.amax((-2, -1)) > 0
        shown = there[..., None, None].to(mouths.dtype)
        mean = mouths.sum(1, keepdim=True) / shown.sum(1, keepdim=True).clamp(min=1)
        pictures = (mouths - mean) / SPREAD * shown
        if self.pool > 1:
            pictures = functional.avg_pool2d(pictures, self.pool)
        reach = N_SEEN // 2
        padded = functional.pad(pictures, (0, 0, 0, 0, reach, reach))
        around = torch.stack([padded[:, start : n_pictures + start] for start in range(N_SEEN)], 2)
        # Features last are faster on a processor.
        seen = self.enter(around.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        features = self.leave(self.resnet(seen).mean((-2, -1)))
        features = features.reshape(n_batch, n_pictures, self.missing.shape[0])
        return torch.where(there[..., None], features, self.missing.to(features.dtype))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm, added to what goes in: `(B, D, H, W)` → `(B, D', H / stride, W /
    stride)`.

    References:
        K. He et al., "Deep residual learning for image recognition", 2016.
    """

    def __init__(self, n_in: int, n_out: int, *, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, pictures: Tensor) -> Tensor:
        return functional.relu(self.layers(pictures) + self.shortcut(pictures))
