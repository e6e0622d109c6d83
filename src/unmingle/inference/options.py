"""What one is free to choose about a file that is separated or enhanced, whatever the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib.util import find_spec
from inspect import Parameter, signature
from typing import Any

from unmingle.errors import UsageError
from unmingle.inference.purpose import Purpose, for_recognition
from unmingle.media.microphones import Mics, check_mics


@dataclass(frozen=True)
class FileOptions:
    """Options of `separate_file`, `enhance_file`, `unmingle.batch` and the command line. Plain values: they
    can be pickled.

    Attributes:
        format: of the outputs: "wav" (32-bit float), "flac", "mp3", "m4a" or "opus".
        channel: "mix" for all channels, or the number of the one channel to take, from 1.
        mics: use the channels as microphones of one scene: "all", or the numbers of two or more, from 1, as
            [1, 3] or "1,3".
        reference_mic: number of the microphone at which the voices are estimated; unless given, that of the
            best signal: whose loud frames lie farthest above its quiet ones, and which is not clipped.
        start_s, end_s: passage [s].
        rest: also write `rest.wav`: the mixture minus all outputs.
        plot: also draw `spectrogram.png`, `timeline.png` where people are told apart, and
            `embeddings.png` of the first chunk where embeddings are
            clustered; needs matplotlib.
        overwrite: replace outputs of an earlier run.
        track: number of the audio track, from 1; the first unless given.
        strict: damage in the middle of the file is an error.
        purpose: "listening" or "recognition", as for `unmingle.separate` and `unmingle.enhance`.

    Raises:
        UsageError: no such format, channel, microphones, passage or purpose, or matplotlib is not installed.
    """

    format: str = "wav"
    channel: str | int = "mix"
    mics: Mics | None = None
    reference_mic: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    rest: bool = False
    plot: bool = False
    overwrite: bool = False
    track: int | None = None
    strict: bool = False
    purpose: Purpose = "listening"

    def __post_init__(self) -> None:
        from unmingle.media.writer import FORMATS  # codecs take long to import

        if self.format not in FORMATS:
            raise UsageError(f"no format {self.format!r}; choose from {', '.join(FORMATS)}")
        if self.channel != "mix" and not (str(self.channel).isdecimal() and int(self.channel) > 0):
            raise UsageError(f"no channel {self.channel!r}; choose mix, or a number from 1")
        for_recognition(self.purpose)
        check_mics(self.mics, self.reference_mic)
        if self.mics is not None and self.channel != "mix":
            raise UsageError("one channel and several microphones exclude one another; give either")
        if self.plot and not find_spec("matplotlib"):
            raise UsageError("a picture needs matplotlib: pip install 'unmingle[plot]'")


def read_options(given: Mapping[str, Any], run: Callable[..., Any]) -> FileOptions:
    """The options among the keywords of `separate_file` or `enhance_file`; UsageError lists what there is if
    one is none, or is wrong.
    """
    known = [field.name for field in fields(FileOptions)]
    for name in given:
        if name not in known:
            own = signature(run).parameters.values()
            every = [*(each.name for each in own if each.kind is Parameter.KEYWORD_ONLY), *known]
            similar = "".join(f"did you mean {like}? " for like in get_close_matches(name, every, 1, 0.7))
            raise UsageError(f"no option {name!r:.80}; {similar}there are: {', '.join(every)}")
    return FileOptions(**given)
