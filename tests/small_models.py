"""Small versions of all models, and what goes into them: `from small_models import tiny, noise`."""

from typing import Any

import torch
from torch import Tensor

from unmingle.models import build

#: Constructor arguments of a version of each model that runs in milliseconds.
TINY: dict[str, dict[str, Any]] = {
    "band-split": {"n_features": 16, "hidden": 8, "n_blocks": 1},
    "conv-tasnet": {
        "n_filters": 16,
        "n_features": 8,
        "n_hidden": 16,
        "n_skip": 8,
        "n_blocks": 2,
        "n_repeats": 2,
    },
    "deep-clustering": {"hidden": 8, "n_layers": 1, "n_embedding": 3, "dropout": 0.0},
    "deepfilternet": {
        "n_fft": 64,
        "hop": 32,
        "n_erb": 8,
        "n_narrowest": 1,
        "n_filtered": 8,
        "channels": 4,
        "hidden": 8,
        "groups": 4,
        "bin_groups": 4,
        "filter_groups": 4,
    },
    "dprnn": {"n_filters": 16, "n_features": 8, "hidden": 8, "segment_size": 10, "n_blocks": 1},
    "dtln": {"n_filters": 8, "hidden": 8, "dropout": 0.0},
    "enhancer-pair": {
        "unet": {"n_points": 16, "channels": (4, 6), "hidden": 8, "frame_hidden": 8},
        "grouped": {"n_low": 9, "n_points": 8, "channels": 4, "dilations": (1, 2), "n_blocks": 1},
    },
    "erb-unet": {"n_points": 16, "channels": (4, 6), "hidden": 8, "frame_hidden": 8},
    "array": {"n_features": 8, "hidden": 8, "n_blocks": 1, "n_more": 1},
    "fasnet": {"frame": 32, "context": 32, "n_filters": 8, "n_features": 8, "hidden": 8, "n_blocks": 1},
    "fasnet-tac": {
        "frame": 32,
        "context": 32,
        "n_filters": 8,
        "n_features": 8,
        "hidden": 8,
        "tac_hidden": 8,
        "n_blocks": 2,
    },
    "gtcrn": {"n_low": 9, "n_points": 8, "channels": 4, "dilations": (1, 2), "n_blocks": 1},
    "lips": {
        "n_features": 16,
        "hidden": 8,
        "n_blocks": 1,
        "width": 2,
        "pool": 4,
        "n_lips": 8,
        "n_shared": 8,
        "dropout": 0.0,
    },
    "looking-to-listen": {
        "n_channels": 4,
        "n_last": 2,
        "n_embedding": 8,
        "n_visual": 8,
        "lip_width": 2,
        "pool": 4,
        "hidden": 8,
        "n_features": 8,
    },
    "looking-to-listen-audio": {"n_channels": 4, "n_last": 2, "hidden": 8, "n_features": 8},
    "mossformer2": {
        "n_filters": 8,
        "n_inner": 4,
        "n_keys": 4,
        "group_size": 16,
        "n_memory": 5,
        "n_blocks": 1,
    },
    "one-and-rest": {
        "n_filters": 16,
        "n_features": 8,
        "n_hidden": 16,
        "n_skip": 8,
        "n_blocks": 2,
        "n_repeats": 2,
        "n_channels": 4,
    },
    "resepformer": {
        "n_filters": 8,
        "hidden": 16,
        "n_heads": 2,
        "n_layers": 1,
        "segment_size": 10,
    },
    "sepformer": {
        "n_filters": 16,
        "n_features": 8,
        "hidden": 16,
        "n_heads": 2,
        "n_layers": 1,
        "segment_size": 10,
        "n_blocks": 1,
    },
    "sepreformer": {
        "n_filters": 16,
        "stride": 16,
        "n_features": 8,
        "n_heads": 2,
        "n_stages": 1,
        "n_encoder_blocks": 1,
        "n_decoder_blocks": 1,
        "local_kernel_size": 5,
        "max_distance": 20,
        "dropout": 0.0,
        "layer_scale": 0.5,
    },
    "sudormrf": {"n_filters": 16, "n_features": 8, "n_hidden": 16, "n_blocks": 2, "n_levels": 3},
    "tasnet": {"n_filters": 16, "hidden": 8},
    "the-conversation": {"n_channels": 8, "n_phase": 8, "n_embedding": 8, "lip_width": 2, "pool": 4},
    "tiger": {
        "hop": 320,
        "n_features": 12,
        "n_hidden": 8,
        "n_levels": 3,
        "n_heads": 2,
        "n_keys": 2,
        "n_blocks": 2,
    },
    "unet-a": {"n_channels": 2, "growth": 4, "n_blocks": 5},
    "unet-b": {"n_filters": 2, "dropout": 0.0},
    "upit": {"hidden": 8, "n_layers": 2, "dropout": 0.0},
}

