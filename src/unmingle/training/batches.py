"""What is trained on: mixtures drawn from voices or read from disk, as tensors, in an order that a resumed
run goes on with.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

from unmingle.data.entries import CUES
from unmingle.data.mixer import Mixer
from unmingle.data.mixture import Mixture
from unmingle.data.recipe import DataRecipe
from unmingle.data.segments import SegmentDataset
from unmingle.data.sets import read_set
from unmingle.data.utterance import Utterance
from unmingle.errors import InputError, UsageError
from unmingle.facts import Facts

ENDLESS = 10**9


class MixtureDataset(Dataset):
    """The mixtures of a Mixer, or segments of a set, each with its place in it; `collate` makes batches."""

    def __init__(self, mixer: Mixer | SegmentDataset) -> None:
        self.mixer = mixer

    def __len__(self) -> int:
        return len(self.mixer)

    def __getitem__(self, index: int) -> tuple[int, Mixture]:
        return index, self.mixer[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[int, Mixture]]:
        """The items of a batch, for which PyTorch's loader asks at once."""
        return list(zip(indices, self.mixer.batch(indices), strict=True))


class ResumableSampler(Sampler[int]):
    """Counts up from `start`, so that a resumed run goes on with the item after the last one seen."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))

    def __len__(self) -> int:
        return self.stop - self.start


class EpochBatchSampler(Sampler[list[int]]):
    """Batches of a fixed set, epoch after epoch without end, in an order that depends on `(seed, epoch)`
    alone; no batch reaches into the next epoch.

    `start` items were seen before.
    """

    def __init__(self, start: int, n_items: int, batch_size: int, seed: int) -> None:
        self.start, self.n_items, self.batch_size, self.seed = start, n_items, batch_size, seed

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = divmod(self.start, self.n_items)
        while True:
            shuffled = np.random.default_rng([self.seed, epoch]).permutation(self.n_items).tolist()
            yield from (
                shuffled[place : place + self.batch_size]
                for place in range(first, self.n_items, self.batch_size)
            )
            epoch, first = epoch + 1, 0


def hold_out(recordings: list[Utterance], n_speakers: int) -> tuple[list[Utterance], list[Utterance]]:
    """Split training recordings by speaker: all but, and only, `n_speakers` of every corpus.

    They depend on the speakers' names alone, so that a training that goes on with another recipe holds out
    the same.
    """
    held: set[str] = set()
    for corpus in sorted({recording.corpus for recording in recordings}):
        speakers = sorted({recording.speaker for recording in recordings if recording.corpus == corpus})
        if len(speakers) < n_speakers + 2:
            found = (
                f"corpus {corpus or '(unnamed)'} has only {len(speakers)} speakers "
                f"({', '.join(speakers[:6])})"
            )
            raise UsageError(f"data.held_out={n_speakers}: {found}; hold out fewer or add voices")
        held.update(sorted(speakers, key=lambda name: hashlib.sha256(name.encode()).digest())[:n_speakers])
    return [r for r in recordings if r.speaker not in held], [r for r in recordings if r.speaker in held]


def build_segments(data: DataRecipe, facts: Facts | None = None) -> tuple[SegmentDataset, SegmentDataset]:
    """What `build_mixers` returns where mixtures lie on disk: endless passages of `data.set`, and `n_valid`
    of `data.valid_set`.

    Raises:
        UsageError: no `data.valid_set`, a set of another sample rate or number of voices than the recipe's,
            or of another number of microphones than the separator's.
        InputError: as `read_set`, or a mixture lacks a cue that the separator declares.
    """
    if not data.valid_set:
        raise UsageError(
            "data.set is given without data.valid_set; name the mixtures on which the best checkpoint is "
            "chosen (cv, dev)"
        )
    for_training, for_choosing = (
        read_set(path, data.speech_root, data.task) for path in (data.set, data.valid_set)
    )
    for path, entries in ((data.set, for_training), (data.valid_set, for_choosing)):
        first = entries[0].read()
        found = {"sample_rate": first.sample_rate, "n_src": len(first.sources)}
        for key, value in found.items():
            if value != getattr(data, key):
                raise UsageError(
                    f"data.{key} is {getattr(data, key)}, but {value} in {path}; make them equal, or choose "
                    "another set"
                )
        if facts is not None:
            n_mics = len(first.mixture)
            if facts.n_mics not in (None, n_mics):
                raise UsageError(
                    f"the model takes {facts.n_mics} microphones, but {n_mics} in {path}; choose another set"
                )
            for entry in entries:
                if lacking := [cue.name for cue in facts.cues if cue.name not in entry.cues]:
                    expected = f"{path}/{CUES}/{lacking[0]}/{entry.id}.npy"
                    raise InputError(f"{expected}: not there, though the model needs this cue; add it")
    return (
        SegmentDataset(
            for_training,
            seed=data.seed,
            n_items=data.n_items or ENDLESS,
            length=round(data.length_s * data.sample_rate),
            facts=facts,
        ),
        SegmentDataset(
            for_choosing,
            seed=data.seed,
            n_items=data.n_valid,
            length=round(data.valid_length_s * data.sample_rate),
            facts=facts,
        ),
    )


def build_mixers(data: DataRecipe) -> tuple[Mixer, Mixer]:
    """The training Mixer, endless unless `data.n_items` says otherwise, and the fixed one of held-out
    training speakers.

    Raises:
        InputError: a corpus that is missing, empty or undecodable, or a speaker in two splits.
    """
    try:
        voices = data.voices("train")
        # Before they are decoded, which takes its time.
        for_training, for_choosing = hold_out(voices, data.held_out)
        training = data.mixer(
            "train", for_training, n_items=data.n_items or ENDLESS, **{"augment": True} if data.faces else {}
        )
        plain: dict[str, Any] = {"p_fewer": 0.0, "p_partial": 0.0, "speed": (1.0, 1.0), "tilt_db": 0.0}
        # Of a voice alone nothing is gained, whatever is done to it.
        two: dict[str, Any] = {"p_still": 0.0, "p_others": (0.0, 1.0) if data.n_src == 1 else (1.0,)}
        choosing = data.mixer(
            "train",
            for_choosing,
            seed=data.seed + 1,
            n_items=data.n_valid,
            length_s=data.valid_length_s,
            n_rooms=min(data.rooms, data.n_valid),
            n_mics=data.n_mics and data.n_mics[1:] * 2,
            **plain | (two if data.faces else {}),
        )
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from None
    return training, choosing
