"""Adversarial training: a discriminator learns to tell voices from estimates, and the separator learns to
make estimates that it takes for voices.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.data.batch import Batch
from unmingle.layers.dense_block import DenseBlock
from unmingle.layers.stft import STFT
from unmingle.objectives.compressed import compressed
from unmingle.objectives.loss_inputs import LossInputs, spectra
from unmingle.objectives.weighted_sum import WeightedSum


class Discriminator(nn.Module):
    """Predicts whether samples `(B, T)` are a voice and nothing else: a logit `(B,)`.

    Compressed complex STFT → 1 × 1 convolution → dense blocks, each followed by a 2 × 2 convolution of stride
    2 → mean over frames, so that any length will do → fully connected 100, 10, 10, 1.
    """

    def __init__(self, *, n_fft: int, hop: int, n_features: int, growth: int, n_blocks: int) -> None:
        super().__init__()
        self.stft = STFT(n_fft=n_fft, hop=hop)
        layers: list[nn.Module] = [nn.Conv2d(2, n_features, 1)]
        for _ in range(n_blocks):
            layers += [DenseBlock(n_features, growth), nn.Conv2d(growth, n_features, 2, stride=2)]
        self.blocks = nn.Sequential(*layers)
        widths = [n_features * (self.stft.n_bins >> n_blocks), 100, 10, 10]
        connected = [
            layer for n_in, n_out in pairwise(widths) for layer in (nn.Linear(n_in, n_out), nn.ReLU())
        ]
        self.connected = nn.Sequential(*connected, nn.Linear(widths[-1], 1))
        for layer in self.blocks.modules():
            if isinstance(layer, nn.BatchNorm2d):
                # running statistics must not lag behind the weights, or evaluation differs from training
                layer.momentum = 0.3

    def forward(self, samples: Tensor) -> Tensor:
        with torch.autocast(samples.device.type, enabled=False):
            features = self.blocks(compressed(spectra(self.stft, samples)))
            return self.connected(features.mean(-1).flatten(1))[:, 0]


def cross_entropy(logits: Tensor, voice: bool) -> Tensor:
    """Binary cross-entropy of logits `(M,)` where all are a voice, or none is: a scalar.

    >>> round(float(cross_entropy(torch.zeros(3), True)), 4)
    0.6931
    """
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(voice)))


class AdversarialObjective(nn.Module):
    """A weighted sum of terms, plus the predictions of a discriminator D for the estimates V* and for the
    noise that they leave, M − ΣV*.

    The separator minimises `Σ weight · term + weight · (BCE(D(V*), 1) + BCE(D(M − ΣV*), 0))`, the
    discriminator `BCE(D(V), 1) + (BCE(D(V*), 0) + BCE(D(N), 0)) / 2` with the true voices V and the true
    noise N. First the separator learns without D, then D learns while the separator is frozen, then both do
    in every batch, D first.

    D, its running statistics and the state of its optimizer belong to the objective: they are in checkpoints,
    never in the weights. D uses its running statistics wherever it is not trained.

    Args:
        terms: see `WeightedSum`.
        weight: of the generator's term.
        separator_first, discriminator_first: shares of the budget in which the separator and then the
            discriminator learn alone.
        lr: learning rate of the discriminator (Adam); it is constant.
        n_fft, hop: of the discriminator's STFT [samples].
        n_features: channels between its dense blocks.
        growth: channels that each convolution of a block makes.
        n_blocks: number of them, each halving time and frequency.

    References:
        I. Goodfellow et al., "Generative adversarial nets", 2014.
    """

    def __init__(
        self,
        *,
        terms: list[dict[str, Any]],
        weight: float = 1.0,
        separator_first: float = 0.3,
        discriminator_first: float = 0.1,
        lr: float = 1e-3,
        n_fft: int = 256,
        hop: int = 128,
        n_features: int = 6,
        growth: int = 24,
        n_blocks: int = 3,
    ) -> None:
        super().__init__()
        if weight <= 0 or lr <= 0:
            raise ValueError(f"weight is {weight} and lr is {lr}; both must be above 0")
        if min(separator_first, discriminator_first) < 0 or separator_first + discriminator_first >= 1:
            raise ValueError(
                f"separator_first is {separator_first}, discriminator_first {discriminator_first}: at least "
                "0, and together below 1"
            )
        self.sum, self.weight = WeightedSum(terms=terms), weight
        self.discriminator_from, self.alternate_from = separator_first, separator_first + discriminator_first
        self.discriminator = Discriminator(
            n_fft=n_fft, hop=hop, n_features=n_features, growth=growth, n_blocks=n_blocks
        )
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr)
        self.restored: dict[str, Any] | None = None

    def forward(self, separator: Any, batch: Batch) -> dict[str, Tensor]:
        """`batch` as for `WeightedSum`, and in training `share_done`, the part of the budget that is spent.

        Returns what `WeightedSum` does, and the generator's term `adversarial`, the loss of the
        `discriminator`, and its `accuracy` on voices and estimates, 0.5 being chance; not a number before it
        is trained. While the separator is frozen, the loss has no gradient.
        """
        inputs, done = LossInputs(separator, batch), batch.share_done
        frozen = self.discriminator_from <= done < self.alternate_from
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            parts = self.sum.compare(inputs)
            if self.training and done < self.discriminator_from:
                unknown = parts["loss"].new_tensor(float("nan"))
                return {**parts, "adversarial": unknown, "discriminator": unknown, "accuracy": unknown}
            loss, accuracy = (
                self.update_discriminator(inputs) if self.training else self.discriminator_loss(inputs)
            )
            generator = self.generator_loss(inputs)
            parts["loss"] = parts["loss"] + self.weight * generator
        return {
            **parts,
            "adversarial": generator.detach(),
            "discriminator": loss.detach(),
            "accuracy": accuracy,
        }

    def discriminator_loss(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """Loss and accuracy of the discriminator."""
        groups = [inputs.sources.flatten(0, 1), inputs.estimates.detach().flatten(0, 1), inputs.noise]
        on_voices, on_estimates, on_noise = self.discriminator(torch.cat(groups)).split(
            [len(group) for group in groups]
        )
        on_others = (cross_entropy(on_estimates, False) + cross_entropy(on_noise, False)) / 2
        loss = cross_entropy(on_voices, True) + on_others
        return loss, ((on_voices > 0).float().mean() + (on_estimates <= 0).float().mean()) / 2

    def update_discriminator(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """One step of the discriminator; loss and accuracy before it."""
        if self.restored is not None:
            self.optimizer.load_state_dict(self.restored)
            self.restored = None
        with torch.enable_grad():
            loss, accuracy = self.discriminator_loss(inputs)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss, accuracy

    def generator_loss(self, inputs: LossInputs) -> Tensor:
        """The generator's term; the discriminator does not change."""
        self.discriminator.eval().requires_grad_(False)
        on_estimates = self.discriminator(inputs.estimates.flatten(0, 1))
        on_noise = self.discriminator(inputs.mixture - inputs.estimates.sum(1))
        self.discriminator.train(self.training).requires_grad_(True)
        return cross_entropy(on_estimates, True) + cross_entropy(on_noise, False)

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint holds of the objective besides the discriminator: the state of its optimizer."""
        return self.optimizer.state_dict() if self.restored is None else self.restored

    def set_extra_state(self, state: dict[str, Any]) -> None:
        # Taken over at the next step, when the discriminator is where it is trained: a checkpoint is read
        # before that.
        self.restored = state
