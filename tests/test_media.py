"""Reading and writing real files: lengths, alignment, passages, rates, channels, names."""

import io
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import encode, sweep

from unmingle.errors import InputError, UsageError
from unmingle.media.audio import open_audio
from unmingle.media.recording import find_inputs
from unmingle.media.writer import FORMATS, AudioWriter
from unmingle.results.folders import OutputFolder

# name of the file: codec, container, with a picture, sample rate, how far the length may be off [samples]
CONTAINERS = {
    "float.wav": ("pcm_f32le", "wav", False, 44_100, 0),
    "short.wav": ("pcm_s16le", "wav", False, 22_050, 0),
    "bytes.wav": ("pcm_u8", "wav", False, 8_000, 0),
    "long.w64": ("pcm_s24le", "w64", False, 48_000, 0),
    "a.aiff": ("pcm_s16be", "aiff", False, 44_100, 0),
    "a.flac": ("flac", "flac", False, 96_000, 0),
    "a.mp3": ("libmp3lame", "mp3", False, 44_100, 0),
    "a.m4a": ("aac", "ipod", False, 44_100, 44),
    "a.ogg": ("libopus", "ogg", False, 48_000, 0),
    "a.opus": ("libopus", "opus", False, 48_000, 0),
    "a.webm": ("libopus", "webm", False, 48_000, 0),
    "a.mkv": ("flac", "matroska", False, 44_100, 0),
    "video.mp4": ("aac", "mp4", True, 44_100, 44),
    "video.mov": ("pcm_s16le", "mov", True, 44_100, 0),
    "video.mkv": ("libmp3lame", "matroska", True, 44_100, 1152),
}


def read(source, n: int = 4096, **passage: float) -> np.ndarray:
    with open_audio(source, **passage) as audio:
        return np.concatenate(list(audio.blocks(n)), axis=1)


def lag(estimate: np.ndarray, reference: np.ndarray) -> int:
    """By how many samples `estimate` is late, from the peak of the cross-correlation; both `(T,)`."""
    n = 2 * max(len(estimate), len(reference))
    correlation = np.fft.irfft(np.fft.rfft(estimate, n) * np.fft.rfft(reference, n).conj(), n)
    peak = int(np.argmax(correlation))
    return peak if peak < n // 2 else peak - n


def pipe(data: bytes) -> io.BufferedReader:
    """The reading end of a real pipe through which `data` comes."""
    reader, writer = os.pipe()

    def feed() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    threading.Thread(target=feed, daemon=True).start()
    return os.fdopen(reader, "rb")


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_read_aligned_to_the_sample(tmp_path, name):
    codec, container, video, rate, _ = CONTAINERS[name]
    samples = sweep(1.3, rate)
    assert (
        lag(
            read(encode(tmp_path / name, samples, rate, codec, container=container, video=video))[0],
            samples[0],
        )
        == 0
    )


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_read_with_its_whole_length(tmp_path, name):
    codec, container, video, rate, tolerance = CONTAINERS[name]
    samples = sweep(1.3, rate)
    path = encode(tmp_path / name, samples, rate, codec, container=container, video=video)
    assert abs(read(path).shape[1] - samples.shape[1]) <= tolerance


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_intact_file_gives_no_warning(tmp_path, name):
    codec, container, video, rate, _ = CONTAINERS[name]
    with open_audio(
        encode(tmp_path / name, sweep(0.5, rate), rate, codec, container=container, video=video)
    ) as audio:
        list(audio.blocks(1000))
    assert audio.warnings == []


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_every_sample_format_has_full_scale_one(tmp_path, codec):
    samples = sweep(0.2, 16_000)
    decoded = read(encode(tmp_path / "a.wav", samples, 16_000, codec))
    assert np.abs(decoded - samples).max() < {"pcm_u8": 2**-7, "pcm_s16le": 2**-14}.get(codec, 2**-21)


@pytest.mark.parametrize(
    ("rate", "n_channels"), [(8_000, 1), (44_100, 2), (96_000, 6), (192_000, 1), (11_025, 3), (48_000, 12)]
)
def test_rates_and_channels_are_kept(tmp_path, rate, n_channels):
    samples = sweep(0.2, rate, n_channels)
    with open_audio(encode(tmp_path / "a.wav", samples, rate, "pcm_f32le")) as audio:
        assert (audio.sample_rate, audio.n_channels, audio.n_samples) == (rate, n_channels, samples.shape[1])
        np.testing.assert_array_equal(next(audio.blocks(10**6)), samples)


