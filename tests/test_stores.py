"""Recordings and results that are not on this machine: S3 (on 127.0.0.1), a web server."""

import io
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow.parquet as pq
import pytest
import s3fs
import soundfile
from stores import s3, s3_server
from test_many import MODEL, record, run

from unmingle.batch import Batch
from unmingle.batch.places import files_below
from unmingle.batch.worker import publish
from unmingle.cli import main
from unmingle.errors import InputError

__all__ = ["s3", "s3_server"]


def put(store: Any, path: Path, *addresses: str) -> None:
    for address in addresses:
        store.put_file(str(record(path)), address)


def test_a_prefix_goes_in_and_results_and_manifest_come_out(
    s3: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(s3, tmp_path / "talk.wav", "calls/2026/01/talk.wav", "calls/2026/02/talk.wav")
    s3.pipe_file("calls/2026/01/notes.txt", b"no recording")
    s3.pipe_file("calls/2026/02/bad.wav", b"no sound")
    assert main(["separate", "s3://calls/2026/", "--out", "s3://voices/", "--model", MODEL]) == 1
    printed = capsys.readouterr()
    assert printed.out == "s3://voices/manifest.parquet\n"
    assert "s3://calls/2026/02/bad.wav: not a readable audio" in printed.err
    names = [f"{month}/talk/speaker-{k}.wav" for month in ("01", "02") for k in (1, 2)]
    assert sorted(s3.find("voices")) == [*(f"voices/{name}" for name in names), "voices/manifest.parquet"]
    sound, rate = soundfile.read(io.BytesIO(s3.cat_file("voices/01/talk/speaker-1.wav")))
    rows = {row["folder"]: row for row in pq.read_table("voices/manifest.parquet", filesystem=s3).to_pylist()}
    assert (len(sound), rate) == (rows["01/talk"]["n_samples"], rows["01/talk"]["sample_rate"])
    assert rows["02/bad"]["status"] == "failed"


def test_what_a_store_has_half_is_made_again(s3: Any, tmp_path: Path) -> None:
    """A run was killed while it uploaded: there are files, and no row says that they are done."""
    put(s3, tmp_path / "talk.wav", "calls/talk.wav")
    with Batch(["s3://calls"], "s3://voices", model=MODEL):
        s3.pipe_file("voices/talk/speaker-1.wav", b"half")
        s3.pipe_file("voices/talk/speaker-3.wav", b"of another person")
    (row,) = run(["s3://calls"], "s3://voices")
    assert row.status == "done" and files_below("s3://voices/talk") == row.outputs
    assert s3.size("voices/talk/speaker-1.wav") > 1_000


def test_what_a_store_has_of_others_is_not_replaced(s3: Any, tmp_path: Path) -> None:
    put(s3, tmp_path / "talk.wav", "calls/talk.wav")
    s3.pipe_file("voices/talk/speaker-1.wav", b"theirs")
    (row,) = run(["s3://calls"], "s3://voices")
    assert "results are there already" in (row.error or "")
    assert s3.cat_file("voices/talk/speaker-1.wav") == b"theirs"


@pytest.mark.slow
def test_a_second_run_into_the_same_bucket_is_refused(s3: Any, tmp_path: Path) -> None:
    put(s3, tmp_path / "talk.wav", "calls/talk.wav")
    with (
        Batch(["s3://calls"], "s3://voices", model=MODEL),
        pytest.raises(InputError, match="another run"),
        Batch(["s3://calls"], "s3://voices", model=MODEL),
    ):
        pass


@pytest.mark.parametrize(
    ("unset", "message"),
    [
        (False, r'reached \(EndpointConnectionError: [^:]+: "127.0.0.1:9"\); check the network and'),
        (True, r"reached \(NoCredentialsError: [^()]+\); set the credentials in the environment"),
    ],
)
def test_what_s3_lacks_is_said_in_a_line(
    unset: bool, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False) if unset else monkeypatch.setenv(name, "testing")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=message):
        files_below("s3://voices")
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a folder of two recordings; what follows a `?` is not to be had at first."""
    refused = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if "?" in self.path and not refused:
                refused.append(self.path)
                return self.send_error(503)
            return super().do_GET()

    for name in ("one.wav", "more/two.wav"):
        record(tmp_path / "web" / name)
    handler = partial(Handler, directory=str(tmp_path / "web"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_folder_of_a_web_server_is_walked(web: str, tmp_path: Path) -> None:
    rows = run([f"{web}/"], tmp_path / "out")
    assert {(row.input, row.folder) for row in rows} == {
        (f"{web}/one.wav", "one"),
        (f"{web}/more/two.wav", "more/two"),
    }
    assert {row.status for row in rows} == {"done"}


def test_what_a_network_refuses_once_is_tried_again(web: str, tmp_path: Path) -> None:
    (row,) = run([f"{web}/one.wav?signed"], tmp_path / "out")
    assert (row.status, row.attempts) == ("done", 2)


def test_a_missing_address_is_a_row(web: str, tmp_path: Path) -> None:
    (row,) = run([f"{web}/three.wav"], tmp_path / "out")
    assert row.error == "nothing is there; check bucket and path" and row.attempts == 1


def test_files_are_published_under_their_names(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "speaker-1.wav").write_bytes(b"one")
    publish(tmp_path, "s3://voices/a/talk")
    assert files_below("s3://voices") == ["s3://voices/a/talk/speaker-1.wav"]


@pytest.mark.parametrize(
    ("source", "out"), [("s3://nowhere/", "s3://voices/"), ("s3://calls/", "s3://nowhere/x")]
)
def test_a_bucket_that_is_none_is_one_line(
    source: str, out: str, s3: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(s3, tmp_path / "talk.wav", "calls/talk.wav")
    assert main(["separate", source, "--out", out]) == 1
    text = capsys.readouterr().err
    assert "s3://nowhere" in text and len(text.splitlines()) == 1
