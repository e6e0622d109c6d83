"""Which picture of a video belongs to which frame of an STFT."""

import torch
from torch import Tensor

from unmingle.facts import LIPS_RATE
from unmingle.layers.stft import STFT


def beside_frames(features: Tensor, n_frames: int, stft: STFT, sample_rate: int, *, group: int = 1) -> Tensor:
    """The features of the picture that is shown in the middle of each frame of an STFT, or of each `group` of
    frames: `(B, N, D)` → `(B, n_frames, D)`.

    Before the first picture it is the first one's, behind the last one the last one's.

    Args:
        features: of pictures, `LIPS_RATE` a second.
        n_frames: number of frames, or of groups.
        stft, sample_rate: of the frames, and of what it transforms [Hz].
        group: frames that share a picture.
    """
    # The frames of group g reach from sample g · group · hop − (window − hop) to (g + 1) · group · hop.
    middle = (group * stft.hop - (stft.window - stft.hop)) // 2
    samples = torch.arange(n_frames, device=features.device) * (group * stft.hop) + middle
    pictures = torch.div(samples.clamp(min=0) * int(LIPS_RATE), sample_rate, rounding_mode="floor")
    last = torch.ones_like(features[0, :, 0], dtype=torch.long).sum() - 1
    return features[:, torch.minimum(pictures, last)]
