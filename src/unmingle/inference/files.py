"""separate_file() and enhance_file(): from disk to disk, block by block."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unmingle.errors import UsageError
from unmingle.facts import MOST_MICS, Speakers
from unmingle.inference.choosing import Model, as_enhancer, as_lip_reader, as_separator, name_of
from unmingle.inference.conversation import PeopleTracks, listen, voice_in
from unmingle.inference.diarization import Voice
from unmingle.inference.face_files import Wanted, choose_faces
from unmingle.inference.faces import only_faces
from unmingle.inference.options import FileOptions, read_options
from unmingle.inference.outputs import Choice, Outputs, output_stems
from unmingle.inference.pipeline import BLOCK_S, Enhancement, Progress, Separation, report
from unmingle.inference.purpose import for_recognition
from unmingle.media.microphones import Channels, Microphones, find_mics
from unmingle.media.recording import StereoCall, at_microphones, pick_channel
from unmingle.results.folders import OutputFolder
from unmingle.results.rttm import Segment

RESERVED = {"rest", "mixture"}  # names of files beside the tracks
SHORT_S = 5.0  # a sample of a voice that is shorter is mentioned
FIRST_PASS = 0.9  # share of the time that it takes where there are two
STEREO_CALL = (
    "each channel seems to hold a voice of its own, as in a stereo call: the channels themselves are the "
    "better separation"
)
SAME_VOICES = (
    "channels hold the same voices: with --mics all they are microphones, which are separated together"
)


@dataclass(frozen=True)
class FileResult:
    """What became of one input.

    Attributes:
        input: its name.
        outputs: one file per voice, or that of the one voice that was enhanced.
        speakers: how many voices were heard; of targets, how many were found.
        silent: the outputs in which none was.
        segments: who spoke when, in order; None where people were not told apart by their voices.
        seconds: how long each output's person spoke [s], by name; None likewise.
        duration_s: of the passage separated, to the millisecond [s].
        sample_rate: of the outputs [Hz].
        model: name of the weights.
        real_time_factor: processing time over duration.
        rest: what no output has, if asked for.
        plot: picture of the spectrograms, if asked for.
        timeline: picture of who speaks when, if pictures were asked for and it is known.
        embeddings: picture of the embeddings, if asked for and the model clusters them.
        faces: says when and where each face is seen (JSON), if people were told apart by sight.
        thumbnails: pictures of all faces that were found, likewise.
        videos: copies of the video, one per output, if asked for.
        notes: one sentence each: what was downmixed, scaled, resampled or doubtful.
    """

    input: str
    outputs: list[Path]
    speakers: int
    silent: list[Path]
    segments: list[Segment] | None
    seconds: dict[str, float] | None
    duration_s: float
    sample_rate: int
    model: str
    real_time_factor: float
    rest: Path | None
    plot: Path | None
    timeline: Path | None
    embeddings: Path | None
    faces: Path | None
    thumbnails: list[Path] | None
    videos: list[Path] | None
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: paths as text, `rest` and the pictures only if they were asked for."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: plain(value) for key, value in values.items()}


def plain(value: Any) -> Any:
    """Paths as text, also those in a list."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def separate_file(
    source: str | Path | BinaryIO,
    out: str | Path = "separated",
    *,
    speakers: Speakers | None = None,
    model: Model = None,
    cues: Mapping[str, Any] | None = None,
    targets: Mapping[str, str | Path] | None = None,
    leakage: float = 0.0,
    faces: Wanted = False,
    video: bool = False,
    progress: Progress | None = None,
    stem: str | None = None,
    **options: Any,
) -> FileResult:
    """Separate a file into `out/<stem>/speaker-1.wav`, `speaker-2.wav`, …, one per person: read, separated
    and written block by block. `speakers.rttm` and `labels.txt` say who spoke when.

    Args:
        source: path, or binary file object.
        out: folder for the outputs; all of them appear, or none.
        speakers, model, cues, progress: as for `separate`. To find people, the file is read twice.
        targets: files with samples of the voices of the people who are wanted, 5 to 30 s each, by the names
            of their tracks; of all people unless given.
        leakage: as for `separate`.
        faces: tell people apart by sight: True writes `face-1.wav`, … for everybody who is seen; numbers of
            faces, or (x, y, second) of points in them, the voice of that face, or of several together; what
            `unmingle.video.find_faces` has found, each of these, without another search. Of each face there
            is a thumbnail, and `faces.json` says when and where it is seen. `model` is then one whose cue is
            lips.
        video: also write a copy of the video for each output, with only that sound; for `faces`.
        stem: name of the folder; the input's own unless given.
        options: those of `unmingle.inference.options.FileOptions`, such as `format="flac"`, `rest=True`.

    Raises:
        InputError: the input cannot be read, or the outputs cannot be written; with `faces`, also if it is no
            video or nobody is seen.
        UsageError: no such option, model, format, channel, microphone, track, number of speakers, passage or
            face.
        Cancelled: by `progress`; nothing is left behind.
    """
    chosen = read_options(options, separate_file)
    recognition = for_recognition(chosen.purpose, faces, cues)
    if faces is not False:
        only_faces({"speakers": speakers, "cues": cues, "targets": targets, "mics": chosen.mics})
        by_sight = as_lip_reader(model)

        def see(_: Any, reader: Any) -> Choice:
            return choose_faces(by_sight, faces, reader, chosen, video, progress)

        return _process(source, Path(out), see, by_sight.facts.n_mics, chosen, progress, stem)
    if video:
        raise UsageError("a video for each output is made of faces; ask for them, or leave the video out")
    separator, as_it_is = as_separator(model, speakers, cues, several_mics=chosen.mics is not None)
    if taken := RESERVED & set(targets or ()):
        raise UsageError(
            f"a target is called {taken.pop()}, as another file of the results; rename its sample"
        )
    heard = {name: read_voice(path) for name, path in (targets or {}).items()}
    wanted = None if targets is None else {name: voice for name, (voice, _) in heard.items()}
    short = [
        f"the sample of {name} is {length_s:.1f} s long; {SHORT_S:g} s or more tell people apart better"
        for name, (_, length_s) in heard.items()
        if length_s < SHORT_S
    ]

    def choose(blocks: Iterator[np.ndarray], reader: Any) -> Choice:
        process: Separation | PeopleTracks
        sample_rate = reader.sample_rate
        if as_it_is and wanted is None and not recognition:
            process = Separation(separator, sample_rate, cues)
        else:
            above = folder_above(Path(out))
            process = listen(
                separator, blocks, sample_rate, speakers or "auto", wanted, above, leakage, chosen.purpose
            )
        names = list(wanted) if wanted is not None else [f"speaker-{k + 1}" for k in range(process.n_src)]
        return Choice(process, separator, names, wanted is not None, notes=short)

    return _process(source, Path(out), choose, separator.facts.n_mics, chosen, progress, stem)


