"""Measures of conversations: who spoke when, and one track per person."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from unmingle.errors import Undefined
from unmingle.metrics.ratios import HIGHEST_DB, si_sdr
from unmingle.results.rttm import Segment

FRAME_S = 0.01  # of the masks of regions
WINDOW_S = 1.0  # in which it is asked on which track a person is
LEAST_S = 1.0  # of a region that is measured


def diarization_error(
    reference: list[Segment], hypothesis: list[Segment], seconds: float, collar_s: float = 0.0
) -> dict[str, float]:
    """Diarisation error rate and its parts, as shares of the reference's speech: "der", "missed",
    "false_alarm", "confusion".

    Overlapped speech counts for everybody who speaks. `collar_s` is left out on either side of every edge of
    the reference [s].
    """
    from pyannote.core import Annotation, Timeline
    from pyannote.core import Segment as Stretch
    from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(segments: list[Segment]) -> Any:
        found = Annotation()
        for index, segment in enumerate(segments):
            found[Stretch(segment.start_s, segment.end_s), index] = segment.speaker
        return found

    metric = DiarizationErrorRate(collar=2 * collar_s, skip_overlap=False)
    parts = metric(
        annotation(reference), annotation(hypothesis), uem=Timeline([Stretch(0, seconds)]), detailed=True
    )
    total = max(parts["total"], 1e-9)
    names = {"missed": "missed detection", "false_alarm": "false alarm", "confusion": "confusion"}
    shares = {name: float(parts[theirs] / total) for name, theirs in names.items()}
    return {"der": sum(shares.values()), **shares}


def speaking(segments: list[Segment], speaker: str, seconds: float) -> np.ndarray:
    """Where somebody speaks, bool `(N,)`, in frames of `FRAME_S`."""
    mask = np.zeros(int(np.ceil(seconds / FRAME_S)), bool)
    for segment in segments:
        if segment.speaker == speaker:
            mask[round(segment.start_s / FRAME_S) : round(segment.end_s / FRAME_S)] = True
    return mask


def assign_tracks(
    reference: list[Segment], hypothesis: list[Segment], seconds: float
) -> dict[str, str | None]:
    """Whose track is which: to each person of the reference at most one name of the hypothesis, so that they
    speak together as long as possible.
    """
    people = sorted({segment.speaker for segment in reference})
    names = sorted({segment.speaker for segment in hypothesis})
    theirs = [speaking(hypothesis, name, seconds) for name in names]
    shared = np.array([[(speaking(reference, p, seconds) & own).sum() for own in theirs] for p in people])
    shared = shared.reshape(len(people), len(names))
    rows, columns = linear_sum_assignment(shared, maximize=True)
    found: dict[str, str | None] = dict.fromkeys(people)
    found.update({people[r]: names[c] for r, c in zip(rows, columns, strict=True) if shared[r, c]})
    return found


@dataclass(frozen=True)
class Conversation:
    """A recording whose voices are known.

    Attributes:
        mixture: `(T,)`.
        voices: what every person adds to it `(T,)`, by name.
        segments: who speaks when.
        sample_rate: [Hz].
    """

    mixture: np.ndarray
    voices: dict[str, np.ndarray]
    segments: list[Segment]
    sample_rate: int

    @classmethod
    def read(cls, folder: Path) -> "Conversation":
        """From a folder that `unmingle mix conversations` wrote."""
        import soundfile

        from unmingle.results.rttm import RTTM, read_rttm

        segments = read_rttm(folder / RTTM)
        names = sorted({segment.speaker for segment in segments})
        voices = {name: soundfile.read(folder / f"{name}.wav", dtype="float32")[0] for name in names}
        mixture, rate = soundfile.read(folder / "mixture.wav", dtype="float32")
        return cls(mixture, voices, segments, rate)

    @property
    def seconds(self) -> float:
        """Length [s]."""
        return len(self.mixture) / self.sample_rate

    def regions(self, person: str) -> dict[str, np.ndarray]:
        """Samples, bool `(T,)`, in which the person speaks alone ("single"), with others ("overlapped"), or
        is silent while others speak ("others").
        """
        own = speaking(self.segments, person, self.seconds)
        others = np.zeros(len(own), bool)
        for name in self.voices:
            if name != person:
                others |= speaking(self.segments, name, self.seconds)
        frame = round(FRAME_S * self.sample_rate)

        def samples(mask: np.ndarray) -> np.ndarray:
            return np.pad(np.repeat(mask, frame), (0, frame))[: len(self.mixture)]

        return {
            "single": samples(own & ~others),
            "overlapped": samples(own & others),
            "others": samples(others & ~own),
        }

    def measure(self, hypothesis: list[Segment], tracks: dict[str, np.ndarray]) -> dict[str, Any]:
        """All measures of a separation into `tracks` `(T,)`, by name, that says who spoke when.

        Returns:
            "people", "found"; "der", "missed", "false_alarm", "confusion", "der_collar" (0.25 s around edges
                left out); "tracked": share of the people's speech time, in windows of a second, in which
                nobody's track has more of the person than their own; "overlapped_si_sdri_db" and
                "single_si_sdri_db": gain of SI-SDR over the mixture in regions, mean over people (a person
                without a track counts as silence, 0 dB gain); "leakage_db": level of a track in its person's
                silence while others speak, relative to the mixture there.
        """
        seconds = self.seconds
        row: dict[str, Any] = {
            "people": len(self.voices),
            "found": len({segment.speaker for segment in hypothesis}),
            **diarization_error(self.segments, hypothesis, seconds),
            "der_collar": diarization_error(self.segments, hypothesis, seconds, 0.25)["der"],
        }
        mine = assign_tracks(self.segments, hypothesis, seconds)
        row["tracked"] = self._tracked(mine, tracks)
        gains: dict[str, list[float]] = {"single": [], "overlapped": []}
        leaks = []
        for person, voice in self.voices.items():
            name = mine[person]
            track = tracks[name] if name is not None else None
            regions = self.regions(person)
            for region, found in gains.items():
                at = regions[region]
                if at.sum() >= LEAST_S * self.sample_rate:
                    found.append(si_sdr_gain(track, voice, self.mixture, at))
            at = regions["others"]
            if track is not None and at.any():
                leaks.append(power_ratio_db(track[at], self.mixture[at]))
        for region, found in gains.items():
            row[f"{region}_si_sdri_db"] = float(np.mean(found)) if found else None
        row["leakage_db"] = float(np.mean(leaks)) if leaks else None
        return row

    def _tracked(self, mine: dict[str, str | None], tracks: dict[str, np.ndarray]) -> float:
        window = round(WINDOW_S * self.sample_rate)
        right = whole = 0.0
        per_window = round(WINDOW_S / FRAME_S)
        for person, voice in self.voices.items():
            speaks = speaking(self.segments, person, self.seconds)
            for k in range(len(voice) // window):
                spoken = speaks[k * per_window : (k + 1) * per_window].mean()
                if not spoken:
                    continue
                piece = voice[k * window : (k + 1) * window]
                like = {
                    name: abs(np.vdot(track[k * window :][:window], piece)) for name, track in tracks.items()
                }
                whole += spoken
                best = max(like, key=like.__getitem__, default=None)
                right += spoken if best is not None and best == mine[person] and like[best] > 0 else 0.0
        return right / max(whole, 1e-9)


def si_sdr_gain(track: np.ndarray | None, voice: np.ndarray, mixture: np.ndarray, at: np.ndarray) -> float:
    """Gain of SI-SDR over the mixture's at some samples [dB]; 0 where there is no track, or a silent one."""
    if track is None or not track[at].any():
        return 0.0
    return reached(track[at], voice[at]) - reached(mixture[at], voice[at])


def reached(estimate: np.ndarray, reference: np.ndarray) -> float:
    """SI-SDR of a signal that is not silent [dB]; that of a copy is the highest that is told apart."""
    try:
        return si_sdr(estimate, reference)
    except Undefined:
        return HIGHEST_DB


def power_ratio_db(part: np.ndarray, whole: np.ndarray) -> float:
    """Power of one signal over that of another [dB], −80 at least."""
    powers = [np.vdot(x, x).astype(float) for x in (part, whole)]
    return float(10 * np.log10(max(powers[0] / max(powers[1], 1e-20), 1e-8)))
