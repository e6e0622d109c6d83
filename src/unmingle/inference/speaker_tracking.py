"""Keeps each speaker on one track, by the overlap of chunks and by how voices sound."""

from itertools import permutations

import numpy as np

from unmingle.inference.frames import TINY, mel_bank


class SpeakerTracker:
    """Remembers how each track sounds, and puts the estimates of the next chunk in the tracks' order.

    Two kinds of evidence are added: correlation with the previous chunk on the overlap, as far as somebody
    speaks there; and the similarity of voices (mean spectrum and pitch), as far as they are known. Numbers
    are log-likelihood ratios, roughly: fitted to same and different speakers of LibriSpeech dev-clean.
    """

    OVERLAP_WEIGHT, DIFFERENT, LIMIT = 10.0, 4.0, 2.0
    # Frames (of 32 ms) after which a voice counts as known, and over which it is averaged.
    ENOUGH, MOST = 50, 1000

    def __init__(self, sample_rate: int, n_src: int) -> None:
        self._sample_rate = sample_rate
        self._profiles: list[tuple[np.ndarray, int] | None] = [None] * n_src

    def order(self, before: np.ndarray | None, estimates: np.ndarray) -> list[int]:
        """Indices that put `estimates` `(S, T)` in order, given the tracks `before` `(S, t)`, which end
        within them.
        """
        features = voice_features(estimates, self._sample_rate)
        score = np.array([[self._alike(profile, voice) for voice in features] for profile in self._profiles])
        if before is not None:
            now = estimates[:, : before.shape[1]]
            energy = (np.vdot(before, before) + np.vdot(now, now)) / 2
            usual = np.vdot(estimates, estimates) / estimates.shape[1] * before.shape[1]
            score += self.OVERLAP_WEIGHT * (before @ now.T) / (energy + 1e-3 * usual + TINY)
        tracks = range(len(estimates))
        best = max(
            permutations(tracks), key=lambda order: sum(score[track, order[track]] for track in tracks)
        )
        for track, index in enumerate(best):
            self._remember(track, features[index])
        return list(best)

    def _alike(self, profile: tuple[np.ndarray, int] | None, voice: tuple[np.ndarray, int] | None) -> float:
        if profile is None or voice is None:
            return 0.0
        sure = min(1.0, profile[1] / self.ENOUGH) * min(1.0, voice[1] / self.ENOUGH)
        return sure * float(
            np.clip((self.DIFFERENT - np.mean((profile[0] - voice[0]) ** 2)) / 2, -self.LIMIT, self.LIMIT)
        )

    def _remember(self, track: int, voice: tuple[np.ndarray, int] | None) -> None:
        profile = self._profiles[track]
        if voice is None or profile is None:
            self._profiles[track] = voice or profile
        else:
            share = voice[1] / (voice[1] + profile[1])
            self._profiles[track] = (
                (1 - share) * profile[0] + share * voice[0],
                min(voice[1] + profile[1], self.MOST),
            )


def voice_features(estimates: np.ndarray, sample_rate: int) -> list[tuple[np.ndarray, int] | None]:
    """How each estimate sounds: `(25,)` log-mel bands and pitch, in units of their spread within a speaker,
    and the number of frames it is based on: those in which it is active and the loudest. None where there are
    hardly any.
    """
    n = int(0.064 * sample_rate)
    if estimates.shape[1] < n:
        return [None] * len(estimates)
    frames = np.lib.stride_tricks.sliding_window_view(estimates, n, axis=1)[:, :: n // 2]  # (S, N, n)
    energy = np.einsum("snt,snt->sn", frames, frames)
    active = (energy > 10**-2.5 * energy.max()) & (energy > 0.5 * energy.sum(axis=0))
    window, bank = np.hanning(n).astype(np.float32), mel_bank(sample_rate, 2 * n)
    found: list[tuple[np.ndarray, int] | None] = []
    for track, chosen in zip(frames, active, strict=True):
        if chosen.sum() < 10:
            found.append(None)
            continue
        power = np.abs(np.fft.rfft(track[chosen] * window, 2 * n)) ** 2
        bands = 10 * np.log10(power @ bank.T + 1e-9 * power.max())
        # Pitch: the lag at which the spectrum's square root, compressed against formants, repeats; the more
        # periodic half of the frames counts.
        shortest, longest = sample_rate // 400, sample_rate // 65
        correlation = np.fft.irfft(np.sqrt(power))[:, : longest + 1]
        periodic = correlation[:, shortest:] / correlation[:, :1]
        lag = shortest + periodic.argmax(axis=1)
        voiced = periodic.max(axis=1) >= np.median(periodic.max(axis=1))
        pitch = np.log2(sample_rate / lag[voiced]).mean()
        means = (bands - bands.mean(axis=1, keepdims=True)).mean(axis=0)
        found.append((np.append(means / 2.2, pitch / 0.06), int(chosen.sum())))
    return found
