"""The data part of a recipe: where voices and noise come from, and how mixtures are drawn from them."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from unmingle.data.array_mixer import ArrayMixer
from unmingle.data.corpora import Corpus, check_splits, read_recordings
from unmingle.data.face_mixer import FaceMixer
from unmingle.data.mixer import Mixer
from unmingle.data.mouths import Mouths
from unmingle.data.rooms import Rooms
from unmingle.data.utterance import Utterance
from unmingle.facts import SAMPLE_RATES

STRICT = ConfigDict(extra="forbid", strict=True)  # of every part of a recipe


def ascending(values: list[float]) -> list[float]:
    """The values as they are; ValueError unless none is below the one before it."""
    if values != sorted(values):
        raise ValueError("expected the lower number first")
    return values


Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
TWO, RISING = Field(min_length=2, max_length=2), AfterValidator(ascending)
Pair = Annotated[list[Annotated[float, Field(ge=-200, le=200)]], TWO, RISING]  # lowest and highest [dB]
Speeds = Annotated[list[Annotated[float, Field(ge=0.1, le=10)]], TWO, RISING]
Tones = Annotated[list[Annotated[float, Field(ge=1, le=96_000)]], TWO, RISING]  # [Hz]
Seconds = Annotated[list[Annotated[float, Field(ge=1e-3, le=100)]], TWO, RISING]  # [s]
Microphones = Annotated[list[Annotated[int, Field(ge=1, le=16)]], TWO, RISING]
Stage = Annotated[list[Annotated[float, Field(ge=0, le=100)]], TWO]  # share of the budget, length [s]


@dataclass
class DataRecipe:
    """Where voices and noise come from, and how `Mixer` draws mixtures from them (its arguments, same names).

    Attributes:
        speech: CSV file or folder of voices; `speech_root` is where its paths start from, its own folder
            unless given.
        noise: CSV file or folder of noises, or none.
        faces: CSV file or folder of videos, of one person each, for a model that takes the cue "lips": they
            are the voices then, and those of `speech`, if it is given, are never seen (see `FaceMixer`).
        n_mics: fewest and most microphones, for mixtures in simulated rooms (see `ArrayMixer`): a batch has a
            number between them, all else the most. One microphone unless given.
        rooms: so many are simulated, once, with reverberation times of `t60_s`. `dry` then makes the direct
            path of a voice its reference.
        corpora: only these, all if empty.
        cache: folder for decoded samples and simulated rooms.
        set: mixtures on disk to train on, as `read_set` takes them, instead of drawing them from voices;
            `valid_set` holds those on which the best checkpoint is chosen, `task` says which mixtures of the
            two, `speech_root` where the paths of a CSV start from.
        split: which part of the corpora `unmingle mix` draws from; training always draws from "train".
        held_out: number of training speakers per corpus kept out of training, on whom the best checkpoint is
            chosen.
        n_valid: mixtures drawn from them.
        curriculum: pairs of a share of the budget and a length [s]: from that share on, every training
            mixture is cut into segments of that length, each of them an item. No pairs, no cutting.
        n_items: train on this many mixtures, all of them in every epoch, instead of always new ones.
    """

    __pydantic_config__ = STRICT

    speech: str = ""
    speech_root: str | None = None
    noise: str | None = None
    noise_root: str | None = None
    faces: str = ""
    faces_root: str | None = None
    n_mics: Microphones | None = None
    rooms: Count = 2000
    corpora: list[str] = field(default_factory=list)
    cache: str = ".cache"
    set: str = ""
    valid_set: str = ""
    task: str | None = None
    sample_rate: Annotated[int, Field(ge=SAMPLE_RATES[0], le=SAMPLE_RATES[1])] = 16_000
    split: str = "train"
    seed: Whole = 1
    held_out: Count = 6
    n_valid: Count = 64
    n_items: Count | None = None
    valid_length_s: Positive = 4.0
    length_s: Positive = 2.0
    curriculum: list[Stage] = field(default_factory=list)
    n_src: Count = 2
    p_fewer: Share | list[Share] = 0.0
    p_partial: Share = 0.0
    level_db: Pair = field(default_factory=lambda: [-30.0, -20.0])
    difference_db: NotNegative = 5.0
    speed: Speeds = field(default_factory=lambda: [1.0, 1.0])
    tilt_db: NotNegative = 0.0
    p_noise: Share = 0.0
    snr_db: Pair = field(default_factory=lambda: [5.0, 25.0])
    kinds: list[str] = field(default_factory=list)
    tone_hz: Tones = field(default_factory=lambda: [750.0, 3000.0])
    p_altered: Share = 0.0
    p_room: Share = 0.0
    t60_s: Seconds = field(default_factory=lambda: [0.1, 0.5])
    dry: bool = False
    p_others: list[Share] = field(default_factory=lambda: [0.0, 1.0])
    p_unseen: Share = 0.0
    p_still: Share = 0.0
    p_hidden: Share = 0.0
    weights: dict[str, float] = field(default_factory=dict)

    def voices(self, split: str) -> list[Utterance]:
        """The voices of one split, of the corpora asked for; those of people who are seen, if `faces` is set.

        Raises:
            FileNotFoundError, ValueError: as `read_recordings`; also where a speaker is in two splits, or no
                voice is left.
        """
        if self.faces:
            return self._of(self.faces, self.faces_root, split, [], picture=True)
        return self._of(self.speech, self.speech_root, split, self.corpora)

    @staticmethod
    def _of(
        source: str, root: str | None, split: str, corpora: list[str], picture: bool = False
    ) -> list[Utterance]:
        recordings = read_recordings(source, root, picture=picture)
        check_splits(recordings)
        found = [r for r in recordings if r.split == split and (not corpora or r.corpus in corpora)]
        if not found:
            there = ", ".join(sorted({r.corpus for r in recordings if r.split == split})[:8])
            remedy = f"choose data.corpora from [{there}], or data.corpora=[] for all"
            raise ValueError(f"{source}: no voice of {', '.join(corpora)}; {remedy}")
        return found

    def noises(self, split: str) -> Corpus | None:
        """The decoded noises of one split; None if the recipe has none. Raises as `read_recordings` and
        `Corpus`.
        """
        if not self.noise:
            return None
        recordings = [r for r in read_recordings(self.noise, self.noise_root) if r.split == split]
        return self.decode(recordings, "noise")

    def decode(self, recordings: list[Utterance], name: str) -> Corpus:
        """The samples of some recordings, at the recipe's rate and from its cache."""
        return Corpus(recordings, sample_rate=self.sample_rate, cache=self.cache, name=name)

    def mixer(self, split: str, only: list[Utterance] | None = None, **changed: Any) -> Mixer:
        """What draws the mixtures: of the voices of a split, or only of some of them.

        Args:
            split: of voices and noises.
            only: these of `voices(split)`.
            changed: arguments of `Mixer` that do not stand here (`n_items`), or others than those here.

        Raises:
            FileNotFoundError, ValueError: as `voices`, `Corpus` and `Mixer`; both faces and several
                microphones are asked for.
            UsageError: as `Rooms`.
        """
        if self.faces and self.n_mics:
            raise ValueError(
                "data.faces and data.n_mics: who is seen is heard at one microphone; leave one out"
            )
        voices = self.voices(split)
        only = voices if only is None else only
        n_rooms, n_mics = changed.pop("n_rooms", self.rooms), changed.pop("n_mics", self.n_mics)
        arguments = {"seed": self.seed, "length_s": self.length_s, **self.drawing(), **changed}
        speech, noise = self.decode(voices, "voices").only(only), self.noises(split)
        if n_mics:
            rooms = Rooms(
                n_rooms,
                seed=arguments["seed"],
                n_src=self.n_src + 1,
                n_mics=n_mics[1],
                t60_s=arguments["t60_s"],
                sample_rate=self.sample_rate,
                cache=self.cache,
            )
            return ArrayMixer(speech, noise, rooms=rooms, n_mics=n_mics, **arguments)
        if not self.faces:
            return Mixer(speech, noise, **arguments)
        mouths = Mouths(voices, cache=self.cache).only(only)
        unseen = None
        if self.speech:
            others = self._of(self.speech, self.speech_root, split, self.corpora)
            unseen = self.decode(others, "voices of people who are not seen")
        seen = {key: getattr(self, key) for key in ("p_others", "p_unseen", "p_still", "p_hidden")}
        return FaceMixer(speech, noise, mouths=mouths, unseen=unseen, **seen | arguments)

    def drawing(self) -> dict[str, Any]:
        """The arguments of `Mixer` that stand here under the same names."""
        keys = ["n_src", "p_fewer", "p_partial", "level_db", "difference_db", "speed", "tilt_db"]
        keys += ["p_noise", "snr_db", "kinds", "tone_hz", "p_altered", "p_room", "t60_s", "dry", "weights"]
        return {key: getattr(self, key) for key in keys}