#: Of a version that is large enough to learn two mixtures by heart.
SMALL: dict[str, dict[str, Any]] = {
    "band-split": {"n_features": 32, "hidden": 32, "n_blocks": 2},
    "conv-tasnet": {
        "n_filters": 64,
        "n_features": 32,
        "n_hidden": 64,
        "n_skip": 32,
        "n_blocks": 4,
        "n_repeats": 2,
    },
    "deep-clustering": {"hidden": 64, "n_layers": 1, "n_embedding": 10, "dropout": 0.0},
    "deepfilternet": {
        "sample_rate": 16_000,
        "n_fft": 256,
        "hop": 128,
        "n_filtered": 48,
        "n_narrowest": 1,
        "channels": 32,
        "hidden": 128,
    },
    "dprnn": {"n_features": 32, "hidden": 32, "segment_size": 20, "n_blocks": 2},
    "dtln": {"dropout": 0.0},
    "enhancer-pair": {},
    "erb-unet": {"n_src": 2},
    "array": {"n_features": 16, "hidden": 16, "n_blocks": 1, "n_more": 1},
    "fasnet": {"context": 64, "n_features": 32, "hidden": 32, "segment_size": 10, "n_blocks": 1},
    "fasnet-tac": {
        "context": 64,
        "n_features": 32,
        "hidden": 32,
        "tac_hidden": 32,
        "segment_size": 10,
        "n_blocks": 2,
    },
    "gtcrn": {},
    "lips": {
        "n_features": 32,
        "hidden": 32,
        "n_blocks": 2,
        "width": 4,
        "pool": 4,
        "n_lips": 16,
        "n_shared": 16,
    },
    "looking-to-listen": {
        "n_fft": 256,
        "hop": 80,
        "window": 200,
        "n_channels": 12,
        "n_embedding": 16,
        "n_visual": 16,
        "lip_width": 4,
        "pool": 4,
        "hidden": 64,
        "n_features": 64,
    },
    "looking-to-listen-audio": {
        "n_fft": 256,
        "hop": 80,
        "window": 200,
        "n_channels": 12,
        "hidden": 64,
        "n_features": 64,
    },
    "mossformer2": {
        "n_filters": 64,
        "n_inner": 32,
        "n_keys": 16,
        "group_size": 32,
        "n_memory": 10,
        "n_blocks": 2,
    },
    "one-and-rest": {
        "n_filters": 64,
        "n_features": 32,
        "n_hidden": 64,
        "n_skip": 32,
        "n_blocks": 4,
        "n_repeats": 2,
    },
    "resepformer": {"n_filters": 64, "hidden": 64, "n_heads": 4, "n_layers": 1, "segment_size": 20},
    "sepformer": {
        "n_filters": 64,
        "n_features": 32,
        "hidden": 64,
        "n_heads": 4,
        "n_layers": 1,
        "segment_size": 20,
        "n_blocks": 2,
    },
    "sepreformer": {
        "n_filters": 64,
        "stride": 16,
        "n_features": 32,
        "n_heads": 4,
        "n_stages": 1,
        "n_encoder_blocks": 1,
        "n_decoder_blocks": 1,
        "local_kernel_size": 17,
        "dropout": 0.0,
        "layer_scale": 0.1,
    },
    "sudormrf": {"n_filters": 64, "n_features": 32, "n_hidden": 64, "n_blocks": 4, "n_levels": 4},
    "tasnet": {"n_filters": 64, "hidden": 64},
    "the-conversation": {"n_channels": 64, "n_phase": 64, "n_embedding": 16, "lip_width": 4, "pool": 4},
    "tiger": {"hop": 320, "n_features": 32, "n_hidden": 64, "n_levels": 3, "n_blocks": 2},
    "unet-a": {"growth": 12},
    "unet-b": {"n_filters": 8, "dropout": 0.0},
    "upit": {"hidden": 64, "n_layers": 2, "dropout": 0.0},
}


def tiny(name: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return build(name, **TINY[name], **arguments).eval()


def cues(model: Any, mixture: Tensor) -> dict[str, Tensor]:
    """Random cues for mixtures `(B, C, T)`, by name: the first items' are the same whatever the batch."""
    n_batch, _, length = mixture.shape
    rate = model.facts.sample_rate
    return {
        cue.name: torch.cat([torch.from_numpy(cue.drawn(1, length, rate, seed)) for seed in range(n_batch)])
        for cue in model.facts.cues
    }


def estimates_of(model: Any, mixture: Tensor) -> Tensor:
    """`(B, C, T)`, with random cues if it needs some → what the model returns."""
    return model(mixture, **cues(model, mixture))


def noise(*shape: int, level: float = 0.1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * level
