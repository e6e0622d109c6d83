"""Files to pictures: 25 per second on the timeline of the sound, upright; and copies with another sound."""

from pathlib import Path

import av
import numpy as np
import pytest
from conftest import sweep
from videos import film, number, numbered, turned

from unmingle.errors import InputError
from unmingle.media.audio import open_audio
from unmingle.media.remuxing import video_suffix, write_video
from unmingle.media.video import VideoReader
from unmingle.media.writer import AudioWriter

SOUND = sweep(4, 16_000)


def shown(path: Path) -> list[int | None]:
    """Which of `numbered` each picture is."""
    with VideoReader(path) as reader:
        return [None if picture is None else number(picture) for picture in reader.pictures()]


def at_25_per_second(times: np.ndarray, length_s: float) -> list[int | None]:
    """The numbers of the pictures that are shown in the middle of each 40 ms."""
    middles = (np.arange(round(25 * length_s)) + 0.5) / 25
    latest = np.searchsorted(times, middles, side="right") - 1
    return [None if index < 0 else int(index) % 50 for index in latest]


@pytest.mark.parametrize("rate", [24, 25, 30, 60, 120])
def test_every_rate_becomes_25_pictures_a_second(tmp_path: Path, rate: int) -> None:
    times = np.arange(2 * rate) / rate
    path = film(tmp_path / "video.mp4", numbered(len(times)), times, SOUND[:, :32_000])
    assert shown(path) == at_25_per_second(times, 2)


def test_pictures_at_irregular_times_keep_them(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.005, 0.1, 60)) - 0.005
    path = film(tmp_path / "video.mkv", numbered(60), times, SOUND)
    found, expected = shown(path), at_25_per_second(np.round(times, 3), 4)
    assert found[:60] == expected[:60]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_picture_that_begins_later_than_the_sound_is_late(tmp_path: Path, suffix: str) -> None:
    times = np.arange(50) / 25 + 0.513
    path = film(tmp_path / f"video.{suffix}", numbered(50), times, SOUND)
    with VideoReader(path) as reader:
        assert reader.start_s == pytest.approx(0.513, abs=1e-3)
    assert shown(path) == at_25_per_second(times, 2.52)


def test_a_sound_that_begins_later_than_the_picture_moves_no_picture(tmp_path: Path) -> None:
    path = film(tmp_path / "video.mp4", numbered(50), np.arange(50) / 25, SOUND, sound_at_s=0.7)
    assert shown(path) == list(range(50))


def test_without_sound_time_begins_with_the_picture(tmp_path: Path) -> None:
    path = film(tmp_path / "video.mp4", numbered(50), np.arange(50) / 25, None)
    assert shown(path) == list(range(50))


def test_a_portrait_with_a_rotation_flag_stands_upright(tmp_path: Path) -> None:
    halves = (np.concatenate([image, image // 4], axis=1) for image in numbered(25, 64, 64))
    path = turned(film(tmp_path / "video.mp4", halves, np.arange(25) / 25, None))
    with VideoReader(path) as reader:
        picture = next(reader.pictures())
        assert (reader.width, reader.height) == (64, 128)
    assert picture is not None and picture.shape == (128, 64, 3)
    assert picture[:64].mean() > 2 * picture[64:].mean()  # turned to the right: the left half is above


def test_a_large_picture_is_scaled_down(tmp_path: Path) -> None:
    path = film(tmp_path / "video.mp4", numbered(3, 400, 600), np.arange(3) / 25, None)
    with VideoReader(path, largest=150) as reader:
        picture = next(reader.pictures())
        assert picture is not None and picture.shape == (100, 150, 3)
        assert (reader.width, reader.height, reader.scale) == (600, 400, 0.25)


def test_a_picture_of_one_pixel_is_read(tmp_path: Path) -> None:
    path = tmp_path / "video.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width = stream.height = 1
        stream.pix_fmt = "bgr0"
        for k in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((1, 1, 3), 9, np.uint8), format="rgb24")
            frame.pts = k
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with VideoReader(path) as reader:
        assert [picture.shape for picture in reader.pictures() if picture is not None] == [(1, 1, 3)] * 3


def test_a_file_of_sound_alone_has_no_picture(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "talk.wav", sample_rate=16_000) as writer:
        writer.write(SOUND)
    with pytest.raises(InputError, match=r"talk\.wav: has no moving picture; .*unmingle separate"):
        VideoReader(tmp_path / "talk.wav")


def test_what_is_no_video_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"no video at all, only words" * 100)
    with pytest.raises(
        InputError, match=r"video\.mp4: not a readable video file \(.*\); check that it plays"
    ):
        VideoReader(path)


def test_a_picture_that_cannot_be_decoded_is_one_clear_line(tmp_path: Path) -> None:
    path = film(tmp_path / "video.mkv", numbered(25), np.arange(25) / 25, None, codec="mpeg4")
    data = bytearray(path.read_bytes())
    for start in [k for k in range(len(data) - 4) if data[k : k + 4] == b"\x00\x00\x01\xb6"]:
        data[start : start + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"video\.mkv: its picture cannot be decoded"):
        VideoReader(path)


def test_damage_in_the_middle_leaves_the_pictures_around_it(tmp_path: Path) -> None:
    path = film(tmp_path / "video.mp4", numbered(50), np.arange(50) / 25, None, codec="mpeg4")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(data)
    found = shown(path)
    assert len(found) == 50 and found[:10] == list(range(10))


@pytest.mark.parametrize(("name", "codec"), [("video.mp4", "libx264"), ("video.mpg", "mpeg1video")])
def test_a_copy_with_another_sound_is_in_step_and_has_the_same_pictures(
    tmp_path: Path, name: str, codec: str
) -> None:
    late = 0.0 if name.endswith("mpg") else 0.313
    times = np.arange(75) / 25 + late
    path = film(tmp_path / name, numbered(75), times, SOUND, codec=codec)
    with AudioWriter(tmp_path / "voice.wav", sample_rate=16_000) as writer:
        writer.write(0.5 * SOUND)
    with VideoReader(path) as reader:
        copy = tmp_path / f"copy.{video_suffix(reader)}"
        write_video(reader, tmp_path / "voice.wav", copy)
    assert shown(copy) == shown(path)
    with open_audio(copy) as reader:
        sound = np.concatenate(list(reader.blocks(16_000)), axis=1)[0, : SOUND.shape[1]]
    similar = np.correlate(sound[8_000:40_000], SOUND[0, 8_500:39_500], mode="valid")
    assert len(sound) == SOUND.shape[1] and int(np.argmax(similar)) == 500
