"""Beamformers that need no training: masks at the first microphone say when and where in frequency a voice is
heard, and several microphones do the rest. NumPy.

Sources, microphones, bins, frames: the letters S, C, F, N.
"""

from collections.abc import Callable

import numpy as np

from unmingle.spectrogram import inverse_stft, stft

# Of the spectrogram [samples]: a window holds most of a room's response. 256 ms is the best of 32, 64, 128
# and 256 for MVDR with two microphones at 16 kHz, on the first ten mixtures of valid-mics.
WINDOW, HOP = 4096, 1024
LOADING = 1e-4  # share of its mean eigenvalue that is added to a covariance, so that it has an inverse
TINY = 1e-12

# Covariances (F, C, C) of a voice and of all else to filters (F, C), whose conjugate is applied.
Filters = Callable[[np.ndarray, np.ndarray], np.ndarray]


def beamform(name: str, mixture: np.ndarray, estimates: np.ndarray, most: float | None = None) -> np.ndarray:
    """Each voice by a beamformer for the whole length.

    The parts of the mixture are the estimates and what they leave of it. A part's mask is its share of the
    energy in the bins in which it is the loudest, and 0 in the others. The bins' covariances, weighted by a
    voice's mask, are the voice's; weighted by the other parts' masks, they are those of all else.

    Args:
        name: a key of `BEAMFORMERS`.
        mixture: `(C, T)`.
        estimates: of the voices at the first microphone `(S, T)`: a separator's, or the references.
        most: no frame becomes louder than so many times the estimate's: a filter knows no pauses, and where
            somebody is silent all the time it lets through what there is.

    Returns:
        The voices as they are at the first microphone `(S, T)`, float32.
    """
    spectra = stft(mixture.astype(np.float64), WINDOW, HOP)
    rest = mixture[0] - estimates.sum(axis=0, dtype=np.float64)
    energies = np.square(np.abs(stft(np.concatenate([estimates, rest[None]]), WINDOW, HOP)))
    masks = np.where(energies == energies.max(axis=0), energies / (energies.sum(axis=0) + TINY), 0)
    spectra = spectra.transpose(1, 0, 2)  # (F, C, N)
    covariances = np.stack([_covariance(spectra, mask) for mask in masks])
    voices = []
    for row in range(len(estimates)):
        others = np.delete(covariances, row, axis=0).sum(axis=0)
        weights = BEAMFORMERS[name](covariances[row], _loaded(others))
        voice = np.einsum("fc,fcn->fn", weights.conj(), spectra)
        if most is not None:
            energy = np.square(np.abs(voice)).sum(axis=0)
            voice *= np.minimum(1, most * np.sqrt(energies[row].sum(axis=0) / (energy + TINY)))
        voices.append(voice)
    return inverse_stft(np.stack(voices), HOP, mixture.shape[1])


def _covariance(spectra: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`(F, C, N)`, `(F, N)` → `(F, C, C)`."""
    return (spectra * mask[:, None]) @ spectra.conj().swapaxes(1, 2) / spectra.shape[-1]


def _loaded(covariance: np.ndarray) -> np.ndarray:
    """The covariance with a little added to its diagonal."""
    n_mics = covariance.shape[-1]
    level = np.trace(covariance, axis1=1, axis2=2).real / n_mics
    return covariance + (LOADING * level + TINY)[:, None, None] * np.eye(n_mics)


def mvdr(voice: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Minimum variance distortionless response: what else is heard is least, and the voice is as at the first
    microphone. `Φₙ⁻¹Φₛu / tr(Φₙ⁻¹Φₛ)`, u being the first unit vector.

    References:
        M. Souden, J. Benesty and S. Affes, "On optimal frequency-domain multichannel linear filtering for
        noise reduction", 2010.
    """
    ratio = np.linalg.solve(others, voice)
    return ratio[:, :, 0] / (np.trace(ratio, axis1=1, axis2=2).real[:, None] + TINY)


def gev(voice: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Generalized eigenvector: the voice is loudest against what else is heard. The gain in each bin is then
    found by blind analytic normalization, `√(wᴴΦₙΦₙw/C) / wᴴΦₙw`, and the phase is that at the first
    microphone.

    References:
        E. Warsitz and R. Haeb-Umbach, "Blind acoustic beamforming based on generalized eigenvalue
        decomposition", 2007.
    """
    # With Φₙ = LLᴴ it is an ordinary eigenvector, of L⁻¹ΦₛL⁻ᴴ.
    inverse = np.linalg.inv(np.linalg.cholesky(others))
    whitened = inverse @ voice @ inverse.conj().swapaxes(1, 2)
    vector = np.linalg.eigh(whitened)[1][:, :, -1:]
    weights = (inverse.conj().swapaxes(1, 2) @ vector)[:, :, 0]
    heard = np.einsum("fcd,fd->fc", others, weights)  # the voice's way to the microphones, but for a factor
    gain = np.sqrt(np.mean(np.square(np.abs(heard)), axis=1))
    gain /= np.einsum("fc,fc->f", weights.conj(), heard).real + TINY
    return weights * (gain * np.exp(-1j * np.angle(heard[:, 0])))[:, None]


#: by the names that `evaluate` takes, which are also those of systems with the default separator's masks
BEAMFORMERS: dict[str, Filters] = {"mvdr": mvdr, "gev": gev}
