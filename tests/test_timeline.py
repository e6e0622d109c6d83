"""Reading keeps the recording's timeline, its first format, and the track that was asked for."""

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from conftest import encode, sweep

from unmingle import enhance, separate_file
from unmingle.errors import InputError, UsageError
from unmingle.facts import Facts
from unmingle.media.audio import open_audio

RATE = 48_000


def read(path: Path, **options: Any) -> tuple[np.ndarray, list[str]]:
    with open_audio(path, **options) as reader:
        samples = np.concatenate(list(reader.blocks(RATE)), axis=1)
        return samples, reader.warnings


def lag(late: np.ndarray, early: np.ndarray) -> int:
    """How many samples `late` `(T,)` lies behind `early`."""
    n = len(late) + len(early)
    correlation = np.fft.irfft(np.fft.rfft(late, n) * np.conj(np.fft.rfft(early, n)), n)
    return int((correlation.argmax() + n // 2) % n - n // 2)


LATE = [("mp4", "aac"), ("mov", "aac"), ("mkv", "flac"), ("mkv", "libopus"), ("ts", "aac")]


@pytest.mark.parametrize(("suffix", "codec"), LATE)
def test_sound_that_begins_later_than_the_picture_keeps_its_place(
    suffix: str, codec: str, tmp_path: Path
) -> None:
    samples = sweep(2.0, RATE)
    path = encode(tmp_path / f"late.{suffix}", samples, RATE, codec, video=True, late_s=0.5)
    found, warnings = read(path)
    assert abs(lag(found[0], samples[0]) - RATE // 2) <= RATE // 500  # what timestamps of 1 ms can tell
    assert not found[0, : RATE // 2 - RATE // 40].any()
    assert any(re.match(r"sound begins later than the picture: 0\.(4[789]|50)", text) for text in warnings)


@pytest.mark.parametrize(("suffix", "codec"), LATE)
def test_sound_that_begins_with_the_picture_stays_as_it_is(suffix: str, codec: str, tmp_path: Path) -> None:
    samples = sweep(2.0, RATE)
    found, warnings = read(encode(tmp_path / f"with.{suffix}", samples, RATE, codec, video=True))
    assert lag(found[0], samples[0]) == pytest.approx(0, abs=RATE // 40)
    assert warnings == []


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mkv", "flac"), ("mkv", "aac"), ("mp4", "aac"), ("ts", "aac")]
)
def test_a_gap_between_timestamps_is_silence_of_its_length(suffix: str, codec: str, tmp_path: Path) -> None:
    samples = sweep(4.0, RATE)
    path = encode(tmp_path / f"gap.{suffix}", samples, RATE, codec, video=True, without=(1.0, 2.0))
    found, warnings = read(path)
    assert any(warning.startswith("a gap at") for warning in warnings)
    assert abs(lag(found[0, 3 * RATE :], samples[0, 3 * RATE :])) <= RATE // 40
    assert np.abs(found[0, round(1.2 * RATE) : round(1.8 * RATE)]).max() < 1e-3
    assert found.shape[1] == pytest.approx(4 * RATE, abs=RATE // 10)


def test_times_of_a_passage_are_those_of_the_recording(tmp_path: Path) -> None:
    samples = sweep(3.0, RATE)
    path = encode(tmp_path / "late.mkv", samples, RATE, "flac", video=True, late_s=1.0)
    found, _ = read(path, start_s=1.5, end_s=2.5)
    assert found.shape[1] == RATE
    assert abs(lag(found[0], samples[0, RATE // 2 : RATE // 2 + RATE])) <= RATE // 500


def with_tracks(path: Path, levels: tuple[float, ...]) -> Path:
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("flac", rate=RATE, layout="mono") for _ in levels]
        for stream, level in zip(streams, levels, strict=True):
            samples = np.full((1, RATE // 2), round(level * 32767), np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, 0
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return path


def test_the_track_that_is_taken_is_named_and_can_be_chosen(tmp_path: Path) -> None:
    path = with_tracks(tmp_path / "three.mkv", (0.1, 0.2, 0.3))
    found, warnings = read(path)
    assert found.max() == pytest.approx(0.1, abs=1e-3)
    assert ["audio track 1 of 3" in warning for warning in warnings] == [True]
    found, warnings = read(path, track=3)
    assert found.max() == pytest.approx(0.3, abs=1e-3)
    assert warnings == []
    with pytest.raises(UsageError, match=r"three\.mkv: no audio track 4; it has 3 audio tracks"):
        open_audio(path, track=4)


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize(
    ("suffix", "codec", "container", "first", "second"),
    [
        ("mp3", "libmp3lame", "mp3", (44_100, 1), (22_050, 1)),
        ("mp3", "libmp3lame", "mp3", (22_050, 2), (48_000, 2)),
        ("aac", "aac", "adts", (48_000, 1), (48_000, 2)),
    ],
)
def test_a_track_that_changes_is_read_to_its_end_in_its_first_format(
    suffix: str, codec: str, container: str, first: Any, second: Any, tmp_path: Path
) -> None:
    parts = [
        encode(tmp_path / f"{n}.{suffix}", sweep(2.0, rate, channels), rate, codec, container=container)
        for n, (rate, channels) in enumerate((first, second))
    ]
    found, warnings = read(joined(tmp_path / f"both.{suffix}", *parts))
    assert len(found) == first[1]
    assert found.shape[1] == pytest.approx(4 * first[0], rel=0.06)
    assert np.abs(found[:, -first[0] // 2 : -first[0] // 8]).max() > 0.05
    assert sum("changes its sample rate or channels at 2." in warning for warning in warnings) == 1


def test_damage_in_the_middle_costs_what_is_damaged(tmp_path: Path) -> None:
    samples = sweep(2.0, RATE)
    path = encode(tmp_path / "damaged.flac", samples, RATE, "flac")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)
    path.write_bytes(data)
    found, warnings = read(path)
    assert 1.5 * RATE < found.shape[1] <= 2 * RATE
    assert np.abs(found[0, : RATE // 2] - samples[0, : RATE // 2]).max() < 1e-4
    assert np.abs(found[0, -RATE // 4 :] - samples[0, -RATE // 4 :]).max() < 1e-4
    assert sum("damaged" in warning for warning in warnings) == 1
    with pytest.raises(InputError, match=r"damaged\.flac: .*damaged"):
        read(path, strict=True)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_a_tag_before_the_sound_is_skipped(suffix: str, tmp_path: Path) -> None:
    samples, codec = sweep(1.0, RATE), {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame"}[suffix]
    plain = encode(tmp_path / f"plain.{suffix}", samples, RATE, codec)
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x7f" + bytes(127)
    (tmp_path / f"tagged.{suffix}").write_bytes(tag + plain.read_bytes())
    assert np.array_equal(read(tmp_path / f"tagged.{suffix}")[0], read(plain)[0])


class Keeps:
    """An enhancer that returns its input."""

    facts = Facts(sample_rate=16_000, task="enhance", n_src=1, chunk=32_000)

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        return mixture


@pytest.mark.parametrize("rate", [1_000, 6_000, 384_000, 768_000])
def test_any_rate_from_1_to_768_khz_comes_back_in_step(rate: int, tmp_path: Path) -> None:
    t = np.arange(round(2.2 * rate)) / rate
    samples = (0.2 * np.sin(2 * np.pi * 180 * t)).astype(np.float32)
    assert np.abs(enhance(samples, rate, Keeps()) - samples)[rate // 10 : -rate // 10].max() < 1e-3
    soundfile.write(tmp_path / "a.wav", samples, rate, "FLOAT")
    result = separate_file(tmp_path / "a.wav", tmp_path / "out", speakers=1, model=Splits(), rest=True)
    assert [soundfile.info(path).frames for path in result.outputs] == [len(samples)]
    assert result.sample_rate == rate


class Splits(Keeps):
    facts = Facts(sample_rate=16_000, n_src=1, chunk=32_000)