def test_many_planar_channels_are_read(tmp_path):
    samples = sweep(0.2, 48_000, 12)
    decoded = read(encode(tmp_path / "a.nut", samples, 48_000, "pcm_s16le_planar"))
    assert decoded.shape == samples.shape and np.abs(decoded - samples).max() < 2**-14


def test_blocks_have_the_length_that_was_asked_for(tmp_path):
    path = encode(tmp_path / "a.flac", sweep(0.7, 16_000), 16_000, "flac")
    with open_audio(path) as audio:
        lengths = [block.shape[1] for block in audio.blocks(997)]
    assert lengths == [997] * 11 + [11_200 - 11 * 997]


@pytest.mark.parametrize("n", [1, 2, 100, 1024, 4097])
def test_tiny_files_are_read(tmp_path, n):
    samples = sweep(1, 16_000)[:, :n]
    np.testing.assert_array_equal(read(encode(tmp_path / "a.wav", samples, 16_000, "pcm_f32le")), samples)


def test_the_first_of_two_audio_tracks_is_read(tmp_path):
    import av

    with av.open(str(tmp_path / "two.mkv"), "w") as file:
        tracks = [file.add_stream("pcm_s16le", rate=8_000, layout="mono") for _ in range(2)]
        for level, track in zip((8192, 0), tracks, strict=True):
            frame = av.AudioFrame.from_ndarray(
                np.full((1, 800), level, np.int16), format="s16", layout="mono"
            )
            frame.sample_rate = 8_000
            file.mux(track.encode(frame))
    assert (read(tmp_path / "two.mkv") == 0.25).all()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.m4a", "a.opus"])
@pytest.mark.parametrize(("start_s", "end_s"), [(0.25, 0.75), (0.1234, None), (None, 0.5), (0.3, 0.30005)])
def test_a_passage_is_what_a_slice_of_the_whole_is(tmp_path, name, start_s, end_s):
    codec, container, *_ = CONTAINERS.get(name, ("pcm_s16le", "wav"))
    path = encode(tmp_path / name, sweep(1, 48_000), 48_000, codec, container=container)
    expected = read(path)[
        :, round((start_s or 0) * 48_000) : None if end_s is None else round(end_s * 48_000)
    ]
    np.testing.assert_array_equal(read(path, start_s=start_s, end_s=end_s), expected)


def test_a_passage_that_ends_after_the_file_is_read_with_a_warning(tmp_path):
    with open_audio(
        encode(tmp_path / "a.wav", sweep(0.5, 8_000), 8_000, "pcm_s16le"), start_s=0.25, end_s=9
    ) as audio:
        assert sum(block.shape[1] for block in audio.blocks(500)) == 2000
    assert "ends at 0.50 s" in audio.warnings[0]


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [(-1, None), (np.nan, None), (np.inf, None), (2, 1), (1, 1), (None, 0), (None, np.nan)],
)
def test_an_impossible_passage_is_a_usage_error(tmp_path, start_s, end_s):
    with pytest.raises(UsageError, match="the passage"):
        open_audio(
            encode(tmp_path / "a.wav", sweep(0.5, 8_000), 8_000, "pcm_s16le"), start_s=start_s, end_s=end_s
        )


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.m4a", "video.mov", "a.webm"])
def test_a_pipe_gives_what_the_file_gives(tmp_path, name):
    codec, container, video, rate, _ = CONTAINERS[name]
    path = encode(tmp_path / name, sweep(0.5, rate), rate, codec, container=container, video=video)
    with pipe(path.read_bytes()) as file:
        np.testing.assert_array_equal(read(file), read(path))


def test_a_file_object_in_memory_is_read_from_its_beginning_and_left_open(tmp_path):
    path = encode(tmp_path / "a.wav", sweep(0.5, 8_000), 8_000, "pcm_s16le")
    file = io.BytesIO(path.read_bytes())
    file.seek(100)
    np.testing.assert_array_equal(read(file), read(path))
    assert not file.closed


