"""Distance of magnitudes, and of phases where there is magnitude."""

from torch import Tensor, nn

from unmingle.layers.stft import STFT
from unmingle.objectives.loss_inputs import LossInputs, power, spectra

EPS = 1e-8  # added to squared magnitudes, so that silence has a phase and a gradient


def magnitude_and_phase(estimate: Tensor, reference: Tensor, phase: float = 1.0) -> Tensor:
    """`mean(||Ŝ| − |S|| + λ |S| (1 − cos ∠(Ŝ, S)))` over bins: `(…, 2, F, N)` → `(…)`; λ is `phase`.

    Without `λ mean|S|`, which does not depend on the estimate and makes 0 perfect, it is the paper's `‖M̂ −
    M‖₁ − λ Σ M ⟨Φ̂, Φ⟩`, both as means.

    Magnitude 3 instead of 4, a quarter turn off:

    >>> estimate, source = torch.tensor([[3.0], [0.0]])[..., None], torch.tensor([[0.0], [4.0]])[..., None]
    >>> round(float(magnitude_and_phase(estimate, source, 0.5)), 3)
    3.0

    References:
        T. Afouras, J. S. Chung and A. Zisserman, "The Conversation: deep audio-visual speech enhancement",
        2018.
    """
    found, wanted = ((power(spectrum) + EPS).sqrt() for spectrum in (estimate, reference))
    # |S| times the cosine: what of S lies in the direction of Ŝ.
    along = (estimate * reference).sum(-3) / found
    return ((found - wanted).abs() + phase * (wanted - along)).mean((-2, -1))


class MagnitudeAndPhase(nn.Module):
    """`magnitude_and_phase` of every estimate and every source.

    Args:
        phase: weight of the phase, the paper's λ.
        n_fft, hop: of the STFT [samples]; 40 and 10 ms at 16 kHz.
    """

    def __init__(self, *, phase: float = 1.0, n_fft: int = 640, hop: int = 160) -> None:
        super().__init__()
        if phase < 0:
            raise ValueError(f"phase is {phase}; it must be 0 or more")
        self.weight_of_phase, self.stft = phase, STFT(n_fft=n_fft, hop=hop)

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        return magnitude_and_phase(
            spectra(self.stft, inputs.estimates)[:, :, None],
            spectra(self.stft, inputs.sources)[:, None],
            self.weight_of_phase,
        )
