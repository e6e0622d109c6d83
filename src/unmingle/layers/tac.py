"""Transform, average, concatenate: how microphones in any number and order learn of one another."""

from torch import Tensor, nn

from unmingle.layers.norms import GlobalLayerNorm


class TAC(nn.Module):
    """Every microphone's features meet the mean over all microphones: `(B, C, …, D)` → the same.

    A layer, the same for all, transforms the features of each microphone; another transforms their mean; a
    third makes of both what is added to the microphone's features. A mean knows neither order nor number, so
    one set of weights serves all arrays.

    The third layer's weights are kept in two halves: that of the mean is computed once, not for every
    microphone, which is the same as concatenating.

    Args:
        n_features: D.
        hidden: units of the first two layers.

    References:
        Y. Luo, Z. Chen, N. Mesgarani and T. Yoshioka, "End-to-end microphone permutation and number invariant
        multi-channel speech separation", 2020.
    """

    def __init__(self, n_features: int, hidden: int) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(n_features, hidden), nn.PReLU())
        self.average = nn.Sequential(nn.Linear(hidden, hidden), nn.PReLU())
        self.own = nn.Linear(hidden, n_features)
        self.common = nn.Linear(hidden, n_features, bias=False)
        self.activation = nn.PReLU()
        self.norm = GlobalLayerNorm(n_features, channels_last=True)

    def forward(self, x: Tensor) -> Tensor:
        transformed = self.transform(x)
        common = self.common(self.average(transformed.mean(1, keepdim=True)))
        learned = self.activation(self.own(transformed) + common)
        return x + self.norm(learned.flatten(0, 1)).reshape(x.shape)