def read_voice(path: str | Path) -> tuple[Voice, float]:
    """How the person sounds who speaks in a file, and its length [s]; InputError if it cannot be read or
    nobody speaks.
    """
    with _open(path, FileOptions()) as reader:
        samples = np.concatenate(list(reader.blocks(BLOCK_S * reader.sample_rate)), axis=1)
        return voice_in(samples, reader.sample_rate, str(path)), samples.shape[1] / reader.sample_rate


def folder_above(path: Path) -> Path:
    """The innermost folder on the way to `path` that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def enhance_file(
    source: str | Path | BinaryIO,
    out: str | Path = "enhanced",
    *,
    model: Model = None,
    keep: float = 0.0,
    cues: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    stem: str | None = None,
    **options: Any,
) -> FileResult:
    """Take the voice of a file out of its noise, into `out/<stem>/voice.wav`, block by block.

    Args:
        source, cues, progress, stem, options: as for `separate_file`; the rest is what was removed.
        out: folder for the outputs; all of them appear, or none.
        model, keep: as for `enhance`.

    Raises:
        InputError: the input cannot be read, or the outputs cannot be written.
        UsageError: no such option, model, format, channel, track or passage, or `keep` is out of range.
        Cancelled: by `progress`; nothing is left behind.
    """
    chosen = read_options(options, enhance_file)
    enhancer = as_enhancer(model, several_mics=chosen.mics is not None)

    def choose(_: Any, reader: Any) -> Choice:
        process = Enhancement(enhancer, reader.sample_rate, keep, cues, chosen.purpose)
        return Choice(process, enhancer, ["voice"])

    return _process(source, Path(out), choose, enhancer.facts.n_mics, chosen, progress, stem)


def _process(
    source: str | Path | BinaryIO,
    out: Path,
    choose: Callable[[Iterator[np.ndarray], Any], Choice],
    n_mics: int | None,
    options: FileOptions,
    progress: Progress | None,
    stem: str | None,
) -> FileResult:
    """Open, choose, process, write, describe; `choose` may go through the recording's blocks, or its file,
    before it is processed. `n_mics`: see `Facts`.
    """
    began = time.perf_counter()
    with ExitStack() as stack:
        reader = stack.enter_context(_open(source, options))
        rate, name = reader.sample_rate, reader.name
        folder = out / (stem or output_stems([name])[0])
        OutputFolder(folder, options.overwrite).check()  # what would be refused is refused before the work
        pick, microphones = pick_channel(options.channel, reader.n_channels, name), None
        if options.mics is not None:
            microphones = _microphones(reader, options, progress)
            pick = microphones.order
            reader = stack.enter_context(_open(reader.file, options))
        n_read = 0

        def first_pass() -> Iterator[np.ndarray]:
            nonlocal n_read
            for block in reader.blocks(BLOCK_S * rate):
                total = None if reader.n_samples is None else max(reader.n_samples, n_read) / rate
                report(progress, FIRST_PASS * n_read / rate, total)
                yield at_microphones(block, n_mics, pick, name)
                n_read += block.shape[1]

        choice = choose(first_pass(), reader)
        if share := FIRST_PASS if n_read else choice.spent:  # it has gone through the recording
            n_read = 0
            reader = stack.enter_context(_open(reader.file, options))
        outputs = stack.enter_context(Outputs(folder, choice, rate, options))
        stereo, like = StereoCall(rate), Channels(reader.n_channels, rate)
        mixed = pick is None and reader.n_channels > 1 and n_mics == 1
        for block in reader.blocks(BLOCK_S * rate):
            total = None if reader.n_samples is None else max(reader.n_samples, n_read) / rate
            done_s = n_read / rate
            report(progress, done_s if total is None else share * total + (1 - share) * done_s, total)
            if options.channel == "mix" and reader.n_channels == 2:
                stereo.feed(block)
            if mixed and reader.n_channels <= MOST_MICS:
                like.feed(block)
            mixture = at_microphones(block, n_mics, pick, name)
            outputs.write(mixture, choice.process.feed(mixture))
            n_read += block.shape[1]
        outputs.write(np.zeros((1, 0), np.float32), choice.process.flush())
        outputs.finish()
        report(progress, n_read / rate, n_read / rate)
    doubts = []
    if (choice.process.n_src > 1 or microphones) and stereo.recognised():
        doubts.append(STEREO_CALL)
    elif choice.process.n_src > 1 and choice.faces is None and like.same_voices():
        doubts.append(f"{reader.n_channels} {SAME_VOICES}")
    notes = [
        *reader.warnings,
        *(microphones.notes if microphones else ()),
        *choice.notes,
        *outputs.found(),
        *([f"{reader.n_channels} channels were mixed to mono"] if mixed else ()),
        *doubts,
        *outputs.notes(),
    ]
    return FileResult(
        input=name,
        outputs=outputs.files,
        speakers=outputs.n_voiced,
        silent=[outputs.files[index] for index in outputs.silent],
        segments=outputs.segments,
        seconds=outputs.seconds,
        duration_s=round(n_read / rate, 3),
        sample_rate=outputs.tracks.sample_rate,
        model=name_of(choice.separator),
        real_time_factor=round((time.perf_counter() - began) * rate / n_read, 4),
        rest=outputs.rest,
        plot=outputs.plot,
        timeline=outputs.timeline,
        embeddings=outputs.embeddings,
        faces=outputs.faces,
        thumbnails=outputs.thumbnails or None,
        videos=outputs.videos or None,
        notes=notes,
    )


def _microphones(reader: Any, options: FileOptions, progress: Progress | None) -> Microphones:
    """Go through a recording once for which of its channels are used, and which of them comes first."""
    n_channels, rate = reader.n_channels, reader.sample_rate
    wanted = find_mics(options.mics or "all", options.reference_mic, n_channels, reader.name)
    like = Channels(n_channels, rate)
    for block in reader.blocks(BLOCK_S * rate):
        report(progress, 0.0, None if reader.n_samples is None else reader.n_samples / rate)
        like.feed(block)
    return like.choose(*wanted, reader.name)


def _open(source: str | Path | BinaryIO, options: FileOptions) -> Any:
    from unmingle.media.audio import open_audio

    passage = {"start_s": options.start_s, "end_s": options.end_s}
    return open_audio(source, **passage, track=options.track, strict=options.strict)
