"""Bad files, bad outputs, full disks, damage and truncation: one line that helps, no traceback, nothing left
behind.
"""

import errno
import io
import os
import time
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import encode, encode_video_only, sweep

from unmingle.errors import InputError, UnmingleError
from unmingle.media.audio import open_audio

RATE = 48_000


def read(source, **passage: float) -> tuple[int, list[str]]:
    """Number of samples read, and warnings."""
    with open_audio(source, **passage) as audio:
        return sum(block.shape[1] for block in audio.blocks(4096)), audio.warnings


def write_wav(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples.astype(np.float32), 8_000, subtype="FLOAT")
    return path


def missing(folder: Path) -> Path:
    return folder / "missing.wav"


def a_path_below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("x")
    return folder / "file" / "talk.wav"


def empty(folder: Path) -> Path:
    (folder / "empty.mp3").touch()
    return folder / "empty.mp3"


def a_folder_named_wav(folder: Path) -> Path:
    (folder / "folder.wav").mkdir()
    return folder / "folder.wav"


def a_device(folder: Path) -> Path:
    return Path("/dev/zero") if os.name != "nt" else folder / "none"


def a_name_with_a_null(folder: Path) -> Path:
    return folder / "a\0b.wav"


def a_name_that_is_too_long(folder: Path) -> Path:
    return folder / ("a" * 5000 + ".wav")


def unreadable(folder: Path) -> Path:
    path = write_wav(folder / "locked.wav", np.ones(100))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    return path


def text(folder: Path) -> Path:
    (folder / "text.wav").write_text("This is not audio.\n" * 1000)
    return folder / "text.wav"


def python_source(folder: Path) -> Path:
    (folder / "code.mp3").write_bytes(Path(__file__).read_bytes())
    return folder / "code.mp3"


def a_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "zip.m4a", "w") as file:
        file.writestr("a", b"abc" * 1000)
    return folder / "zip.m4a"


def a_pdf(folder: Path) -> Path:
    (folder / "paper.wav").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n" * 50 + b"%%EOF")
    return folder / "paper.wav"


