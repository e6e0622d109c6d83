"""Many recordings in a pool of processes: the manifest, resuming, what dies on the way."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from conftest import sweep

from unmingle.batch import Batch
from unmingle.batch.manifest import CLAIM, Row, schema
from unmingle.cli import main
from unmingle.errors import InputError, UsageError

MODEL = "duet"


def record(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sweep(seconds, 8_000)[0], 8_000)
    return path


def run(inputs: list[Any], out: Any, **options: Any) -> list[Row]:
    with Batch(inputs, out, **{"model": MODEL, **options}) as batch:
        return list(batch)


def manifest(out: Path) -> dict[str, dict[str, Any]]:
    """Rows of the table as others read it, by folder."""
    return {row["folder"]: row for row in pq.read_table(out / "manifest.parquet").to_pylist()}


def leftovers(out: Path) -> list[Path]:
    return [path for path in out.rglob(".*") if path.name.startswith(".unmingle")]


class Killer(Thread):
    """Kills, once, a worker that is at a recording: its folder in the workshop says which process it is.

    Attributes:
        killed: the process; None if there was none.
    """

    def __init__(self, out: Path) -> None:
        super().__init__()
        self._out = out
        self.killed: int | None = None
        self.start()

    def run(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.killed is None:
            for folder in self._out.glob(f".unmingle-run-*/{socket.gethostname()}-*"):
                pid = int(folder.name.rpartition("-")[2])
                os.kill(pid, signal.SIGKILL)
                self.killed = pid
                break
            time.sleep(0.005)


def all_done_once(rows: list[Row], out: Path, names: set[str]) -> None:
    """Nothing is lost and nothing twice: a row for each, and its files, whole, and nothing else."""
    assert sorted(row.folder for row in rows) == sorted(names)
    assert {folder: row["status"] for folder, row in manifest(out).items()} == dict.fromkeys(names, "done")
    files = set(out.rglob("*.wav"))
    assert files == {out / name / f"speaker-{k}.wav" for name in names for k in (1, 2)}
    assert {soundfile.info(path).frames for path in files} == {rows[0].n_samples}
    assert leftovers(out) == []


def test_recordings_keep_the_folders_in_which_they_lie(tmp_path: Path) -> None:
    for name in ("a/talk.wav", "b/talk.wav", "b/talk.flac", "b/notes.txt"):
        record(tmp_path / "in" / name) if name[-3:] != "txt" else (tmp_path / "in" / name).write_text("")
    rows = run([tmp_path / "in"], tmp_path / "out")
    all_done_once(rows, tmp_path / "out", {"a/talk", "b/talk", "b/talk-2"})


def test_a_bad_file_is_a_row_and_the_others_are_done(tmp_path: Path) -> None:
    record(tmp_path / "in/good.wav")
    (tmp_path / "in/bad.wav").write_text("no sound")
    run([tmp_path / "in"], tmp_path / "out")
    rows = manifest(tmp_path / "out")
    assert (rows["good"]["status"], rows["good"]["error"]) == ("done", None)
    assert rows["bad"]["status"] == "failed" and rows["bad"]["error"].startswith("not a readable audio")


def test_what_is_done_is_skipped_and_what_failed_is_tried_again(tmp_path: Path) -> None:
    record(tmp_path / "in/good.wav")
    (tmp_path / "in/bad.wav").write_text("no sound")
    run([tmp_path / "in"], tmp_path / "out")
    before = manifest(tmp_path / "out")["good"]
    record(tmp_path / "in/bad.wav")
    assert [row.folder for row in run([tmp_path / "in"], tmp_path / "out")] == ["bad"]
    assert manifest(tmp_path / "out")["good"] == before


def test_a_worker_that_is_killed_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    names = {f"talk-{k}" for k in range(4)}
    for name in names:
        record(tmp_path / f"in/{name}.wav", 2)
    out = tmp_path / "out"
    killer = Killer(out)
    rows = run([tmp_path / "in"], out, workers=2)
    killer.join()
    all_done_once(rows, out, names)
    assert sorted(row.attempts for row in rows) == [1, 1, 1, 2]


def test_a_recording_over_which_workers_die_is_given_up(tmp_path: Path) -> None:
    record(tmp_path / "in/talk.wav", 2)
    killer = Killer(tmp_path / "out")
    (row,) = run([tmp_path / "in"], tmp_path / "out", retries=0)
    killer.join()
    assert row.status == "failed" and "SIGKILL" in (row.error or "")


def command(tmp_path: Path) -> list[str]:
    arguments = ["separate", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--model", MODEL]
    return [sys.executable, "-m", "unmingle", *arguments, "--workers", "1"]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_run_that_is_stopped_goes_on_where_it_was(tmp_path: Path, number: signal.Signals) -> None:
    names = {f"talk-{k}" for k in range(4)}
    for name in names:
        record(tmp_path / f"in/{name}.wav", 15 if name == "talk-3" else 2)  # long enough to be stopped in
    out = tmp_path / "out"
    process = subprocess.Popen(command(tmp_path), stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not any(out.glob("talk-*/speaker-2.wav")):
        time.sleep(0.005)
    time.sleep(0.3)
    process.send_signal(number)
    _, said = process.communicate()
    assert leftovers(out) == [] or number == signal.SIGKILL
    before = {folder: row for folder, row in manifest(out).items() if row["status"] == "done"}
    line = f"unmingle: {len(before)} of 4 are done; the same command goes on with the others\n"
    assert line in said or number == signal.SIGKILL
    rows = run([tmp_path / "in"], out)
    assert {row.folder for row in rows} == names - set(before)
    assert {folder: manifest(out)[folder] for folder in before} == before
    assert {path.parent.name for path in out.rglob("speaker-2.wav")} == names


def test_too_many_failures_stop_the_run_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(6):
        (tmp_path / f"bad-{k}.wav").write_text("no sound")
    arguments = [str(tmp_path), "--out", str(tmp_path / "out"), "--model", MODEL, "--max-failures", "1"]
    assert main(["separate", *arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "stopped, because 2 failed, more than the 1 allowed" in lines[-2]
    assert lines[-1] == "unmingle: 0 done, 2 failed"


def test_results_that_no_run_made_are_not_replaced(tmp_path: Path) -> None:
    record(tmp_path / "in/talk.wav")
    theirs = record(tmp_path / "out/talk/speaker-1.wav", 0.1)
    before = theirs.read_bytes()
    for _ in range(2):  # nor by the next attempt
        (row,) = run([tmp_path / "in"], tmp_path / "out")
        assert "results are there already" in (row.error or "") and theirs.read_bytes() == before
    (row,) = run([tmp_path / "in"], tmp_path / "out", overwrite=True)
    assert row.error is None and theirs.read_bytes() != before


def test_a_second_run_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "in/talk.wav")
    with (
        Batch([tmp_path / "in"], tmp_path / "out", model=MODEL),
        pytest.raises(InputError, match=r"another run .* is writing it"),
        Batch([tmp_path / "in"], tmp_path / "out", model=MODEL),
    ):
        pass
    assert not (tmp_path / "out" / CLAIM).exists()


def test_other_options_than_those_of_the_manifest_are_refused(tmp_path: Path) -> None:
    record(tmp_path / "in/talk.wav")
    run([tmp_path / "in"], tmp_path / "out")
    with pytest.raises(InputError, match="format: wav, now flac"):
        run([tmp_path / "in"], tmp_path / "out", format="flac")


def test_a_manifest_without_results_is_no_obstacle_to_other_options(tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_text("no sound")
    run([tmp_path / "talk.wav"], tmp_path / "out")
    record(tmp_path / "talk.wav")
    (row,) = run([tmp_path / "talk.wav"], tmp_path / "out", format="flac")
    assert row.status == "done"


def test_a_pattern_and_a_folder_name_each_recording_once(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        record(tmp_path / "in" / name)
    batch = Batch([str(tmp_path / "in/*.wav"), str(tmp_path / "in")], tmp_path / "out")
    assert [item.input for item in batch._found] == [str(tmp_path / f"in/{name}.wav") for name in "ab"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere/", "--workers", "1"], "no such file or folder"),
        (["-", "--workers", "1"], "- is one recording"),
        (["talk.wav", "--engine", "spark"], "choose from pool, ray"),
        (["talk.wav", "--out", "https://x.invalid/"], "cannot be written to"),
        (["what://calls/"], "give a path, s3://"),
    ],
)
def test_a_wrong_argument_is_one_line_and_nothing_is_made(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "talk.wav")
    assert main(["separate", *arguments]) in (1, 2)
    text = capsys.readouterr().err
    assert message in text and len(text.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["talk.wav"]


@pytest.mark.parametrize(
    ("package", "extra", "engine"), [("pyarrow", "batch", "pool"), ("ray", "cluster", "ray")]
)
def test_a_missing_package_is_one_line_and_nothing_is_made(
    package: str, extra: str, engine: str, tmp_path: Path
) -> None:
    record(tmp_path / "in/talk.wav")
    arguments = ["separate", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--engine", engine]
    hidden = f"import sys; sys.modules[{package!r}] = None"  # as if it were not installed
    code = f"{hidden}; from unmingle.cli import main; sys.exit(main({arguments}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"pip install 'unmingle[{extra}]'" in done.stderr and not (tmp_path / "out").exists()


def test_the_documented_columns_are_those_of_the_manifest() -> None:
    text = (Path(__file__).parents[1] / "docs/batch.md").read_text(encoding="utf-8")
    assert [name for name in schema().names if f"| `{name}` |" not in text] == []


def test_enhancing_many_has_a_manifest_too(tmp_path: Path) -> None:
    record(tmp_path / "in/talk.wav")
    (row,) = run([tmp_path / "in"], tmp_path / "out", task="enhance", model=None)
    assert row.outputs == [str(tmp_path / "out/talk/voice.wav")]
    assert np.isfinite(soundfile.read(row.outputs[0])[0]).all()


def test_a_task_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose from separate, enhance"):
        Batch([tmp_path], tmp_path / "out", task="transcribe")
