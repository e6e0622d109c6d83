"""Array: the band-split network hears one microphone, a Wiener filter of all microphones sharpens what it
heard, and further blocks hear both.
"""

import torch
from torch import Tensor, nn

from unmingle.facts import Facts, task_for
from unmingle.layers import crm
from unmingle.layers.wiener import wiener
from unmingle.models.band_split import BandSplit, Block


class Array(nn.Module):
    """Voices out of the mixture at any number of microphones, in any geometry and order.

    A `BandSplit` takes the voices out of the mixture at the reference, the first microphone. The filter of
    all microphones, over some frames, that comes nearest to each of these estimates is found in closed form,
    bin by bin; what it outputs holds less of what comes from elsewhere, since a filter cannot follow a mask's
    mistakes. Further blocks hear the mixture, the first estimates and the filtered ones, and output two
    complex masks per voice, for the mixture at the reference and for the filtered voice.

    Its head, where it runs, is a beamformer with its estimates as masks: see `unmingle.heads.with_mvdr`.

    Nothing of it knows how many microphones there are or where; other microphones are in no order. At one
    microphone the filter has nothing to go by but the frames.

    Differs from the paper: band-split networks instead of TF-GridNet's blocks; the second network goes on
    from the first one's vectors instead of beginning anew; masks instead of mapping.

    Args:
        n_src: number of voices.
        sample_rate: [Hz].
        n_fft, hop, n_features, hidden, n_blocks, attention: of the `BandSplit`.
        n_taps: frames that the filter spans, the present one in the middle.
        n_more: blocks behind the filter.

    References:
        Z.-Q. Wang et al., "TF-GridNet: integrating full- and sub-band modeling for speech separation", 2023
        (a multi-frame Wiener filter between two networks).
        Y. Luo and J. Yu, "Music source separation with band-split RNN", 2023.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_fft: int = 512,
        hop: int = 256,
        n_features: int = 64,
        hidden: int = 64,
        n_blocks: int = 4,
        attention: bool = True,
        n_taps: int = 3,
        n_more: int = 2,
    ) -> None:
        super().__init__()
        if n_taps < 1 or n_taps % 2 == 0:
            raise ValueError(f"n_taps is {n_taps}; the filter spans an odd number of frames")
        self.facts = Facts(
            sample_rate=sample_rate, task=task_for(n_src), n_src=n_src, n_mics=None, head="mvdr"
        )
        self.hearing = BandSplit(
            n_src=n_src,
            sample_rate=sample_rate,
            n_fft=n_fft,
            hop=hop,
            n_features=n_features,
            hidden=hidden,
            n_blocks=n_blocks,
            attention=attention,
        )
        self.n_src, self.n_taps = n_src, n_taps
        n_bands, width = self.hearing.n_bands, self.hearing.width
        # The further blocks begin with next to nothing of the filtered voices, and the masks near a half of
        # each voice as it was heard first and as it was filtered.
        self.filtered = nn.Parameter(0.02 * torch.randn(n_bands, 3 * width * n_src, n_features))
        self.blocks = nn.ModuleList(Block(n_features, hidden, attention, 0) for _ in range(n_more))
        self.norm = nn.LayerNorm(n_features)
        self.change = nn.Parameter(2e-3 * torch.randn(n_bands, n_features, n_src * 4 * width))

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, C, T)` → `(B, S, T)`, as they are at the first microphone."""
        hearing, n_batch, length = self.hearing, mixture.shape[0], mixture.shape[-1]
        spectrum, compressed = hearing.compressed(mixture[:, 0], 0.5)
        vectors = hearing.encode(compressed)
        for block in hearing.blocks:
            vectors = block(vectors)
        masks = hearing.decode(vectors)  # (B, S, 2, F, N)
        with torch.autocast(mixture.device.type, enabled=False):
            others = hearing.stft(mixture.float().flatten(0, 1))
            spectra = others.reshape(n_batch, -1, *others.shape[1:])  # (B, C, 2, F, N)
            voices = wiener(spectra, crm.apply(masks.float(), spectrum[:, None]), self.n_taps)
        vectors = vectors + self._vectors(voices)
        for block in self.blocks:
            vectors = block(vectors)
        changes = torch.matmul(self.norm(vectors), self.change)  # (B, bands, N, S 4 width)
        changes = changes.unflatten(-1, (self.n_src, 2, 2, hearing.width)).permute(0, 3, 4, 5, 1, 6, 2)
        changes = changes.flatten(4, 5)[..., hearing.place, :].float()  # (B, S, 2 inputs, 2, F, N)
        of_filtered = changes[:, :, 1] + 0.5 * torch.tensor([1.0, 0.0]).to(changes)[:, None, None]
        with torch.autocast(mixture.device.type, enabled=False):
            estimates = crm.apply(masks.float() / 2 + changes[:, :, 0], spectrum[:, None])
            estimates = estimates + crm.apply(of_filtered, voices)
            samples = hearing.stft.inverse(estimates.flatten(0, 1), length)
        return samples.reshape(n_batch, self.n_src, length)

    def _vectors(self, voices: Tensor) -> Tensor:
        """Of filtered voices `(B, S, 2, F, N)`, what is added to the vectors `(B, bands, N, D)`."""
        hearing = self.hearing
        magnitude = (voices.square().sum(2, keepdim=True) + 1e-8).sqrt()
        parts = torch.cat([voices / magnitude.sqrt(), magnitude.sqrt()], 2).flatten(1, 2)  # (B, 3 S, F, N)
        n_batch, n_parts, _, n_frames = parts.shape
        bands = parts[:, :, hearing.bins].reshape(n_batch, n_parts, hearing.n_bands, hearing.width, n_frames)
        bands = bands.permute(0, 2, 4, 1, 3) * hearing.valid[:, None]
        return torch.matmul(bands.flatten(3), self.filtered)
