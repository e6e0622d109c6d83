"""Recurrent time-domain audio separation network: LSTM-TasNet and BLSTM-TasNet."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, task_for


class TasNet(nn.Module):
    """The mixture, 5 ms at a time, as a non-negative sum of learned basis signals, each of which is shared
    between the voices.

    A frame of `frame` samples, without overlap and scaled to unit norm, becomes `n_filters` weights: `relu(U
    x) · sigmoid(V x)`. Recurrent layers read the weights, layer normalised, and say for every weight how it
    is shared between the voices (softmax). Shared weights times learned basis signals are the voices' frames;
    the norm is given back to them. No spectrogram, so no phase to estimate and no window to wait for. Letters
    of the paper: N = `n_filters`, L = `frame`.

    The defaults are BLSTM-TasNet, 23.1 M parameters counted (23.6 M published): recurrent layers 22.0 M,
    masks 1.0 M, encoder and decoder 0.06 M. `causal=True, hidden=1000` is LSTM-TasNet, 31.1 M counted (32.0 M
    published).

    Differs from the paper: nothing known but what the paper leaves open. "An identity skip every two layers,
    from the second on" is read so: what
    goes into layer 2 is added to what comes out of layer 3, and so on; a last layer without a partner has
    none. Without overlap, what a voice sounds like depends on where the frames happen to lie.

    Args:
        n_src: voices to find.
        sample_rate: [Hz].
        n_filters: basis signals.
        frame: their length [samples].
        causal: recurrent layers run forward only.
        hidden: units of each direction of the recurrent layers.
        n_layers: number of them.

    References:
        Y. Luo and N. Mesgarani, "TasNet: time-domain audio separation network for real-time, single-channel
        speech separation", 2018.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 8_000,
        n_filters: int = 500,
        frame: int = 40,
        causal: bool = False,
        hidden: int = 500,
        n_layers: int = 4,
    ) -> None:
        super().__init__()
        self.facts = Facts(
            sample_rate=sample_rate,
            task=task_for(n_src),
            n_src=n_src,
            causal=causal,
            latency=frame - 1 if causal else 0,
            chunk=10 * sample_rate,
            batch=4,
        )
        self.n_src, self.frame = n_src, frame
        self.weight = nn.Linear(frame, n_filters, bias=False)
        self.gate = nn.Linear(frame, n_filters, bias=False)
        self.norm = nn.LayerNorm(n_filters)
        width = hidden if causal else 2 * hidden
        self.recurrent = nn.ModuleList(
            nn.LSTM(width if layer else n_filters, hidden, batch_first=True, bidirectional=not causal)
            for layer in range(n_layers)
        )
        self.mask = nn.Linear(width, n_src * n_filters)
        self.basis = nn.Linear(n_filters, frame, bias=False)

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        n_batch, _, length = mixture.shape
        with torch.autocast(mixture.device.type, enabled=False):
            # B N L
            frames = functional.pad(mixture[:, 0].float(), (0, -length % self.frame)).reshape(
                n_batch, -1, self.frame
            )
            scale = (frames.square().sum(-1, keepdim=True) + 1e-8).sqrt()
            frames = frames / scale
            weights = torch.relu(self.weight(frames)) * torch.sigmoid(self.gate(frames))  # B N F
        x = self._walk(self.norm(weights))
        masks = self.mask(x).float().reshape(n_batch, weights.shape[1], self.n_src, -1).softmax(2)  # B N S F
        with torch.autocast(mixture.device.type, enabled=False):
            voices = self.basis(masks * weights[:, :, None]) * scale[:, :, None]  # B N S L
        return voices.transpose(1, 2).reshape(n_batch, self.n_src, -1)[..., :length]

    def _walk(self, x: Tensor) -> Tensor:
        """Through the recurrent layers, with a skip around 2 and 3, 4 and 5, …: `(B, N, F)` → `(B, N, D)`."""
        skipped = x
        for number, layer in enumerate(self.recurrent, 1):
            if number % 2 == 0:
                skipped = x
            x, _ = layer(x)
            if number % 2 and number > 1:
                x = x + skipped
        return x
