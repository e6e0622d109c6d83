"""Conversations: turns, pauses and overlaps of several people, as long as one likes, made of recordings."""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from scipy.signal import oaconvolve

from unmingle.console import track
from unmingle.data.corpora import Corpus
from unmingle.data.mixer import at_level, gain_to_level, room
from unmingle.data.recipe import DataRecipe
from unmingle.errors import InputError
from unmingle.inference.voice_activity import FRAME, PAUSE_S, RATE, runs, speech_in
from unmingle.results.folders import OutputFolder
from unmingle.results.rttm import RTTM, Segment, write_rttm

FRAME_S = 0.02  # of the plan
MOST_AT_ONCE = 3

# Turns are log-normal; gaps between them are normal, mostly of a fifth of a second; overlaps are short ones
# at the ends of turns, a word meanwhile, or two people who both go on.
TURN_S, TURN_SPREAD, TURN_LIMITS_S = 2.8, 0.7, (0.8, 15.0)
GAP_S, GAP_SPREAD_S = 0.25, 0.35
WORD_S = (0.5, 1.3)
FADE_S = 0.01

COLUMNS = {"recording": str, "people": int, "overlap": float, "seconds": float, "seed": int}


@dataclass(frozen=True)
class Plan:
    """A conversation that is to be made: a row of a list such as `benchmarks/conversations.csv`.

    Attributes:
        recording: its name.
        people: how many.
        overlap: share of the speech time in which more than one speaks, 0 to 0.5.
        seconds: length [s].
        seed: it depends on nothing else.
    """

    recording: str
    people: int
    overlap: float
    seconds: float
    seed: int


@dataclass(frozen=True)
class Turn:
    """A piece of a recording at a place in the conversation [samples]."""

    person: int
    file: int
    start: int
    length: int
    at: int


