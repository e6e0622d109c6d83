"""The affinity loss of deep clustering."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unmingle.data.batch import Batch
from unmingle.heads import HEADS, SILENT_DB
from unmingle.objectives.pit import WaveformPIT, given_order


def affinity_loss(embeddings: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Mean squared difference between the affinities of embeddings, `V Vᵀ`, and of targets, `Y Yᵀ`, over all
    pairs of bins.

    `|VVᵀ − YYᵀ|² = |VᵀV|² − 2|VᵀY|² + |YᵀY|²`, rows weighted by `√w` and the whole divided by `(Σw)²`:
    matrices of bins × bins are never made. Nothing in it depends on the order of the sources. 0 where all
    weights are.

    Args:
        embeddings: `(B, M, E)`, one row of unit length per bin.
        targets: `(B, M, S)`, one-hot: to which source a bin belongs.
        weights: `(B, M)`, 0 for a bin that does not count.

    Returns:
        `(B,)`.

    Two bins with the same embedding that belong to different sources: two of the four affinities are wrong by
    1.

    >>> float(affinity_loss(torch.tensor([[[1.0], [1.0]]]), torch.eye(2)[None], torch.ones(1, 2)))
    0.5

    References:
        J. R. Hershey et al., "Deep clustering: discriminative embeddings for segmentation and separation",
        2016.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        root = weights.float().sqrt()[..., None]
        v, y = root * embeddings.float(), root * targets.float()
        energies = [(a.transpose(1, 2) @ b).square().sum((1, 2)) for a, b in ((v, v), (v, y), (y, y))]
        return (energies[0] - 2 * energies[1] + energies[2]) / weights.float().sum(1).square().clamp(min=1e-8)


class DeepClusteringObjective(nn.Module):
    """Affinity loss against the ideal binary masks; for a network that also gives masks (Chimera), waveform
    loss of its estimates beside it.

    Bins more than 40 dB below the loudest one of the mixture have no weight. In validation the embeddings are
    clustered as they will be when it separates, so that `si_sdri` is what a listener gets.

    Args:
        affinity: weight of the affinity loss, which is between 0 and 1.
        masks: weight of the waveform loss [dB] of the estimates, for a network with masks.
        si_sdr, snr: see `WaveformPIT`.
    """

    def __init__(
        self, *, affinity: float = 1.0, masks: float = 0.0, si_sdr: float = 0.5, snr: float = 0.5
    ) -> None:
        super().__init__()
        self.affinity, self.masks = affinity, masks
        self.waveform = WaveformPIT(si_sdr=si_sdr, snr=snr)

    def forward(self, separator: Any, batch: Batch) -> dict[str, Tensor]:
        """`batch` holds `mixture` `(B, 1, T)` and `sources` `(B, S, T)`."""
        mixture, sources = batch.mixture, batch.sources
        embeddings, estimates = separator.forward_both(mixture, **batch.cues)
        targets, weights = self.targets(separator, mixture, sources)
        affinity = affinity_loss(embeddings.flatten(2).transpose(1, 2), targets, weights).mean()
        if estimates is not None:
            ordered = replace(batch, order=given_order(separator, batch))
            parts = self.waveform(lambda _, **cues: estimates, ordered)
            return {
                "loss": self.affinity * affinity + self.masks * parts["loss"],
                "affinity": affinity,
                "si_sdri": parts["si_sdri"],
            }
        if separator.training:
            return {"loss": self.affinity * affinity}
        head, clustered = HEADS[separator.facts.head], []
        for embedding, samples in zip(
            embeddings.detach().float().cpu().numpy(), mixture.float().cpu().numpy(), strict=True
        ):
            clustered.append(
                head(partial(lambda values, _: values[None], embedding), samples, sources.shape[1])
            )
        found = torch.from_numpy(np.stack(clustered)).to(sources.device)
        return {
            "loss": self.affinity * affinity,
            "si_sdri": self.waveform(lambda _, **cues: found, batch)["si_sdri"],
        }

    def targets(self, separator: Any, mixture: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
        """Ideal binary masks `(B, M, S)` and weights `(B, M)` of the bins, in the separator's own STFT."""
        with torch.no_grad(), torch.autocast(mixture.device.type, enabled=False):
            power = [
                separator.stft(samples.float()).square().sum(1).flatten(1)
                for samples in (mixture[:, 0], sources.flatten(0, 1))
            ]
            owner = power[1].unflatten(0, sources.shape[:2]).argmax(1)
            loud = power[0] > 10 ** (-SILENT_DB / 10) * power[0].amax(1, keepdim=True)
            return nn.functional.one_hot(owner, sources.shape[1]).float(), loud.float()
