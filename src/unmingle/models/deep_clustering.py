"""Deep clustering, and with a mask head, Chimera."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts
from unmingle.heads import FRAMES_PER_WINDOW
from unmingle.layers.norms import GlobalLayerNorm
from unmingle.layers.stft import STFT


class DeepClustering(nn.Module):
    """An embedding for every bin of the spectrogram, such that bins of one voice lie together; clustering
    them gives the masks.

    log |STFT| → BLSTMs over time → one linear layer to `n_embedding` values per bin, tanh, unit length →
    (outside the network, see `heads.py`) k-means with as many centres as voices are wanted → binary masks on
    the mixture. Nothing in the network has an order or a number of voices: trained on two, it separates
    three.

    Chimera is the same network with a second linear layer that gives `n_src` masks; both are trained
    together, the masks are used.

    Differs from the paper: the log spectrogram is normalised over each mixture, not over the training set, so
    no statistics are needed and
    its level does not matter; an offset and a gain per bin are learnt; dropout is between the recurrent
    layers only, as PyTorch's LSTM has none on its recurrent connections (0.2 in the paper); there is no
    enhancement network behind it. The paper's first version is `n_layers=2, hidden=600` (18.4 M parameters;
    10.6 M by default).

    Args:
        n_src: voices to find; None = any number, by clustering; a number adds the masks of Chimera.
        sample_rate: [Hz].
        n_fft: window of the STFT, 32 ms at 8 kHz; frames are a quarter of it apart [samples].
        hidden: units of each direction of the recurrent layers.
        n_layers: number of them.
        n_embedding: length of an embedding.
        dropout: between the recurrent layers.
        soft: share bins between clusters instead of giving each to one.

    References:
        J. R. Hershey et al., "Deep clustering: discriminative embeddings for segmentation and separation",
        2016. Y. Isik et al., "Single-channel multi-speaker separation using deep clustering", 2016. Y. Luo et
        al., "Deep clustering and conventional networks for music separation: stronger together", 2017
        (Chimera).
    """

    def __init__(
        self,
        *,
        n_src: int | None = None,
        sample_rate: int = 8_000,
        n_fft: int = 256,
        hidden: int = 300,
        n_layers: int = 4,
        n_embedding: int = 40,
        dropout: float = 0.5,
        soft: bool = False,
    ) -> None:
        super().__init__()
        head = "" if n_src else "soft-k-means" if soft else "k-means"
        self.facts = Facts(sample_rate=sample_rate, n_src=n_src, chunk=10 * sample_rate, batch=4, head=head)
        self.n_src = n_src
        self.stft = STFT(n_fft=n_fft, hop=n_fft // FRAMES_PER_WINDOW)
        self.norm = GlobalLayerNorm(self.stft.n_bins)
        self.recurrent = nn.LSTM(
            self.stft.n_bins,
            hidden,
            n_layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if n_layers > 1 else 0.0,
        )
        self.embed = nn.Linear(2 * hidden, n_embedding * self.stft.n_bins)
        self.mask = nn.Linear(2 * hidden, n_src * self.stft.n_bins) if n_src else None

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → embeddings `(B, E, F, N)`; with masks, estimates `(B, S, T)`."""
        spectrum, features = self._analyse(mixture)
        return (
            self._embeddings(features)
            if self.mask is None
            else self._estimates(spectrum, features, mixture.shape[-1])
        )

    def forward_both(self, mixture: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embeddings `(B, E, F, N)` and, with masks, estimates `(B, S, T)`: what training needs."""
        spectrum, features = self._analyse(mixture)
        return self._embeddings(features), None if self.mask is None else self._estimates(
            spectrum, features, mixture.shape[-1]
        )

    def _analyse(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """The spectrum `(B, 2, F, N)`, and what the recurrent layers make of it `(B, N, D)`."""
        with torch.autocast(mixture.device.type, enabled=False):
            spectrum = self.stft(mixture[:, 0].float())
            levels = self.norm((spectrum.square().sum(1) + 1e-8).log())
        return spectrum, self.recurrent(levels.transpose(1, 2))[0]

    def _embeddings(self, features: Tensor) -> Tensor:
        vectors = torch.tanh(self.embed(features)).float().unflatten(-1, (-1, self.stft.n_bins))  # B N E F
        return functional.normalize(vectors, dim=2).permute(0, 2, 3, 1)

    def _estimates(self, spectrum: Tensor, features: Tensor, length: int) -> Tensor:
        assert self.mask is not None and self.n_src is not None
        # B S F N
        masks = torch.sigmoid(self.mask(features)).float().unflatten(-1, (self.n_src, -1)).permute(0, 2, 3, 1)
        voices = masks[:, :, None] * spectrum[:, None]
        with torch.autocast(spectrum.device.type, enabled=False):
            return self.stft.inverse(voices.flatten(0, 1), length).unflatten(0, (-1, self.n_src))
