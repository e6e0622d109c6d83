"""Outputs that cannot be written: refused in one line, and nothing half-written."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import sweep

from unmingle.errors import InputError
from unmingle.inference.files import separate_file
from unmingle.media.writer import FORMATS, AudioWriter
from unmingle.results.folders import OutputFolder

RATE = 48_000


def write_talk(target: Path, overwrite: bool = False, format: str = "wav", n_blocks: int = 10) -> None:
    with (
        OutputFolder(target, overwrite) as folder,
        AudioWriter(folder / f"speaker-1.{format}", sample_rate=RATE, format=format) as writer,
    ):
        for _ in range(n_blocks):
            writer.write(np.random.default_rng(0).uniform(-0.5, 0.5, (1, RATE // 10)).astype(np.float32))


def all_paths(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "talk").write_text("mine")
    with pytest.raises(
        InputError, match=f"^{re.escape(str(tmp_path / 'talk'))}: a file, not a folder; choose another"
    ):
        write_talk(tmp_path / "talk")
    assert (tmp_path / "talk").read_text() == "mine" and len(all_paths(tmp_path)) == 1


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path / 'file'))}: a file, not a folder"):
        write_talk(tmp_path / "file" / "deep" / "talk")
    assert len(all_paths(tmp_path)) == 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where not even root may write")
def test_an_output_where_nobody_may_write_is_refused():
    with pytest.raises(
        InputError, match=r"^/proc/unmingle/talk: cannot be written \(.*\); choose another output folder$"
    ):
        write_talk(Path("/proc/unmingle/talk"))


def test_an_output_below_a_folder_without_permission_is_refused(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("this user may write everywhere")
    for target in (tmp_path / "locked", tmp_path / "locked" / "talk"):
        with pytest.raises(InputError, match="cannot be written"):
            write_talk(target)


@pytest.mark.parametrize("name", ["speaker-2.wav", "speaker-1.mp3", "rest.flac", "spectrogram.png"])
def test_existing_results_are_refused_before_anything_is_done(tmp_path, name):
    (tmp_path / name).write_text("old")
    with (
        pytest.raises(
            InputError, match=f"{name}: exists already; choose another output folder, or overwrite it"
        ),
        OutputFolder(tmp_path),
    ):
        pytest.fail("the folder was entered")
    assert [path.read_text() for path in all_paths(tmp_path)] == ["old"]


def test_earlier_results_are_refused_before_the_recording_is_listened_to(tmp_path):
    recording = Path(__file__).parents[1] / "examples/conversation.flac"
    (tmp_path / "conversation").mkdir()
    (tmp_path / "conversation/labels.txt").write_text("old")
    with pytest.raises(InputError, match="exists already"):
        separate_file(recording, out=tmp_path, progress=lambda *_: pytest.fail("it was listened to"))
    with pytest.raises(InputError, match="exists already"):
        separate_file(recording, out=tmp_path, progress=lambda *_: pytest.fail("read"), mics="all")


def test_results_that_appear_meanwhile_are_not_overwritten(tmp_path):
    with pytest.raises(InputError, match="exists already"), OutputFolder(tmp_path / "talk") as folder:
        (folder / "speaker-1.wav").write_text("new")
        (tmp_path / "talk").mkdir()
        (tmp_path / "talk" / "speaker-1.wav").write_text("old")
    assert (tmp_path / "talk" / "speaker-1.wav").read_text() == "old" and len(all_paths(tmp_path)) == 2


def test_an_output_name_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_talk(tmp_path / ("a" * 300))
    assert not all_paths(tmp_path)


FULL_DISK = """
import resource, sys
from pathlib import Path
from test_output import write_talk
from unmingle.errors import InputError
target, format, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    write_talk(target, overwrite=True, format=format)
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
@pytest.mark.parametrize("format", FORMATS)
def test_a_disk_that_fills_up_leaves_the_earlier_run_and_nothing_half_written(tmp_path, format):
    write_talk(tmp_path / "whole", format=format)
    size = (tmp_path / "whole" / f"speaker-1.{format}").stat().st_size
    target = tmp_path / "talk"
    target.mkdir()
    (target / "speaker-1.wav").write_text("old")
    command = [sys.executable, "-c", FULL_DISK, str(target), format, str(size - 1)]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert re.fullmatch(
        rf"{re.escape(str(target))}/speaker-1\.{format}: no room to write it \(File too large\); free some "
        rf".*\n",
        done.stdout,
    ), done
    assert [path.name for path in target.iterdir()] == ["speaker-1.wav"] and (
        target / "speaker-1.wav"
    ).read_text() == "old"
    assert not list(tmp_path.glob(".*")) and done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("format", FORMATS)
def test_a_device_without_space_is_reported_by_the_writer(format):
    with (
        pytest.raises(OSError, match="No space left") as caught,
        AudioWriter("/dev/full", sample_rate=RATE, format=format) as writer,
    ):
        writer.write(sweep(3, RATE))
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == "/dev/full"
