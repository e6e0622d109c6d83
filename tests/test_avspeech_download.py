"""Passages of AVSpeech and AudioSet, downloaded from a server of our own by yt-dlp and cut out by PyAV."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from conftest import encode, sweep

from unmingle.cli import main
from unmingle.data.avspeech.download import _choose
from unmingle.data.avspeech.rows import parse_range, read_rows
from unmingle.data.corpora import read_recordings
from unmingle.errors import InputError, UsageError
from unmingle.media.audio import open_audio

pytest.importorskip("yt_dlp")

RATE, LENGTH_S = 16_000, 6.0
Captured = pytest.CaptureFixture[str]


class Site:
    """Serves the files of a folder, counts what is asked for, and answers `refusing` with 429."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gets, self.times, self.delay_s = folder, Counter[str](), list[float](), 0.0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, with_body: bool) -> None:
                name = self.path.removeprefix("/")
                path = site.folder / name
                if with_body:
                    site.gets[name] += 1
                    site.times.append(time.monotonic())
                if name == "refusing.mp4" or not path.is_file():
                    self.send_error(429 if name == "refusing.mp4" else 404)
                    return
                content = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", "video/mp4")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if with_body:
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    time.sleep(site.delay_s)
                    self.wfile.write(content[len(content) // 2 :])

            def do_GET(self) -> None:
                with suppress(ConnectionError):
                    self.answer(True)

            def do_HEAD(self) -> None:
                self.answer(False)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of a sweep and of pictures whose grey is their number, and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("one.mp4", "two.mp4"):
        encode(folder / name, sweep(LENGTH_S, RATE), RATE, "aac", video=True)
    (folder / "broken.mp4").write_bytes(np.random.default_rng(0).bytes(20_000))
    return folder


@pytest.fixture
def site(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Site(videos)
    yield running
    running.close()


def table(*lines: str, name: str = "avspeech_train.csv") -> str:
    Path(name).write_text("".join(f"{line}\n" for line in lines))
    return name


def download(*arguments: str, pause: float = 0.0) -> int:
    return main(["avspeech", "download", *arguments, "--out", "clips", "--pause", str(pause)])


def files() -> list[str]:
    return sorted(
        path.relative_to("clips").as_posix()
        for path in Path("clips").rglob("*")
        if path.is_file() and path.suffix != ".csv"
    )


def failures() -> list[dict[str, str]]:
    with Path("clips/failures.csv").open() as file:
        return list(csv.DictReader(file))


def sound(path: Path) -> tuple[np.ndarray, int]:
    with open_audio(path) as audio:
        return np.concatenate(list(audio.blocks(4096)), axis=1).mean(axis=0), audio.sample_rate


def place_s(part: np.ndarray) -> float:
    """Where a part lies in the sweep, by cross-correlation [s]."""
    whole = sweep(LENGTH_S, RATE)[0]
    n = 2 ** (len(whole) + len(part)).bit_length()
    energy = np.convolve(whole**2, np.ones(len(part)), "valid") ** 0.5
    likeness = np.fft.irfft(np.fft.rfft(whole, n) * np.fft.rfft(part, n).conj())[: len(energy)]
    return float(np.argmax(likeness / energy)) / RATE


@pytest.mark.parametrize("audio_only", [False, True])
def test_a_passage_is_cut_at_its_place(site: Site, audio_only: bool) -> None:
    rows = [f"{site.address('one.mp4')},{start},{end},0.5,0.25" for start, end in ((0, 2), (1.234, 4.5))]
    assert download(table(*rows), *["--audio-only"] * audio_only) == 0
    names = files()
    assert [Path(name).suffix for name in names] == [".flac" if audio_only else ".mp4"] * 2
    for name, start_s, end_s in zip(names, (0, 1.234), (2, 4.5), strict=True):
        samples, sample_rate = sound(Path("clips") / name)
        assert sample_rate == RATE
        assert len(samples) == round((end_s - start_s) * RATE)
        assert place_s(samples) == pytest.approx(start_s, abs=0.002)


def test_the_picture_is_in_step_with_the_sound(site: Site) -> None:
    assert download(table(f"{site.address('one.mp4')},1.25,3.0,0.5,0.25")) == 0
    with av.open(str(Path("clips") / files()[0])) as file:
        pictures = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in file.decode(video=0)]
    with av.open(str(site.folder / "one.mp4")) as file:
        before = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in file.decode(video=0)]
    wanted = [(max(0.0, at_s - 1.25), grey) for at_s, grey in before if 1.22 < at_s < 3.0]
    assert len(pictures) == len(wanted)
    for (at_s, grey), (wanted_s, wanted_grey) in zip(pictures, wanted, strict=True):
        assert at_s == pytest.approx(wanted_s, abs=1e-3)
        assert grey == pytest.approx(wanted_grey, abs=2)


def test_a_sound_that_begins_later_than_the_picture_stays_in_step(site: Site, tmp_path: Path) -> None:
    encode(tmp_path / "late.mp4", sweep(LENGTH_S, RATE), RATE, "aac", video=True, late_s=0.5)
    site.folder = tmp_path
    assert download(table(f"{site.address('late.mp4')},2,4,0.5,0.25")) == 0
    samples, _ = sound(Path("clips") / files()[0])
    assert place_s(samples) == pytest.approx(1.5, abs=0.005)
    with av.open(str(Path("clips") / files()[0])) as file:
        grey = next(file.decode(video=0)).to_ndarray(format="gray").mean()
    with av.open(str(tmp_path / "late.mp4")) as file:
        shown = next(frame for frame in file.decode(video=0) if frame.time == 2.0)
    assert grey == pytest.approx(shown.to_ndarray(format="gray").mean(), abs=2)


def test_a_video_is_downloaded_once_for_all_of_its_rows_and_no_row_takes_another_s_place(site: Site) -> None:
    one = site.address("one.mp4")
    rows = [f"{one},0,1,0.5,0.5", f"{one},0,1.5,0.5,0.5", f"{one},0,1,0.1,0.5", f"{one},1,2,0.5,0.5"]
    assert download(table(*rows)) == 0
    once = site.gets["one.mp4"]
    assert len(files()) == 4
    assert download(table(rows[0]), "--audio-only") == 0
    assert site.gets["one.mp4"] == 2 * once


def test_only_the_rows_asked_for_are_downloaded(site: Site) -> None:
    rows = [f"{site.address('one.mp4')},{start},{start + 1},0.5,0.5" for start in range(5)]
    assert download(table(*rows), "--rows", "1:3", "--audio-only") == 0
    assert [Path(name).name[:5] for name in files()] == ["1.000", "2.000"]


def test_what_is_there_and_whole_is_not_downloaded_again(site: Site, capsys: Captured) -> None:
    rows = table(*(f"{site.address(name)},1,2,0.5,0.5" for name in ("one.mp4", "two.mp4")))
    assert download(rows) == 0
    gets, before = Counter(site.gets), {name: Path("clips", name).read_bytes() for name in files()}
    assert download(rows) == 0
    assert site.gets == gets
    assert "2 of 2 rows in clips, of which 2 were there" in capsys.readouterr().out
    cut_short = next(name for name in before if name.startswith("two"))
    Path("clips", cut_short).write_bytes(before[cut_short][:1000])
    assert download(rows) == 0
    assert site.gets["one.mp4"] == gets["one.mp4"] and site.gets["two.mp4"] > gets["two.mp4"]
    assert len(Path("clips", cut_short).read_bytes()) == len(before[cut_short])


def test_what_fails_is_listed_with_its_reason_and_tried_again(site: Site, capsys: Captured) -> None:
    names = ("one.mp4", "gone.mp4", "broken.mp4")
    rows = table(
        *(f"{site.address(name)},1,2,0.5,0.5" for name in names), f"{site.address('one.mp4')},60,63,0,0"
    )
    assert download(rows) == 1
    assert [(each["row"], each["id"]) for each in failures()] == [
        ("1", site.address("gone.mp4")),
        ("2", site.address("broken.mp4")),
        ("3", site.address("one.mp4")),
    ]
    reasons = [each["reason"] for each in failures()]
    assert "404" in reasons[0] and "not a readable" in reasons[1] and "ends at 6.0" in reasons[2]
    assert not any("/.download" in reason or "clips" in reason for reason in reasons)
    assert "3 rows failed: clips/failures.csv says why" in capsys.readouterr().err
    assert len(files()) == 1
    site.folder = Path.cwd()
    encode(Path("gone.mp4"), sweep(LENGTH_S, RATE), RATE, "aac", video=True)
    assert download(rows, "--rows", "1:2") == 0
    assert [each["row"] for each in failures()] == ["2", "3"]
    assert len(files()) == 2


def test_a_video_without_a_picture_fails_unless_only_its_sound_is_wanted(site: Site, tmp_path: Path) -> None:
    encode(tmp_path / "sound.m4a", sweep(LENGTH_S, RATE), RATE, "aac", container="mp4")
    site.folder = tmp_path
    rows = table(f"{site.address('sound.m4a')},1,2,0.5,0.5")
    assert download(rows) == 1
    assert "has no moving picture" in failures()[0]["reason"]
    assert download(rows, "--audio-only") == 0
    assert not Path("clips/failures.csv").exists()


def test_a_server_that_wants_no_more_of_us_ends_the_run(site: Site, capsys: Captured) -> None:
    rows = [f"{site.address(name)},1,2,0.5,0.5" for name in ("refusing.mp4", "one.mp4", "two.mp4")]
    assert download(table(*rows), pause=2.0) == 1
    assert site.gets["one.mp4"] == 0
    error = capsys.readouterr().err
    assert "stopped with 2 rows to go" in error and "429" in error and "longer --pause" in error


def test_several_jobs_write_what_one_writes(site: Site) -> None:
    rows = table(
        *(
            f"{site.address(name)},{start},{start + 1},0.5,0.5"
            for name in ("one.mp4", "two.mp4", "gone.mp4")
            for start in (0, 1, 2)
        )
    )
    assert download(rows, "--audio-only", "--jobs", "3") == 1
    assert len(files()) == 6 and len(failures()) == 3
    assert len(read_recordings("clips")) == 6


def test_downloads_begin_no_faster_than_the_pause(site: Site) -> None:
    rows = table(
        *(f"{site.address(name)},1,2,0.5,0.5" for name in ("gone-1.mp4", "gone-2.mp4", "gone-3.mp4"))
    )
    download(rows, "--jobs", "3", pause=0.7)
    assert np.diff(sorted(site.times)).max() > 0.5
    assert max(site.times) - min(site.times) > 1.3


def test_audioset_is_read_with_its_comments_and_labels(site: Site) -> None:
    rows = table(
        "# Segments csv created Sun Mar  5 10:54:31 2017",
        "# num_ytids=1, num_segs=1",
        "# YTID, start_seconds, end_seconds, positive_labels",
        f'{site.address("one.mp4")}, 1.000, 3.000, "/m/09x0r,/t/dd00088"',
        name="eval_segments.csv",
    )
    assert download(rows, "--audio-only") == 0
    (clip,) = read_recordings("clips")
    assert (clip.speaker, clip.corpus, clip.split) == ("/m/09x0r,/t/dd00088", "AudioSet", "test")
    assert soundfile.info(clip.path).duration == 2.0


def test_what_was_downloaded_is_a_corpus_whose_speakers_are_the_videos(site: Site) -> None:
    rows = table(*(f"{site.address(name)},1,2,0.5,0.5" for name in ("one.mp4", "one.mp4", "two.mp4")))
    assert download(rows) == 0
    found = read_recordings("clips")
    assert [clip.speaker[:4] for clip in found] == ["one-", "two-"]
    assert {(clip.corpus, clip.split) for clip in found} == {("AVSpeech", "train")}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("abcdefghijk,1,2", "3 columns"),
        ("abcdefghijk,1,2,3,4,5", "6 columns"),
        ("abc,1,2,0.5,0.5", "'abc' is no YouTube id"),
        ("ftp://x/y.mp4,1,2,0.5,0.5", "is no YouTube id"),
        ("abcdefghijk,two,2,0.5,0.5", "no passage from 'two' to '2'"),
        ("abcdefghijk,3,2,0.5,0.5", "no passage from '3' to '2'"),
        ("abcdefghijk,1,inf,0.5,0.5", "no passage from '1' to 'inf'"),
        ("abcdefghijk,1,2,left,0.5", "the face is at 'left', '0.5'"),
        ("abcdefghijk,1,2,", "no labels"),
    ],
)
def test_a_malformed_line_is_one_error_that_names_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, line: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = table("# a comment", "abcdefghijk,1,2,0.5,0.5", line)
    assert download(rows) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "avspeech_train.csv, line 3: " in error and problem in error
    assert not Path("clips").exists()


