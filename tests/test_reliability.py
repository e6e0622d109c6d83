"""Small versions of the benchmarks that fuzz, soak and visit, and a test for each defect that they found."""

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import encode, sweep
from starlette.exceptions import HTTPException
from test_bad_input import outcome, write_wav
from web_server import Limits, Visitor, voices
from web_server import Server as ThreadedServer

import unmingle
from unmingle.errors import InputError
from unmingle.media.audio import open_audio
from unmingle.media.recording import LOUDEST
from unmingle.media.video import VideoReader
from unmingle.media.writer import FORMATS, AudioWriter
from unmingle.web.errors import RETRY_S
from unmingle.web.files import file_response, zipped

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import fuzz
import fuzz_checks
import fuzz_mutations
import soak
import visitors

resource = pytest.importorskip("resource")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return fuzz.make_seeds(tmp_path_factory.mktemp("seeds"))


def test_damaged_files_are_read_or_refused_and_leave_nothing(seeds: dict[str, bytes], tmp_path: Path) -> None:
    found = [
        fuzz_checks.check(fuzz_mutations.mutate(seeds, 1, index), index, tmp_path)
        for index in range(len(seeds) + 16)
    ]
    assert [fuzz.describe(each, seeds, 1) for each in found if each.wrong] == []


def test_the_same_numbers_give_the_same_damaged_file(seeds: dict[str, bytes], tmp_path: Path) -> None:
    again = fuzz.make_seeds(tmp_path)
    assert [fuzz_mutations.mutate(seeds, 2, k) for k in range(50)] == [
        fuzz_mutations.mutate(again, 2, k) for k in range(50)
    ]


def test_a_process_that_dies_is_counted_and_replaced(seeds: dict[str, bytes], tmp_path: Path) -> None:
    (worker := fuzz.Worker({}, 0, tmp_path / "worker")).give(0)  # without seeds there is nothing to damage
    with pytest.raises(EOFError):
        worker.pipe.recv()
    assert worker.end() == 1


def test_many_files_in_one_process_leave_no_file_open_and_no_thread(tmp_path: Path) -> None:
    looks = soak.many(20, tmp_path, model="conv-tasnet", speakers=2)
    assert [(each.n_files, each.n_threads) for each in looks[-4:]] == [looks[-5][1:3]] * 4


def test_a_day_is_as_long_when_it_is_separated(tmp_path: Path) -> None:
    _, result = soak.day(0.003, None, tmp_path, "--model", "conv-tasnet", "--speakers", "2")
    assert (result["whole"], result["left"]) == (True, [])


def test_visitors_at_once_get_what_is_theirs_and_leave_nothing(tmp_path: Path) -> None:
    come = visitors.visit(10, tmp_path, max_waiting=20)
    assert (come.visit.faults, come.left, come.log, come.visit.served) == ([], [], "", 10)


# --- What fuzzing found


def test_samples_beyond_all_levels_are_refused_where_they_are(tmp_path: Path) -> None:
    loud = np.where(np.arange(8000) == 4000, 1e38, 0.1)
    with (
        pytest.raises(InputError, match=r"holds samples beyond 1e\+10 times full scale at 0\.500 s; export"),
        open_audio(write_wav(tmp_path / "loud.wav", loud)) as reader,
    ):
        list(reader.blocks(1000))


def test_an_array_beyond_all_levels_is_refused() -> None:
    with pytest.raises(InputError, match=r"values beyond 1e\+10, where full scale is 1"):
        unmingle.separate(np.full(8000, 1e20), 8000)


def test_samples_of_any_level_that_is_let_in_are_separated_and_encoded(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "loud.wav", LOUDEST * sweep(1, 8000)[0])
    with np.errstate(all="raise", under="ignore"):
        result = unmingle.separate_file(path, tmp_path / "out", speakers=2, model="conv-tasnet", format="mp3")
    with open_audio(result.outputs[0]) as reader:
        assert sum(block.shape[1] for block in reader.blocks(8000)) == 8000


@pytest.mark.parametrize("format", FORMATS)
def test_no_numbers_are_an_error_before_an_encoder_gets_them(format: str, tmp_path: Path) -> None:
    samples = np.full((1, 8000), np.nan, np.float32)
    with (  # LAME would end this process
        pytest.raises(InputError, match="NaN or infinite samples cannot be written"),
        AudioWriter(tmp_path / f"a.{format}", sample_rate=8000, format=format) as writer,
    ):
        writer.write(samples)


def test_a_file_that_leads_to_a_place_before_its_beginning_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = encode(tmp_path / "a.caf", sweep(0.2, 16_000), 16_000, "pcm_s16be")
    outcome(path, path.read_bytes() + b"junk" + (2**64 - 10**6).to_bytes(8, "big") + bytes(200))
    assert capfd.readouterr() == ("", "")


def test_a_rate_of_a_picture_in_years_is_not_believed(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.avi", sweep(0.4, 16_000), 16_000, "pcm_s16le", video=True)
    data = bytearray(path.read_bytes())
    scale = data.index(b"vids") + 20  # of the picture's clock: so many are a 25th of a second
    data[scale : scale + 4] = (2**30).to_bytes(4, "little")
    path.write_bytes(data)
    with VideoReader(path) as reader:
        assert sum(1 for _ in itertools.islice(reader.pictures(), 1000)) == 10


# --- What visitors found


def test_an_archive_is_whole_even_if_its_files_are_removed_meanwhile(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a.wav", "b.wav")}
    for path in files.values():
        path.write_bytes(bytes(3_000_000))
    pieces = zipped(files)
    taken = next(pieces)
    for path in files.values():
        path.unlink()
    (tmp_path / "all.zip").write_bytes(taken + b"".join(pieces))
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-t", tmp_path / "all.zip"], capture_output=True, text=True
    )
    assert listed.stdout == "Done testing\n"


def test_a_file_that_is_removed_before_it_is_opened_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(bytes(1000))
    answer, sent = file_response(tmp_path / "a.wav", None), []
    (tmp_path / "a.wav").unlink()

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(HTTPException) as refused:
        asyncio.run(answer({"type": "http", "method": "GET", "headers": []}, receive, send))
    assert (refused.value.status_code, sent) == (404, [])


def test_who_is_refused_for_now_is_told_when_to_come_back() -> None:
    with ThreadedServer(Limits(n_waiting=0, n_jobs=1)) as server:
        visitor = Visitor(server)
        ids = [visitor.upload(voices(30))["id"] for _ in range(2)]
        assert visitor.start(ids[0])[0] == 202
        status, headers, _ = visitor.ask("POST", f"/recordings/{ids[1]}/job", b"{}")
        assert (status, headers["retry-after"]) == (503, str(RETRY_S))


def test_a_file_that_the_disk_does_not_take_is_refused_for_now() -> None:
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    with tempfile.TemporaryDirectory() as folder:
        server = visitors.Server(Path(folder), before=little_room)
        with server:
            visitor = Visitor(server)  # type: ignore[arg-type]  # of which it takes the port
            said = visitor.upload(bytes(2_000_000))
            left = server.files()
    assert (said["status"], json.dumps(said["error"])[:30], left) == (
        503,
        "\"the server's disk has no room",
        [],
    )