def read_plans(path: Path) -> list[Plan]:
    """The rows of a list of conversations; InputError names what is wrong with it."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                Plan(**{key: kind(row[key]) for key, kind in COLUMNS.items()}) for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        remedy = f"give a CSV with the columns {', '.join(COLUMNS)}"
        raise InputError(f"{path}: not a list of conversations ({error}); {remedy}") from None


def speech_runs(samples: np.ndarray, sample_rate: int) -> list[tuple[int, int]]:
    """Where a clean recording of one person holds speech: begin and end of each stretch [samples]."""
    heard = samples if sample_rate == RATE else soxr.resample(samples, sample_rate, RATE)
    scale = FRAME * sample_rate / RATE
    return [
        (round(start * scale), min(round(end * scale), len(samples))) for start, end in runs(speech_in(heard))
    ]


class ConversationMixer:
    """Makes conversations of the recordings of a corpus.

    The levels, the room and the noise are drawn as `Mixer` draws them, once for the whole conversation; every
    person has a room response of their own.

    Args:
        speech: voices, of at least as many speakers as there are people.
        noise: noises, or None for none.
        data: of a recipe: `level_db`, `difference_db`, `p_room`, `t60_s`, `p_noise`, `snr_db`.

    References:
        T. Stivers et al., "Universals and cultural variation in turn-taking in conversation", 2009 (gaps);
        M. Heldner and J. Edlund, "Pauses, gaps and overlaps in conversations", 2010;
        L. ten Bosch et al., "On temporal aspects of turn taking in conversational dialogues", 2005.
    """

    def __init__(self, speech: Corpus, noise: Corpus | None, data: DataRecipe) -> None:
        self.speech, self.noise, self.data, self.rate = speech, noise, data, speech.sample_rate
        self._files: dict[str, list[int]] = defaultdict(list)
        for index, recording in enumerate(speech.recordings):
            self._files[recording.speaker].append(index)
        self._runs = lru_cache(maxsize=None)(self._find_runs)

    def _find_runs(self, file: int) -> list[tuple[int, int]]:
        return speech_runs(self.speech.read(file), self.rate)

    def people(self, plan: Plan) -> list[str]:
        """Who speaks in it; ValueError if the corpus has not so many speakers."""
        if plan.people > len(self._files):
            raise ValueError(f"{plan.recording}: {plan.people} people; the voices have {len(self._files)}")
        rng = np.random.default_rng([plan.seed, 0])
        return [str(name) for name in rng.choice(sorted(self._files), plan.people, replace=False)]

    def turns(self, plan: Plan) -> list[Turn]:
        """Who says what, when. Overlaps follow as often as the share that was reached lies below the wanted
        one.
        """
        rng, rate = np.random.default_rng([plan.seed, 1]), self.rate
        names = self.people(plan)
        shares = rng.dirichlet(np.full(plan.people, 4.0)) + 0.05
        spoken, free = np.full(plan.people, 0.1), np.zeros(plan.people)  # seconds, and since when [s]
        n = int(plan.seconds / FRAME_S)
        active = np.zeros((plan.people, n + 1), bool)
        turns: list[Turn] = []
        now, last, order = 0.3 + rng.random(), -1, list(rng.permutation(plan.people))
        while now < plan.seconds - 1:
            here = active[:, : int(now / FRAME_S)].sum(axis=0)
            talk = (here > 0).sum()
            overlaps = bool(turns) and (here > 1).sum() < plan.overlap * talk
            wish = shares / spoken * (free <= now - 0.1)
            if last >= 0:
                wish[last] *= 0.15
            if order:
                wish = np.arange(plan.people) == order[0]
            if not wish.any():
                now += 0.3
                continue
            person = int(rng.choice(plan.people, p=wish / wish.sum()))
            if order:
                order.pop(0)
            wanted_s = float(np.clip(rng.lognormal(np.log(TURN_S), TURN_SPREAD), *TURN_LIMITS_S))
            at_s = now
            if overlaps and person != last:
                before_s = now - turns[-1].at / rate
                kind = rng.random()
                if kind < 0.25:
                    wanted_s = rng.uniform(*WORD_S)
                early_s = rng.uniform(0.3, 1.0) if kind < 0.5 else rng.uniform(1.0, 5.0)
                at_s = now - min(early_s, 0.9 * before_s)
            at_s = max(at_s, free[person] + 0.1)
            turn = self._piece(rng, person, names[person], wanted_s, round(at_s * rate))
            first, end = int(at_s / FRAME_S), int((turn.at + turn.length) / rate / FRAME_S) + 1
            if end > n or active[:, first:end].sum(axis=0).max(initial=0) >= MOST_AT_ONCE:
                now += 0.2
                continue
            for start, stop in self._spoken(turn):
                active[person, int(start / rate / FRAME_S) : int(stop / rate / FRAME_S)] = True
            length_s = turn.length / rate
            spoken[person] += length_s
            free[person] = at_s + length_s
            turns.append(turn)
            now = max(now, at_s + length_s) + max(0.05, rng.normal(GAP_S, GAP_SPREAD_S))
            last = person
        return turns

    def _piece(self, rng: np.random.Generator, person: int, name: str, wanted_s: float, at: int) -> Turn:
        """A piece of one of the person's recordings that begins with speech and ends in a pause, if there is
        one near.
        """
        file = int(rng.choice(self._files[name]))
        runs = self._runs(file) or [(0, self.speech.length(file))]
        start = runs[int(rng.integers(len(runs)))][0]
        wanted = start + round(wanted_s * self.rate)
        ends = [end for begin, end in runs if begin >= start or end > start]
        near = min(ends, key=lambda end: abs(end - wanted))
        end = near if abs(near - wanted) < 0.5 * (wanted - start) else min(wanted, ends[-1])
        return Turn(person, file, start, end - start, at)

    def _spoken(self, turn: Turn) -> list[tuple[int, int]]:
        """Where speech is in a turn, in the conversation [samples]."""
        cut = [
            (max(start, turn.start), min(end, turn.start + turn.length))
            for start, end in self._runs(turn.file)
        ]
        return [(a - turn.start + turn.at, b - turn.start + turn.at) for a, b in cut if b > a]

    def segments(self, plan: Plan, turns: list[Turn]) -> list[Segment]:
        """Who speaks when, as the detector hears it on the clean recordings; pauses of up to `PAUSE_S` are
        bridged."""
        names, found = self.people(plan), []
        for person, name in enumerate(names):
            stretches: list[list[float]] = []
            for start, end in sorted(
                run for turn in turns if turn.person == person for run in self._spoken(turn)
            ):
                if stretches and start / self.rate - stretches[-1][1] <= PAUSE_S:
                    stretches[-1][1] = max(stretches[-1][1], end / self.rate)
                else:
                    stretches.append([start / self.rate, end / self.rate])
            found += [Segment(name, start_s, end_s) for start_s, end_s in stretches]
        return sorted(found, key=lambda segment: (segment.start_s, segment.speaker))

    def write(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Write `mixture.wav`, `NAME.wav` per person, `noise.wav` and `speakers.rttm`; return what is in it.

        One person at a time is in memory.
        """
        data, rate, length = self.data, self.rate, round(plan.seconds * self.rate)
        rng = np.random.default_rng([plan.seed, 2])
        turns, names = self.turns(plan), self.people(plan)
        (low, high), (shortest, longest) = data.level_db, data.t60_s
        loudest_db, t60_s = float(rng.uniform(low, high)), float(rng.uniform(shortest, longest))
        in_room, noisy = rng.random() < data.p_room, rng.random() < data.p_noise
        snr_db = float(rng.uniform(data.snr_db[0], data.snr_db[1]))
        mixture = np.zeros(length, np.float32)
        for person, name in enumerate(names):
            own = np.zeros(length, np.float32)
            for turn in turns:
                if turn.person == person:
                    own[turn.at : turn.at + turn.length] += self._read(turn)[: length - turn.at]
            response = room(rng, rate, t60_s)
            if in_room:
                own = oaconvolve(own, response)[:length]
            own = own * gain_to_level(own, loudest_db - (rng.uniform(0, data.difference_db) if person else 0))
            soundfile.write(folder / f"{name}.wav", own, rate, "FLOAT")
            mixture += own
        noise = np.zeros(length, np.float32)
        if noisy and self.noise is not None:
            noise = at_level(self._background(rng, length), loudest_db - snr_db)
        soundfile.write(folder / "noise.wav", noise, rate, "FLOAT")
        soundfile.write(folder / "mixture.wav", mixture + noise, rate, "FLOAT")
        segments = self.segments(plan, turns)
        write_rttm(folder / RTTM, segments, plan.recording)
        return {
            "recording": plan.recording,
            "people": plan.people,
            "overlap": plan.overlap,
            "overlap_reached": round(overlap_share(segments, plan.seconds), 4),
            "seconds": plan.seconds,
            "t60_s": round(t60_s, 3) if in_room else "",
            "snr_db": round(snr_db, 1) if noisy and self.noise is not None else "",
            "speakers": " ".join(names),
        }

    def _read(self, turn: Turn) -> np.ndarray:
        piece = self.speech.read(turn.file, turn.start, turn.start + turn.length).astype(np.float32)
        # Recordings of one person differ in level; so they do less.
        piece = piece * gain_to_level(piece, -25.0)
        fade = min(round(FADE_S * self.rate), len(piece) // 2)
        if fade:
            ramp = np.linspace(0, 1, fade, dtype=np.float32)
            piece[:fade] *= ramp
            piece[-fade:] *= ramp[::-1]
        return piece

    def _background(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """Recordings of one kind of noise, cross-faded into each other."""
        assert self.noise is not None
        kinds = sorted({recording.speaker for recording in self.noise.recordings})
        kind = kinds[int(rng.integers(len(kinds)))]
        files = [k for k, recording in enumerate(self.noise.recordings) if recording.speaker == kind]
        fade, out, filled = round(0.5 * self.rate), np.zeros(length, np.float32), 0
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        while filled < length:
            piece = at_level(self.noise.read(int(rng.choice(files))).astype(np.float32), -25.0)
            if len(piece) <= 2 * fade:
                piece = np.resize(piece, 3 * fade)
            piece[:fade] *= ramp
            piece[-fade:] *= ramp[::-1]
            start = max(0, filled - fade)
            n = min(len(piece), length - start)
            out[start : start + n] += piece[:n]
            filled = start + n
        return out


def overlap_share(segments: list[Segment], seconds: float) -> float:
    """Share of the speech time in which more than one speaks."""
    counts = np.zeros(int(seconds / FRAME_S) + 2)
    for segment in segments:
        counts[round(segment.start_s / FRAME_S)] += 1
        counts[round(segment.end_s / FRAME_S)] -= 1
    at_once = counts.cumsum()
    return float((at_once > 1).sum() / max(1, (at_once > 0).sum()))


def write_conversations(data: DataRecipe, plans: list[Plan], out: Path, *, overwrite: bool = False) -> None:
    """Make the conversations of a list, of the voices and noises of a recipe; `out` appears whole or not at
    all: a folder per recording, see `ConversationMixer.write`, and `conversations.csv` with a row per
    recording.

    Raises:
        InputError: `out` exists and `overwrite` is not set, or there are not enough voices.
    """
    try:
        speech, noise = data.decode(data.voices(data.split), "voices"), data.noises(data.split)
        mixer = ConversationMixer(speech, noise, data)
        for plan in plans:
            mixer.people(plan)
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from None
    with OutputFolder(out, overwrite) as staged:
        rows = []
        for plan in track(plans, "mixing", len(plans)):
            folder = staged / plan.recording
            folder.mkdir()
            rows.append(mixer.write(plan, folder))
        with (staged / "conversations.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        (staged / "set.json").write_text(json.dumps({"voices": data.speech, "split": data.split}))