@pytest.mark.parametrize("declared", [0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF])
def test_a_wav_whose_length_was_left_open_by_a_pipe_is_read_whole(tmp_path, declared):
    samples = sweep(0.5, 16_000)
    data = bytearray(encode(tmp_path / "a.wav", samples, 16_000, "pcm_f32le").read_bytes())
    at = data.index(b"data")
    data[4:8] = data[at + 4 : at + 8] = struct.pack("<I", declared)
    (tmp_path / "a.wav").write_bytes(data)
    with open_audio(tmp_path / "a.wav") as audio:
        np.testing.assert_array_equal(np.concatenate(list(audio.blocks(999)), axis=1), samples)
    assert audio.warnings == []


@pytest.mark.parametrize(
    "name",
    [
        "two words.wav",
        "Gespräch – 会話 🎙.m4a",
        "call:12.wav",
        "50%d.flac",
        "-.mp3",
        'it\'s "it".opus',
        "http:x.flac",
    ],
)
def test_unusual_names_are_written_and_read(tmp_path, name):
    if os.name == "nt" and set(name) & set(':"'):
        pytest.skip("not a name on Windows")
    path = tmp_path / "Ordner mit Ümlaut" / name
    path.parent.mkdir()
    with AudioWriter(path, sample_rate=16_000, format=path.suffix[1:]) as writer:
        writer.write(sweep(0.3, 16_000))
    assert abs(len(read(path)[0]) / 4800 - (3 if name.endswith("opus") else 1)) < 0.01


def test_folders_are_walked_in_order_without_hidden_and_other_files(tmp_path):
    for name in ("b.wav", "a.MP3", "sub/c.mp4", ".hidden.wav", ".unmingle-1/d.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [
        path.relative_to(tmp_path).as_posix() for path in find_inputs([tmp_path / "notes.txt", tmp_path])
    ]
    assert found == ["notes.txt", "a.MP3", "b.wav", "sub/c.mp4"]


def test_missing_paths_and_folders_without_audio_stay_in_the_list(tmp_path):
    (tmp_path / "folder.wav").mkdir()
    assert find_inputs([tmp_path / "folder.wav", tmp_path / "no.wav"]) == [
        tmp_path / "folder.wav",
        tmp_path / "no.wav",
    ]


@pytest.mark.parametrize("n", [600, 1153, 16_001])
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_has_the_same_length_when_read(tmp_path, format, rate, n):
    samples = sweep(3, rate)[:, rate // 2 : rate // 2 + n]
    with AudioWriter(tmp_path / f"a.{format}", sample_rate=rate, format=format) as writer:
        writer.write(samples)
    with open_audio(tmp_path / f"a.{format}") as audio:
        seconds = sum(block.shape[1] for block in audio.blocks(4096)) / audio.sample_rate
    assert abs(seconds - n / rate) <= (0 if format in ("wav", "flac") else 0.001)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_is_aligned_to_a_millisecond_when_read(tmp_path, format, rate):
    samples = sweep(2, rate)
    with AudioWriter(tmp_path / f"a.{format}", sample_rate=rate, format=format) as writer:
        for start in range(0, samples.shape[1], 1777):
            writer.write(samples[:, start : start + 1777])
    with open_audio(tmp_path / f"a.{format}") as audio:
        decoded = soxr.resample(np.concatenate(list(audio.blocks(4096)), axis=1)[0], audio.sample_rate, rate)
    assert abs(lag(decoded, samples[0])) <= rate / 1000


@pytest.mark.parametrize("n_channels", [1, 2, 6])
def test_wav_is_exact_to_the_bit_even_beyond_full_scale(tmp_path, n_channels):
    samples = 7 * sweep(0.5, 44_100, n_channels)
    with AudioWriter(tmp_path / "a.wav", sample_rate=44_100, n_channels=n_channels) as writer:
        writer.write(samples)
    decoded, rate = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    np.testing.assert_array_equal(decoded.T, samples)
    assert rate == 44_100 and soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"


def test_flac_has_24_bits_and_is_limited_at_full_scale(tmp_path):
    samples = 7 * sweep(0.5, 44_100)
    with AudioWriter(tmp_path / "a.flac", sample_rate=44_100, format="flac") as writer:
        writer.write(samples)
    decoded, _ = soundfile.read(tmp_path / "a.flac", dtype="float32")
    assert np.abs(decoded - np.clip(samples[0], -1, 1)).max() <= 2**-23
    assert soundfile.info(tmp_path / "a.flac").subtype == "PCM_24"


@pytest.mark.parametrize(
    ("format", "rate", "written"),
    [
        ("mp3", 96_000, 48_000),
        ("mp3", 44_100, 44_100),
        ("opus", 44_100, 48_000),
        ("opus", 32_000, 48_000),
        ("m4a", 192_000, 96_000),
    ],
)
def test_a_format_without_the_rate_gets_the_nearest_that_keeps_the_band(tmp_path, format, rate, written):
    with AudioWriter(tmp_path / "a", sample_rate=rate, format=format) as writer:
        writer.write(sweep(0.1, rate))
    assert writer.sample_rate == written


def test_too_many_channels_for_a_format_are_an_input_error(tmp_path):
    with pytest.raises(InputError, match="mp3 does not hold 6 channels"):
        AudioWriter(tmp_path / "a.mp3", sample_rate=48_000, n_channels=6, format="mp3")


def test_an_unknown_format_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="wav, flac, mp3, m4a, opus"):
        AudioWriter(tmp_path / "a.xyz", sample_rate=8_000, format="xyz")


