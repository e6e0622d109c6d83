"""The data part of a recipe: where voices and noise come from, and how mixtures are drawn from them."""

from dataclasses import dataclass, field
from typing import Any

from unmingle.data.corpora import Corpus, Recording, check_splits, read_recordings


@dataclass
class DataRecipe:
    """Where voices and noise come from, and how `Mixer` draws mixtures from them (its arguments, same names).

    Attributes:
        speech: CSV file or folder of voices; `speech_root` is where its paths start from, its own folder unless given.
        noise: CSV file or folder of noises, or none.
        corpora: only these, all if empty.
        cache: folder for decoded samples.
        split: which part of the corpora `unmingle mix` draws from; training always draws from "train".
        held_out: number of training speakers per corpus kept out of training, on whom the best checkpoint is chosen.
        n_valid: mixtures drawn from them.
        curriculum: pairs of a share of the budget and a length [s]: from that share on, every training mixture is cut into segments of that
            length, each of them an item. No pairs, no cutting.
    """

    speech: str = ""
    speech_root: str | None = None
    noise: str | None = None
    noise_root: str | None = None
    corpora: list[str] = field(default_factory=list)
    cache: str = ".cache"
    sample_rate: int = 16_000
    split: str = "train"
    seed: int = 1
    held_out: int = 6
    n_valid: int = 64
    valid_length_s: float = 4.0
    length_s: float = 2.0
    curriculum: list[list[float]] = field(default_factory=list)
    n_src: int = 2
    p_fewer: float = 0.0
    p_partial: float = 0.0
    level_db: list[float] = field(default_factory=lambda: [-30.0, -20.0])
    difference_db: float = 5.0
    speed: list[float] = field(default_factory=lambda: [1.0, 1.0])
    tilt_db: float = 0.0
    p_noise: float = 0.0
    snr_db: list[float] = field(default_factory=lambda: [5.0, 25.0])
    p_room: float = 0.0
    t60_s: list[float] = field(default_factory=lambda: [0.1, 0.5])
    weights: dict[str, float] = field(default_factory=dict)

    def voices(self, split: str) -> list[Recording]:
        """The voices of one split, of the corpora asked for.

        Raises:
            FileNotFoundError, ValueError: as `read_recordings`; also where a speaker is in two splits.
        """
        recordings = read_recordings(self.speech, self.speech_root)
        check_splits(recordings)
        return [r for r in recordings if r.split == split and (not self.corpora or r.corpus in self.corpora)]

    def noises(self, split: str) -> Corpus | None:
        """The decoded noises of one split; None if the recipe has none. Raises as `read_recordings` and `Corpus`."""
        if not self.noise:
            return None
        recordings = [r for r in read_recordings(self.noise, self.noise_root) if r.split == split]
        return self.decode(recordings, "noise")

    def decode(self, recordings: list[Recording], name: str) -> Corpus:
        """The samples of some recordings, at the recipe's rate and from its cache."""
        return Corpus(recordings, sample_rate=self.sample_rate, cache=self.cache, name=name)

    def drawing(self) -> dict[str, Any]:
        """The arguments of `Mixer` that stand here under the same names."""
        keys = ["n_src", "p_fewer", "p_partial", "level_db", "difference_db", "speed", "tilt_db", "p_noise", "snr_db", "p_room", "t60_s", "weights"]
        return {key: getattr(self, key) for key in keys}
