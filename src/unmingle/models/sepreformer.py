"""Separate and reconstruct: an asymmetric encoder and decoder with attention."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, task_for
from unmingle.layers.attention import Attention
from unmingle.layers.filterbank import LearnedFilterbank
from unmingle.layers.norms import GlobalLayerNorm


class SepReformer(nn.Module):
    """A U-Net over the frames of a learned filterbank that splits the mixture into voices half-way and
    reconstructs each with shared weights.

    The encoder halves the rate stage by stage. At its bottom, and at each skip connection, features are split
    into one sequence per voice. The decoder runs on every voice with the same weights, and the voices look at
    each other by attention: it learns to reconstruct one voice given what the others claim. Each stage has a
    global block (attention at the lowest rate, gated back to its own) and a local one (a long depthwise
    convolution), each followed by a gated feed-forward layer.

    Differs from the paper: the defaults are its size T carried over to 16 kHz (kernel and stride doubled);
    LayerNorm takes the place of BatchNorm,
    so that an item does not depend on its batch. Of the 3.91 M parameters at size T (paper: 3.7 M) 0.20 M are
    the masks of the auxiliary estimates, `forward_stages`, which only training needs.

    Args:
        n_src: voices to find.
        sample_rate: [Hz].
        n_filters: basis signals of the filterbank.
        kernel_size: their length [samples].
        stride: distance between frames [samples].
        n_features: width of all blocks.
        n_stages: times that the rate is halved.
        n_heads: of the attention; must divide `n_features`.
        n_encoder_blocks: pairs of a global and a local block per encoder stage.
        n_decoder_blocks: the same, with attention across voices, per decoder stage.
        local_kernel_size: of the local blocks [frames], odd.
        expansion: width of the feed-forward layers over `n_features`.
        max_distance: farthest relative position that has an embedding of its own [frames of the lowest rate].
        dropout: after each layer.
        layer_scale: first value of the gain on every residual branch.

    References:
        U.-H. Shin, S. Lee, T. Kim and H.-M. Park, "Separate and reconstruct: asymmetric encoder-decoder for
        speech separation", 2024.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_filters: int = 256,
        kernel_size: int = 32,
        stride: int = 8,
        n_features: int = 64,
        n_stages: int = 4,
        n_heads: int = 8,
        n_encoder_blocks: int = 2,
        n_decoder_blocks: int = 3,
        local_kernel_size: int = 65,
        expansion: int = 3,
        max_distance: int = 2000,
        dropout: float = 0.05,
        layer_scale: float = 1e-5,
    ) -> None:
        super().__init__()
        if n_features % n_heads:
            raise ValueError(f"n_features ({n_features}) must be a multiple of n_heads ({n_heads})")
        self.facts = Facts(sample_rate=sample_rate, task=task_for(n_src), n_src=n_src)
        self.n_src = n_src
        self.filterbank = LearnedFilterbank(
            n_filters=n_filters, kernel_size=kernel_size, stride=stride, multiple=2**n_stages
        )
        self.bottleneck = nn.Sequential(
            GlobalLayerNorm(n_filters), nn.Conv1d(n_filters, n_features, 1, bias=False)
        )
        self.positions = RelativePositions(n_features // n_heads, max_distance)

        def pair(stage: int, across: bool) -> nn.Module:
            return Pair(
                n_features=n_features,
                n_heads=n_heads,
                pool=2 ** (n_stages - stage),
                kernel_size=local_kernel_size,
                expansion=expansion,
                dropout=dropout,
                layer_scale=layer_scale,
                n_src=n_src if across else None,
            )

        self.encoder = nn.ModuleList(
            Pairs(pair(stage, False) for _ in range(n_encoder_blocks)) for stage in range(n_stages + 1)
        )
        self.down = nn.ModuleList(Down(n_features) for _ in range(n_stages))
        self.split = Split(n_features, n_src)
        self.fuse = nn.ModuleList(nn.Linear(2 * n_features, n_features) for _ in range(n_stages))
        self.decoder = nn.ModuleList(
            Pairs(pair(stage, True) for _ in range(n_decoder_blocks)) for stage in range(n_stages)
        )
        self.mask = Mask(n_features, n_filters)
        self.stage_masks = nn.ModuleList(Mask(n_features, n_filters) for _ in range(n_stages))

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        frames, stages = self._reconstruct(mixture)
        return self._synthesise(self.mask(stages[-1]), frames, mixture.shape[-1])

    def forward_stages(self, mixture: Tensor) -> list[Tensor]:
        """`(B, 1, T)` → estimates `(B, S, T)` of every stage, from the lowest rate to the final ones, for
        deep supervision.
        """
        frames, stages = self._reconstruct(mixture)
        length = mixture.shape[-1]
        estimates = []
        for mask, features in zip(self.stage_masks, stages[:-1], strict=True):
            repeat = frames.shape[-1] // features.shape[1]
            estimates.append(self._synthesise(mask(features).repeat_interleave(repeat, 1), frames, length))
        return [*estimates, self._synthesise(self.mask(stages[-1]), frames, length)]

    def _reconstruct(self, mixture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Frames of the mixture `(B, F, N)` and features per voice `(B S, N, D)` of every stage, the lowest
        rate first.
        """
        frames = functional.gelu(self.filterbank(mixture[:, 0]))
        x = self.bottleneck(frames).transpose(1, 2)  # B N D
        skips = []
        for stage, blocks in enumerate(self.encoder):
            x = blocks(x, self.positions)
            skips.append(self.split(x))
            if stage < len(self.down):
                x = self.down[stage](x)
        x = skips.pop()
        stages = [x]
        for stage in reversed(range(len(self.decoder))):
            x = self.fuse[stage](torch.cat([x.repeat_interleave(2, 1), skips.pop()], -1))
            x = self.decoder[stage](x, self.positions)
            stages.append(x)
        return frames, stages

    def _synthesise(self, masks: Tensor, frames: Tensor, length: int) -> Tensor:
        """Masks `(B S, N, F)` on the mixture's frames `(B, F, N)` → `(B, S, length)`."""
        voices = masks.float().transpose(1, 2).unflatten(0, (-1, self.n_src)) * frames[:, None]
        return self.filterbank.inverse(voices.flatten(0, 1), length).unflatten(0, (-1, self.n_src))


class Pair(nn.Module):
    """A global and a local block, and in the decoder attention across the `n_src` voices: `(B, N, D)` → the
    same.
    """

    def __init__(
        self,
        *,
        n_features: int,
        n_heads: int,
        pool: int,
        kernel_size: int,
        expansion: int,
        dropout: float,
        layer_scale: float,
        n_src: int | None,
    ) -> None:
        super().__init__()
        self.n_src = n_src

        def branch(module: nn.Module) -> nn.Module:
            return Branch(module, n_features, dropout, layer_scale)

        self.attend = branch(GlobalAttention(n_features, n_heads, pool))
        self.attend_forward = branch(GatedForward(n_features, expansion))
        self.local = branch(LocalConvolution(n_features, kernel_size))
        self.local_forward = branch(GatedForward(n_features, expansion))
        if n_src:
            self.across = branch(Attention(n_features, n_heads))
            self.across_forward = branch(GatedForward(n_features, expansion))

    def forward(self, x: Tensor, positions: nn.Module) -> Tensor:
        x = self.attend_forward(self.attend(x, positions))
        x = self.local_forward(self.local(x))
        if self.n_src:
            n_items, n_frames, n_features = x.shape
            voices = x.reshape(-1, self.n_src, n_frames, n_features).transpose(1, 2)  # B N S D
            voices = self.across(voices.reshape(-1, self.n_src, n_features)).reshape(
                -1, n_frames, self.n_src, n_features
            )
            x = self.across_forward(voices.transpose(1, 2).reshape(n_items, n_frames, n_features))
        return x


class Pairs(nn.ModuleList):
    """The pairs of a stage, one after the other: `(B, N, D)` → the same."""

    def forward(self, x: Tensor, positions: nn.Module) -> Tensor:
        for pair in self:
            x = pair(x, positions)
        return x


class Branch(nn.Module):
    """A residual branch: norm before, dropout and a small learned gain behind."""

    def __init__(self, module: nn.Module, n_features: int, dropout: float, layer_scale: float) -> None:
        super().__init__()
        self.norm, self.module, self.dropout = nn.LayerNorm(n_features), module, nn.Dropout(dropout)
        self.gain = nn.Parameter(torch.full((n_features,), layer_scale))

    def forward(self, x: Tensor, *others: nn.Module) -> Tensor:
        return x + self.dropout(self.module(self.norm(x), *others)) * self.gain


class RelativePositions(nn.Module):
    """What a query adds to its score of a key at a distance: `(B, H, N, E)` → `(B, H, N, N)`."""

    def __init__(self, n_features: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.embedding = nn.Parameter(torch.randn(2 * max_distance + 1, n_features))

    def forward(self, queries: Tensor) -> Tensor:
        n = queries.shape[2]
        distances = torch.arange(2 * n - 1, device=queries.device) - (n - 1)
        keys = self.embedding[distances.clamp(-self.max_distance, self.max_distance) + self.max_distance]
        scores = queries @ keys.T.to(queries.dtype)  # B H N (2N - 1), by distance
        # Row i, column d − i + n − 1 becomes row i, column d: one sample of padding per row shifts every row
        # by one more.
        skewed = functional.pad(scores, (0, 1)).flatten(2)[:, :, : n * (2 * n - 1)]
        return skewed.reshape(*scores.shape)[:, :, :, n - 1 :]


class GlobalAttention(nn.Module):
    """Attention at a rate lowered by `pool`, let in at the full rate by a gate: `(B, N, D)` → the same; N
    divides by `pool`.
    """

    def __init__(self, n_features: int, n_heads: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.attention = Attention(n_features, n_heads)
        self.gate = nn.Linear(n_features, n_features)

    def forward(self, x: Tensor, positions: nn.Module) -> Tensor:
        pooled = functional.avg_pool1d(x.transpose(1, 2), self.pool).transpose(1, 2)
        return torch.sigmoid(self.gate(x)) * self.attention(pooled, positions).repeat_interleave(self.pool, 1)


class LocalConvolution(nn.Module):
    """A gated layer, a long depthwise convolution and a layer of twice the width: `(B, N, D)` → the same."""

    def __init__(self, n_features: int, kernel_size: int) -> None:
        super().__init__()
        self.gated = nn.Sequential(nn.Linear(n_features, 2 * n_features), nn.GLU())
        self.convolution = nn.Conv1d(
            n_features, n_features, kernel_size, padding=kernel_size // 2, groups=n_features
        )
        self.mix = nn.Sequential(
            nn.Linear(n_features, 2 * n_features),
            nn.LayerNorm(2 * n_features),
            nn.GELU(),
            nn.Linear(2 * n_features, n_features),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.convolution(self.gated(x).transpose(1, 2)).transpose(1, 2))


class GatedForward(nn.Module):
    """A feed-forward layer with a short depthwise convolution and a gate: `(B, N, D)` → the same."""

    def __init__(self, n_features: int, expansion: int) -> None:
        super().__init__()
        width = 2 * expansion * n_features
        self.widen = nn.Linear(n_features, width)
        self.convolution = nn.Conv1d(width, width, 3, padding=1, groups=width)
        self.narrow = nn.Sequential(nn.GLU(), nn.Linear(width // 2, n_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.convolution(self.widen(x).transpose(1, 2)).transpose(1, 2))


class Down(nn.Module):
    """Half the rate: `(B, N, D)` → `(B, N / 2, D)`."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(n_features, n_features, 5, stride=2, padding=2, groups=n_features)
        self.norm = nn.LayerNorm(n_features)

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(self.norm(self.convolution(x.transpose(1, 2)).transpose(1, 2)))


class Split(nn.Module):
    """One sequence becomes one per voice: `(B, N, D)` → `(B S, N, D)`."""

    def __init__(self, n_features: int, n_src: int) -> None:
        super().__init__()
        self.n_src = n_src
        width = n_src * n_features
        self.layers = nn.Sequential(nn.Linear(n_features, 4 * width), nn.GLU(), nn.Linear(2 * width, width))
        self.norm = GlobalLayerNorm(n_features, channels_last=True)

    def forward(self, x: Tensor) -> Tensor:
        n_batch, n_frames, n_features = x.shape
        voices = self.layers(x).reshape(n_batch, n_frames, self.n_src, n_features)
        return self.norm(voices.transpose(1, 2).reshape(n_batch * self.n_src, n_frames, n_features))


class Mask(nn.Sequential):
    """Features `(…, D)` → masks that are not negative `(…, F)`."""

    def __init__(self, n_features: int, n_filters: int) -> None:
        super().__init__(
            nn.Linear(n_features, 4 * n_features), nn.GLU(), nn.Linear(2 * n_features, n_filters), nn.ReLU()
        )
