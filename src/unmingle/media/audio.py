"""Files to samples: whatever FFmpeg's libraries read, a block at a time.

Encoder delay and padding are left out, so sample 0 is sample 0 of the recording.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

import av
import numpy as np
from av.stream import Disposition

from unmingle.errors import InputError, UsageError
from unmingle.facts import SAMPLE_RATES
from unmingle.media.containers import (
    count_mp3_frames,
    is_cut_short,
    lacks_last_page,
    mp3_frame_size,
    reason_of,
    without_tag,
)
from unmingle.media.frames import to_float
from unmingle.media.recording import LOUDEST
from unmingle.media.sources import open_container, open_source

MIN_GAP_S, MAX_GAP_S = 0.01, 86_400.0  # between timestamps: less is their rounding, more is an error
# Containers whose timestamps are stored, not counted.
TIMED = {"matroska", "webm", "mov", "mp4", "mpegts", "mpeg", "flv", "asf", "avi", "nut"}
PLAYS = "check that it plays, or convert it to WAV"


def open_audio(
    source: str | Path | BinaryIO,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    track: int | None = None,
    strict: bool = False,
) -> "AudioReader":
    """Open an audio track of a file, or of a binary file object, which may be a pipe; see `AudioReader`."""
    return AudioReader(source, start_s=start_s, end_s=end_s, track=track, strict=strict)


class AudioReader:
    """Samples of one audio track, block by block in constant memory; a context manager.

    They keep the recording's timeline: where sound begins later than the picture, or timestamps leave a gap,
    silence stands in its place. Where the track changes its sample rate or channels, what follows is
    converted to the first ones. Both are noted in `warnings`.

    Attributes:
        name: what messages call it.
        sample_rate: [Hz].
        n_channels: as stored; nothing is downmixed here.
        n_samples: estimate of how many samples per channel will be read; None = unknown.
        warnings: what is doubtful about the file; complete once all blocks are read.
        file: what is read, or the copy of what cannot seek; can be opened again while this is open.

    Args:
        source: path, or binary file object, read from its beginning; one that cannot seek is first copied to
            a temporary file.
        start_s: where the passage begins, to the sample [s].
        end_s: where it ends [s]; the file's end if that is earlier.
        track: number of the audio track, from 1; the first unless given.
        strict: damage in the middle is an error, instead of silence in the place of what is damaged.

    Raises:
        InputError: not a file whose audio can be decoded, no samples, none after `start_s`, sample rate out
            of range, cut short. While reading: damaged (if `strict`), cut short, samples that are none.
        UsageError: `start_s` negative, `end_s` not after it, or no such track.
    """

    def __init__(
        self,
        source: str | Path | BinaryIO,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
        track: int | None = None,
        strict: bool = False,
    ) -> None:
        self._start_s, self._end_s = start_s or 0.0, float("inf") if end_s is None else end_s
        if not 0 <= self._start_s < float("inf"):
            raise UsageError(f"the passage starts at {start_s} s; choose a start of 0 s or later")
        if not self._end_s > self._start_s:
            raise UsageError(
                f"the passage ends at {end_s} s, not after its start at {self._start_s} s; choose a later end"
            )
        self.sample_rate = self.n_channels = self._n_decoded = self._n_restored = 0
        self._strict, self._layout, self._damaged, self._ends_s = strict, "", "", 0.0
        self.warnings: list[str] = []
        with ExitStack() as stack:
            file, self.name = open_source(source, stack)
            file = without_tag(file)
            self._cut = is_cut_short(file)
            if self._cut and end_s is None:
                raise self._cut_short_error()
            if lacks_last_page(file):
                self.warnings.append(
                    "the file stops in mid-stream and was probably cut short; what is there is read"
                )
            self._mp3_frames = count_mp3_frames(file)
            file.seek(0)
            self.file = file
            self._container = self._open_container(file, stack)
            self._stream = self._choose_track(track)
            self._blocks = self._cut_passage(self._drop_padding(self._decode()))
            first = next(self._blocks, None)
            if first is None and self._n_decoded:
                end = f"ends at {self._seconds():.2f} s, before the passage begins"
                raise InputError(f"{self.name}: {end}; choose an earlier start")
            if first is None:
                raise InputError(f"{self.name}: holds no audio samples; record or export it again")
            self._held = [first]
            self._close = stack.pop_all().close
        whole_s = self._declared_s() or (self._container.duration or 0) / av.time_base
        wanted_s = min(whole_s or float("inf"), self._end_s) - self._start_s
        self.n_samples = max(0, round(wanted_s * self.sample_rate)) if wanted_s < float("inf") else None

    def blocks(self, n: int) -> Iterator[np.ndarray]:
        """Blocks of `n` samples, float32 `(channels, n)`, the last one shorter; to be gone through once."""
        n_held = sum(block.shape[1] for block in self._held)
        while True:
            if n_held < n and (block := next(self._blocks, None)) is not None:
                self._held.append(block)
                n_held += block.shape[1]
            elif n_held:
                joined = np.concatenate(self._held, axis=1)
                self._held, n_held = [joined[:, n:]], max(0, n_held - n)
                yield joined[:, :n]
            else:
                return

    def close(self) -> None:
        """Close the file, unless the caller opened it."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _seconds(self) -> float:
        """How far it is on the recording's timeline [s]."""
        return (self._n_decoded + self._n_restored) / (self.sample_rate or 1)

    def _choose_track(self, track: int | None) -> Any:
        tracks = self._container.streams.audio
        there = f"{len(tracks)} audio track{'' if len(tracks) == 1 else 's'}"
        if track is not None and not 1 <= track <= len(tracks):
            raise UsageError(f"{self.name}: no audio track {track}; it has {there}")
        chosen = tracks[(track or 1) - 1]
        if chosen.codec_context is None:
            raise InputError(f"{self.name}: its audio codec is unknown; convert it to WAV")
        if len(tracks) > 1 and track is None:
            language = f" ({chosen.language})" if chosen.language else ""
            self.warnings.append(f"audio track 1 of {len(tracks)}{language} is taken; --track takes another")
        return chosen

    def _picture_starts_s(self) -> float | None:
        """When the moving picture begins, by its timestamps [s]; None if there is none."""
        starts = [
            float(stream.start_time * stream.time_base)
            for stream in self._container.streams.video
            if stream.start_time is not None and not stream.disposition & Disposition.attached_pic
        ]
        return min(starts, default=None)

    def _declared_s(self) -> float:
        """The track's duration by its header, or FFmpeg's guess [s]; 0 = unknown."""
        return float((self._stream.duration or 0) * (self._stream.time_base or 0))

    def _cut_short_error(self) -> InputError:
        held = f" ({self._seconds():.2f} s)" if self._n_decoded else ""
        remedy = "get the whole file, or choose an end before the cut"
        return InputError(
            f"{self.name}: cut short or damaged, it declares more than there is{held}; {remedy}"
        )

    def _open_container(self, file: BinaryIO, stack: ExitStack) -> Any:
        try:
            container = stack.enter_context(open_container(file))
        except (av.FFmpegError, OSError, ValueError) as error:
            if self._cut:
                raise self._cut_short_error() from None
            raise InputError(
                f"{self.name}: not a readable audio or video file ({reason_of(error)}); {PLAYS}"
            ) from None
        if not container.streams.audio:
            raise InputError(f"{self.name}: has no audio track; choose a file with sound")
        return container

    def _frames(self) -> Iterator[Any]:
        """Decoded frames in order, without what is damaged, which is noted or, if `strict`, an error."""
        damage = ""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                frames = packet.decode() if packet is not None else None
            except (av.FFmpegError, OSError, ValueError) as error:
                damage = reason_of(error)
                continue
            if frames is None:
                break
            if frames and damage and self._n_decoded:
                self._note_damage(damage)
                damage = ""
            yield from frames
        if damage and not self._n_decoded:
            raise InputError(f"{self.name}: its audio cannot be decoded ({damage}); {PLAYS}")
        if damage:
            self.warnings.append(
                f"damaged after {self._seconds():.2f} s ({damage}); what comes before is read"
            )

    def _note_damage(self, damage: str) -> None:
        where = f"damaged at {self._seconds():.2f} s ({damage})"
        if self._strict:
            raise InputError(f"{self.name}: {where}; get it again, or choose an end before that")
        if not self._damaged:
            self._damaged = f"{where}: only what is damaged is missing"
            self.warnings.append(self._damaged)
        elif (first := self._damaged) in self.warnings:
            self._damaged = first.removesuffix(" and further on") + " and further on"
            self.warnings[self.warnings.index(first)] = self._damaged

    def _decode(self) -> Iterator[np.ndarray]:
        """Frames as float32 `(channels, n)` on the recording's timeline; at the end also whether all that the
        container declares was there.
        """
        timed = bool(TIMED & set(self._container.format.name.split(",")))
        resampler: Any = None  # of the part that is converted now
        converted = expected_s = None  # its own rate and layout; when the next frame begins by timestamps
        for frame in self._frames():
            facts = frame.sample_rate, frame.layout.name
            if not self._n_decoded:
                # The first frame decides: the headers of some codecs tell half the sample rate.
                self._begin(frame)
                expected_s = self._picture_starts_s()
            if facts != converted:
                if resampler is not None:
                    yield from self._counted(self._converted(resampler, None))
                resampler = None
                converted = facts
                if facts != (self.sample_rate, self._layout):
                    self._note_change()
                    resampler = self._resampler()
                    expected_s = None  # timestamps that count samples do so at the first rate
            if timed and frame.time is not None and expected_s is not None:
                yield from self._silence(frame.time - expected_s)
            begins_s = frame.time
            if begins_s is not None and resampler is None:
                expected_s = begins_s + frame.samples / frame.sample_rate
            self._ends_s = (begins_s or 0.0) + frame.samples / frame.sample_rate
            yield from self._counted([frame] if resampler is None else self._converted(resampler, frame))
        if resampler is not None:
            yield from self._counted(self._converted(resampler, None))
        self._check_complete()

    def _begin(self, frame: Any) -> None:
        self.sample_rate, self.n_channels = frame.sample_rate, frame.layout.nb_channels
        self._layout = frame.layout.name
        lowest, highest = SAMPLE_RATES
        if not lowest <= self.sample_rate <= highest:
            remedy = f"resample it to {lowest / 1000:g} to {highest / 1000:g} kHz"
            raise InputError(f"{self.name}: its sample rate is {self.sample_rate} Hz; {remedy}")

    def _counted(self, frames: list[Any]) -> Iterator[np.ndarray]:
        for frame in frames:
            block = to_float(frame)
            self._n_decoded += block.shape[1]
            yield block

    def _resampler(self) -> Any:
        return av.AudioResampler("flt", self._layout, self.sample_rate)

    def _converted(self, resampler: Any, frame: Any) -> list[Any]:
        try:
            return resampler.resample(frame)
        except (av.FFmpegError, ValueError) as error:
            what = f"changes its format at {self._seconds():.2f} s to one that cannot be converted"
            raise InputError(f"{self.name}: {what} ({reason_of(error)}); choose an end before that") from None

    def _note_change(self) -> None:
        channels = f"{self.n_channels} channel{'' if self.n_channels == 1 else 's'}"
        kept = f"converted to {self.sample_rate} Hz and {channels}, as at the beginning"
        note = f"changes its sample rate or channels at {self._seconds():.2f} s: {kept}"
        if not any(kept in warning for warning in self.warnings):
            self.warnings.append(note)

    def _silence(self, gap_s: float) -> Iterator[np.ndarray]:
        """Silence for a gap between timestamps, if it is one and not their rounding."""
        if not MIN_GAP_S <= gap_s <= MAX_GAP_S:
            return
        what = "a gap" if self._n_decoded else "sound begins later than the picture"
        at = f" at {self._seconds():.2f} s" if self._n_decoded else ""
        note = f"{what}{at}: {gap_s:.3f} s of silence put in its place"
        gaps = [warning for warning in self.warnings if warning.startswith("a gap")]
        if self._n_decoded and gaps:
            self.warnings[self.warnings.index(gaps[0])] = (
                gaps[0].removesuffix(" and further on") + " and further on"
            )
        else:
            self.warnings.append(note)
        left = round(gap_s * self.sample_rate)
        while left:
            n = min(left, self.sample_rate)
            self._n_restored += n
            left -= n
            yield np.zeros((self.n_channels, n), np.float32)

    def _check_complete(self) -> None:
        """InputError if the container declares more than there was."""
        kind, declared = self._container.format.name, 0
        if kind == "mp3":
            # The encoder's delay and padding are counted but not decoded.
            declared = (self._mp3_frames - 4) * mp3_frame_size(self.sample_rate)
        elif kind in ("flac", "aiff"):
            declared = round(self._declared_s() * self.sample_rate)
        if self._cut:
            raise self._cut_short_error()
        missing_s = (declared - self._n_decoded - self._n_restored) / (self.sample_rate or 1)
        if missing_s > 0 and not self._damaged:
            if self._strict or self._ends_s < self._declared_s() - missing_s / 2:
                raise self._cut_short_error()
            # The last frames lie where they should: what is missing was lost before them.
            self.warnings.append(f"damaged: {missing_s:.2f} s in the middle are missing")

    def _drop_padding(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Drop what an MP4's last frame has beyond the track's declared length; in other containers FFmpeg
        itself does so.
        """
        is_mp4, position, padding = "mp4" in self._container.format.name.split(","), 0, None
        for block in blocks:
            if padding is not None:  # it was not the last frame, so the declared length is wrong
                yield padding
            declared = round(self._declared_s() * self.sample_rate) + self._n_restored
            n_wanted = declared - position if is_mp4 else 0
            position += block.shape[1]
            block, padding = (
                (block[:, :n_wanted], block[:, n_wanted:]) if 0 < n_wanted < block.shape[1] else (block, None)
            )
            yield block

    def _cut_passage(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """What lies between `start_s` and `end_s`, to the sample, checked to be finite."""
        position = 0
        for block in blocks:
            start, stop = (
                round(min(second, 1e9) * self.sample_rate) for second in (self._start_s, self._end_s)
            )
            wanted = block[:, max(0, start - position) : max(0, max(stop, start + 1) - position)]
            plausible = (np.abs(wanted) <= LOUDEST).all(axis=0)
            if not plausible.all():
                n = int(np.argmin(plausible))
                at_s = (max(start, position) + n) / self.sample_rate
                much = f"samples beyond {LOUDEST:g} times full scale"
                what = much if np.isfinite(wanted[:, n]).all() else "NaN or infinite samples"
                raise InputError(
                    f"{self.name}: holds {what} at {at_s:.3f} s; export it again from its source"
                )
            position += block.shape[1]
            if wanted.shape[1]:
                yield wanted
            if position >= stop:
                return
        if self._end_s < float("inf") and position:
            self.warnings.append(
                f"the file ends at {position / self.sample_rate:.2f} s, before the end of the passage"
            )
