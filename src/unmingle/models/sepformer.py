"""Separation transformer: dual-path attention."""

from torch import Tensor, nn

from unmingle.facts import Facts, task_for
from unmingle.layers.attention import Transformer
from unmingle.layers.dual_path import overlap_add, segment
from unmingle.layers.filterbank import LearnedFilterbank
from unmingle.layers.norms import SheetNorm


class SepFormer(nn.Module):
    """Masks on a learned filterbank, found by transformers within short segments and across them in turn.

    As DPRNN, with attention in the place of recurrence: whatever is in a segment sees all of that segment at
    once, then the same place in every other. Attention costs the square of a length; cut into segments of
    about its square root, a sequence of thousands of frames is within reach. Letters of the paper: F =
    `n_features`, C = `segment_size`, N = `n_blocks`, K = `n_layers`.

    Differs from the paper: the defaults are its network carried over to 16 kHz (filters twice as long). As in
    its authors' code, each transformer begins with positions and ends in a norm, masks are gated (tanh ×
    sigmoid), the number of segments is even, and there are no zeros around the mixture: what is left behind
    the last whole frame is silent.

    Args:
        n_src: voices to find.
        sample_rate: [Hz].
        n_filters: basis signals of the filterbank, which are not negative in a mixture.
        kernel_size: their length [samples], even; frames overlap by half.
        n_features: width of the transformers.
        hidden: width of their feed-forward layers.
        n_heads: of their attention; must divide `n_features`.
        n_layers: of each transformer.
        segment_size: frames per segment, even.
        n_blocks: each a transformer within the segments and one across them.

    References:
        C. Subakan, M. Ravanelli, S. Cornell, M. Bronzi and J. Zhong, "Attention is all you need in speech
        separation", 2021.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_filters: int = 256,
        kernel_size: int = 32,
        n_features: int = 256,
        hidden: int = 1024,
        n_heads: int = 8,
        n_layers: int = 8,
        segment_size: int = 250,
        n_blocks: int = 2,
    ) -> None:
        super().__init__()
        if segment_size % 2:
            raise ValueError(f"segment_size ({segment_size}) must be even: segments overlap by half")
        self.facts = Facts(sample_rate=sample_rate, task=task_for(n_src), n_src=n_src, chunk=8 * sample_rate)
        self.n_src, self.segment_size = n_src, segment_size
        self.filterbank = LearnedFilterbank(
            n_filters=n_filters,
            kernel_size=kernel_size,
            stride=kernel_size // 2,
            rectified=True,
            padded=False,
        )
        self.norm = SheetNorm(n_filters)
        self.bottleneck = nn.Linear(n_filters, n_features, bias=False)
        self.blocks = nn.ModuleList(Block(n_features, n_heads, hidden, n_layers) for _ in range(n_blocks))
        self.split = nn.Sequential(nn.PReLU(), nn.Linear(n_features, n_src * n_features))
        self.gated = nn.Sequential(nn.Linear(n_features, n_features), nn.Tanh())
        self.gate = nn.Sequential(nn.Linear(n_features, n_features), nn.Sigmoid())
        self.mask = nn.Sequential(nn.Linear(n_features, n_filters, bias=False), nn.ReLU())

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        frames = self.filterbank(mixture[:, 0])  # B F N
        x = self.bottleneck(self.norm(frames.transpose(1, 2)))  # B N D
        x = segment(x, self.segment_size, even=True)  # B K P D
        for block in self.blocks:
            x = block(x)
        x = overlap_add(self.split(x), frames.shape[-1])  # B N (S D)
        x = x.unflatten(-1, (self.n_src, -1)).transpose(1, 2)  # B S N D
        masks = self.mask(self.gated(x) * self.gate(x)).float()
        voices = masks.transpose(2, 3) * frames[:, None]  # B S F N
        return self.filterbank.inverse(voices.flatten(0, 1), mixture.shape[-1]).unflatten(0, (-1, self.n_src))


class Block(nn.Module):
    """A transformer within the segments and one across them, each normalised beside a skip: `(B, K, P, D)` →
    the same.
    """

    def __init__(self, n_features: int, n_heads: int, hidden: int, n_layers: int) -> None:
        super().__init__()
        self.within = Transformer(n_features, n_heads, hidden, n_layers)
        self.norm_within = SheetNorm(n_features)
        self.across = Transformer(n_features, n_heads, hidden, n_layers)
        self.norm_across = SheetNorm(n_features)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm_within(self.within(x.flatten(0, 1)).reshape(x.shape))
        columns = x.transpose(1, 2)  # B P K D
        seen = self.across(columns.flatten(0, 1)).reshape(columns.shape)
        return x + self.norm_across(seen).transpose(1, 2)