def test_a_table_that_is_not_there_or_empty_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "nowhere.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match="no rows from 0 on"):
        read_rows(tmp_path / "empty.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a CSV"):
        read_rows(tmp_path / "binary.csv")


def test_a_range_of_rows_is_like_python_s() -> None:
    assert [parse_range(text) for text in (None, "2:5", "2:", ":5")] == [(0, None), (2, 5), (2, None), (0, 5)]
    for text in ("5", "5:5", "-1:2", "a:b", ""):
        with pytest.raises(UsageError, match="first:stop"):
            parse_range(text)


def test_an_id_is_a_video_of_youtube(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("-bcdefghijk,1,2.5,0.25,0.5\n")
    (row,) = read_rows(tmp_path / "table.csv")
    assert row.address == "https://www.youtube.com/watch?v=-bcdefghijk"
    assert (row.video, row.clip) == ("-bcdefghijk", "1.000-2.500-x0.250-y0.500")


def test_picture_and_sound_are_taken_apart_where_that_is_better() -> None:
    sound = {"format_id": "a", "vcodec": "none", "acodec": "opus"}
    small, large, larger = (
        {"format_id": str(h), "vcodec": "h264", "acodec": "none", "height": h} for h in (360, 720, 1080)
    )
    both = {"format_id": "b", "vcodec": "h264", "acodec": "aac", "height": 360}
    unknown = {"format_id": "0"}

    def chosen(formats: list[dict[str, Any]], height: int | None) -> list[str]:
        return [each["format_id"] for each in _choose(formats, height)]

    assert chosen([sound, small, both, large, larger], 720) == ["720", "a"]
    assert chosen([both, larger, sound], 720) == ["b"]
    assert chosen([both, sound], 720) == ["b"]
    assert chosen([sound, both], None) == ["a"]
    assert chosen([unknown], 720) == chosen([unknown], None) == ["0"]
    assert chosen([sound], 720) == []


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_an_interrupted_run_leaves_nothing_half_written_and_goes_on(site: Site) -> None:
    rows = table(*(f"{site.address(name)},1,2,0.5,0.5" for name in ("one.mp4", "two.mp4")))
    site.delay_s = 3.0
    command = ["avspeech", "download", rows, "--out", "clips", "--pause", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "unmingle", *command], stderr=subprocess.PIPE, text=True
    )
    while not list(Path().glob("clips/.download-*/*")) and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (
        130,
        "unmingle: interrupted; nothing half-written was left behind\n",
    )
    assert files() == [] and not list(Path("clips").glob(".*"))
    assert not Path("clips/failures.csv").exists()
    site.delay_s = 0.0
    assert download(rows) == 0
    assert len(files()) == 2


def test_without_yt_dlp_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "import sys; sys.modules['yt_dlp'] = None; from unmingle.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "avspeech", "download", table("abcdefghijk,1,2,0.5,0.5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "unmingle: downloading needs yt-dlp: pip install 'unmingle[avspeech]'\n"