def test_an_output_folder_appears_with_its_parents_and_ordinary_permissions(tmp_path):
    with OutputFolder(tmp_path / "deep" / "talk") as folder:
        (folder / "speaker-1.wav").write_text("1")
        assert not (tmp_path / "deep" / "talk").exists()
    (tmp_path / "ordinary").mkdir()
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["talk", "speaker-1.wav"]
    assert (tmp_path / "deep" / "talk").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_overwriting_replaces_an_earlier_run_and_nothing_else(tmp_path):
    for name in ("speaker-1.mp3", "speaker-2.wav", "speaker-notes.wav", "notes.txt"):
        (tmp_path / name).write_text("old")
    with OutputFolder(tmp_path, overwrite=True) as folder:
        (folder / "speaker-1.wav").write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "speaker-1.wav": "new",
        "speaker-notes.wav": "old",
        "notes.txt": "old",
    }
    assert not list(tmp_path.parent.glob(".unmingle-*"))


def test_a_failing_overwrite_puts_the_earlier_run_back(tmp_path):
    target = tmp_path / "talk"
    target.mkdir()
    (target / "speaker-1.wav").write_text("old")
    with pytest.raises(InputError, match="talk"), OutputFolder(target, overwrite=True) as folder:
        (folder / "speaker-1.wav").write_text("new")
        (folder / "replaced").write_text("the hidden folder's own name, so that renaming fails")
    assert [path.read_text() for path in target.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["talk"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError, InputError])
def test_an_interrupted_output_leaves_nothing_behind(tmp_path, interruption):
    def work() -> None:
        with (
            OutputFolder(tmp_path / "a" / "b" / "talk") as folder,
            AudioWriter(folder / "speaker-1.mp3", sample_rate=44_100, format="mp3") as writer,
        ):
            writer.write(sweep(0.5, 44_100))
            raise interruption("stop")

    with pytest.raises(interruption):
        work()
    assert list(tmp_path.iterdir()) == []


def test_reading_an_hour_takes_no_more_memory_than_reading_a_minute(tmp_path):
    pytest.importorskip("resource")
    script = (
        "import resource, sys, numpy\nfrom unmingle.media.audio import open_audio\nfrom "
        "unmingle.media.writer import AudioWriter\npath, minutes = sys.argv[1], int(sys.argv[2])\n"
        "with AudioWriter(path, sample_rate=8000) as writer:\n    for _ in range(minutes): "
        "writer.write(numpy.zeros((1, 480_000), numpy.float32))\n"
        "with open_audio(path) as audio:\n    assert sum(block.shape[1] for block in audio.blocks(8000)) == "
        "minutes * 480_000\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peak = [
        int(
            subprocess.run(
                [sys.executable, "-c", script, tmp_path / "a.wav", str(n)], capture_output=True, check=True
            ).stdout
        )
        for n in (1, 60)
    ]
    assert peak[1] < 1.1 * peak[0]


def test_nothing_is_printed_while_writing_and_reading(tmp_path, capfd):
    for format in FORMATS:
        path = Path(tmp_path / f"a.{format}")
        with AudioWriter(path, sample_rate=8_000, format=format) as writer:
            writer.write(sweep(0.5, 8_000))
        read(path)
    assert capfd.readouterr() == ("", "")