def a_picture(folder: Path) -> Path:
    (folder / "picture.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    return folder / "picture.wav"


def zeros(folder: Path) -> Path:
    (folder / "zeros.wav").write_bytes(bytes(100_000))
    return folder / "zeros.wav"


def one_byte(folder: Path) -> Path:
    (folder / "one.flac").write_bytes(b"f")
    return folder / "one.flac"


def a_playlist(folder: Path) -> Path:
    target = encode(folder / "real.ts", sweep(0.3, RATE), RATE, "aac", container="mpegts")
    (folder / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{target}\n#EXT-X-ENDLIST\n"
    )
    return folder / "list.m3u8"


def a_list_of_files(folder: Path) -> Path:
    write_wav(folder / "real.wav", np.ones(8000))
    (folder / "list.wav").write_text("ffconcat version 1.0\nfile real.wav\n")
    return folder / "list.wav"


def video_without_sound(folder: Path) -> Path:
    return encode_video_only(folder / "silent.mp4")


def no_samples_wav(folder: Path) -> Path:
    with wave.open(str(folder / "zero.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
    return folder / "zero.wav"


def no_samples_flac(folder: Path) -> Path:
    data = encode(folder / "zero.flac", sweep(0.1, RATE), RATE, "flac").read_bytes()
    frames = data.index(b"\xff\xf8", 42)
    (folder / "zero.flac").write_bytes(
        data[:18] + data[18:21] + bytes([data[21] & 0xF0, 0, 0, 0, 0]) + data[26:frames]
    )
    return folder / "zero.flac"


def a_nan(folder: Path) -> Path:
    return write_wav(folder / "nan.wav", np.where(np.arange(8000) == 4000, np.nan, 0.1))


def all_nan(folder: Path) -> Path:
    return write_wav(folder / "all-nan.wav", np.full(8000, np.nan))


def infinite(folder: Path) -> Path:
    return write_wav(folder / "infinite.wav", np.where(np.arange(8000) > 4000, -np.inf, 0.1))


def too_large_for_float32(folder: Path) -> Path:
    path = encode(folder / "double.wav", sweep(0.1, RATE), RATE, "pcm_f64le")
    data = bytearray(path.read_bytes())
    data[-80:-72] = np.float64(1e300).tobytes()
    path.write_bytes(data)
    return path


def with_sample_rate(path: Path, rate: int) -> Path:
    data = bytearray(write_wav(path, np.ones(1000)).read_bytes())
    at = data.index(b"fmt ") + 12
    data[at : at + 4] = rate.to_bytes(4, "little")
    path.write_bytes(data)
    return path


def too_slow(folder: Path) -> Path:
    return with_sample_rate(folder / "slow.wav", 500)


def too_fast(folder: Path) -> Path:
    return with_sample_rate(folder / "fast.wav", 800_000)


def impossible_rate(folder: Path) -> Path:
    return with_sample_rate(folder / "rate.wav", 0xFFFFFFFF)


def rate_zero(folder: Path) -> Path:
    return with_sample_rate(folder / "rate.wav", 0)


def no_channels(folder: Path) -> Path:
    data = bytearray(write_wav(folder / "channels.wav", np.ones(1000)).read_bytes())
    data[data.index(b"fmt ") + 10 : data.index(b"fmt ") + 12] = bytes(2)
    (folder / "channels.wav").write_bytes(data)
    return folder / "channels.wav"


def unknown_codec(folder: Path) -> Path:
    data = bytearray(write_wav(folder / "codec.wav", np.ones(1000)).read_bytes())
    data[data.index(b"fmt ") + 8 : data.index(b"fmt ") + 10] = b"\x34\x12"
    (folder / "codec.wav").write_bytes(data)
    return folder / "codec.wav"


BAD_FILES = {
    missing: "no such file",
    a_path_below_a_file: "no such file|cannot be opened",
    empty: "empty",
    a_folder_named_wav: "a folder with no audio",
    a_device: "a device|no such file",
    a_name_with_a_null: "cannot be opened|no such file",
    a_name_that_is_too_long: "cannot be opened|no such file",
    unreadable: "cannot be opened",
    text: "not a readable audio",
    python_source: "not a readable audio",
    a_zip: "not a readable audio",
    a_pdf: "not a readable audio",
    a_picture: "not a readable audio|no audio track",
    zeros: "not a readable audio",
    one_byte: "not a readable audio|no audio samples",
    a_playlist: "not a readable audio",
    a_list_of_files: "not a readable audio",
    video_without_sound: "has no audio track",
    no_samples_wav: "no audio samples",
    no_samples_flac: "no audio samples|not a readable audio",
    a_nan: r"NaN or infinite samples at 0\.500 s",
    all_nan: r"NaN or infinite samples at 0\.000 s",
    infinite: r"NaN or infinite samples at 0\.500 s",
    too_large_for_float32: "NaN or infinite samples",
    too_slow: "sample rate is 500 Hz",
    too_fast: "sample rate is 800000 Hz",
    impossible_rate: "not a readable audio|sample rate",
    rate_zero: "not a readable audio|sample rate",
    no_channels: "not a readable audio|cannot be decoded|no audio samples",
    unknown_codec: "codec is unknown|not a readable audio|cannot be decoded",
}


def test_an_address_is_refused_as_such():
    with pytest.raises(InputError, match=r"^https:/.*: an address, not a file; download it first"):
        read(Path("https://example.org/talk.mp3"))


def test_a_folder_of_files_is_refused_where_a_file_is_wanted(tmp_path):
    (tmp_path / "talk.wav").write_bytes(b"")
    with pytest.raises(InputError, match="a folder of files, not a file; give one of them"):
        read(tmp_path)


@pytest.mark.parametrize("make", BAD_FILES, ids=lambda make: make.__name__)
def test_a_bad_file_is_named_in_one_line_with_what_is_wrong_and_what_to_do(tmp_path, make, capfd):
    path = make(tmp_path)
    with pytest.raises(InputError, match=BAD_FILES[make]) as caught:
        read(path)
    message = str(caught.value)
    assert (
        message.startswith(f"{path}: ")
        and "\n" not in message
        and ";" in message
        and capfd.readouterr() == ("", "")
    )


@pytest.mark.parametrize(("start_s", "end_s"), [(None, 0.5), (0.501, None)])
def test_a_passage_beside_a_nan_is_read(tmp_path, start_s, end_s):
    assert read(a_nan(tmp_path), start_s=start_s, end_s=end_s)[0] in (4000, 3992)


def test_a_file_object_that_holds_nothing_is_named():
    with pytest.raises(InputError, match="file object: empty"):
        open_audio(io.BytesIO())


def test_a_start_beyond_the_end_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"ends at 1\.00 s, before the passage begins"):
        open_audio(write_wav(tmp_path / "a.wav", np.ones(8000)), start_s=2)


def test_a_file_object_that_fails_while_reading_is_an_input_error(tmp_path):
    class Broken(io.BytesIO):
        def read(self, n: int = -1) -> bytes:
            if self.tell() > 50_000:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(n)

    with pytest.raises(InputError, match="Input/output error"):
        read(Broken(encode(tmp_path / "a.wav", sweep(1, RATE), RATE, "pcm_s16le").read_bytes()))


# --- Truncation and damage, in every container

DECLARING = {  # containers that declare how much there is: codec, container's options
    "a.wav": ("pcm_s16le", {}),
    "float.wav": ("pcm_f32le", {}),
    "a.flac": ("flac", {}),
    "a.mp3": ("libmp3lame", {}),
    "a.m4a": ("aac", {}),
    "fast.m4a": ("aac", {"movflags": "faststart"}),
    "a.webm": ("libopus", {}),
    "a.mkv": ("aac", {}),
    "video.mp4": ("aac", {"movflags": "faststart"}),
    "video.mov": ("pcm_s16le", {}),
    "video.mkv": ("pcm_s16le", {}),
    "a.aiff": ("pcm_s16be", {}),
}
OPEN_ENDED = {  # containers that do not: codec, container, options
    "a.ogg": ("libopus", "ogg", {}),
    "a.opus": ("libopus", "opus", {}),
    "untagged.mp3": ("libmp3lame", "mp3", {"write_xing": "0"}),
    "a.aac": ("aac", "adts", {}),
    "a.ts": ("aac", "mpegts", {}),
    "live.webm": ("libopus", "webm", {"live": "1"}),
}


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> dict[str, bytes]:
    """Two seconds of sound in every container, intact."""
    folder = tmp_path_factory.mktemp("intact")
    made = {}
    for name, (codec, options) in DECLARING.items():
        made[name] = encode(folder / name, sweep(2, RATE), RATE, codec, video="video" in name, **options)
    for name, (codec, container, options) in OPEN_ENDED.items():
        made[name] = encode(folder / name, sweep(2, RATE), RATE, codec, container=container, **options)
    return {name: path.read_bytes() for name, path in made.items()}


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", DECLARING)
def test_a_file_cut_short_of_what_it_declares_is_an_error(tmp_path, intact, name, share):
    (tmp_path / name).write_bytes(intact[name][: int(len(intact[name]) * share)])
    with pytest.raises(InputError, match="cut short or damaged, it declares more than there is"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "fast.m4a", "a.webm", "video.mkv"])
def test_a_passage_before_the_cut_is_read_all_the_same(tmp_path, intact, name):
    (tmp_path / name).write_bytes(intact[name][: int(len(intact[name]) * 0.8)])
    assert read(tmp_path / name, start_s=0.1, end_s=0.5)[0] == round(0.4 * RATE)


@pytest.mark.parametrize("share", [0.6, 0.9])
@pytest.mark.parametrize("name", OPEN_ENDED)
def test_a_file_cut_short_that_declares_nothing_is_read_up_to_the_cut(tmp_path, intact, name, share):
    (tmp_path / name).write_bytes(intact[name][: int(len(intact[name]) * share)])
    assert 0 < read(tmp_path / name)[0] < 2 * RATE


@pytest.mark.parametrize("share", [0.5, 0.99])
@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_an_ogg_file_without_its_last_page_gives_a_warning(tmp_path, intact, name, share):
    (tmp_path / name).write_bytes(intact[name][: int(len(intact[name]) * share)])
    assert "probably cut short" in read(tmp_path / name)[1][0]


@pytest.mark.parametrize("name", [*DECLARING, *OPEN_ENDED])
def test_truncation_anywhere_is_read_or_refused_but_never_a_crash_or_a_hang(tmp_path, intact, name):
    random = np.random.default_rng(0)
    for length in [1, 4, 12, 30, 44, 100, *random.integers(1, len(intact[name]), 8)]:
        outcome(tmp_path / name, intact[name][:length])


@pytest.mark.parametrize("name", [*DECLARING, *OPEN_ENDED])
def test_a_fuzzed_header_is_read_or_refused_but_never_a_crash_or_a_hang(tmp_path, intact, name):
    random = np.random.default_rng(1)
    for _ in range(25):
        data = np.frombuffer(intact[name], np.uint8).copy()
        where = random.integers(0, min(len(data), 600), random.integers(1, 12))
        data[where] = random.integers(0, 256, len(where))
        outcome(tmp_path / name, data.tobytes())


@pytest.mark.parametrize("name", [*DECLARING, *OPEN_ENDED])
def test_damage_anywhere_is_read_or_refused_but_never_a_crash_or_a_hang(tmp_path, intact, name):
    random = np.random.default_rng(2)
    for _ in range(8):
        data = np.frombuffer(intact[name], np.uint8).copy()
        start = random.integers(0, len(data))
        data[start : start + 300] = random.integers(0, 256, len(data[start : start + 300]))
        outcome(tmp_path / name, data.tobytes())


def outcome(path: Path, data: bytes) -> None:
    """Read `data` as a file: it must come to an end soon, by samples or by an error of ours in one line."""
    path.write_bytes(data)
    began = time.monotonic()
    try:
        read(path)
    except UnmingleError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert time.monotonic() - began < 30
