"""The web page's addresses, called as any program may call them, and the noises that it adds."""

import http.client
import io
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import encode
from test_cli import WITHOUT_EXTRAS
from web_server import ROOT, Server, Visitor, long_noise, until, voices

from unmingle.cli import main
from unmingle.errors import InputError, UsageError
from unmingle.media.audio import open_audio
from unmingle.web.noises import KINDS, Noise, make_noise, noise_gain, write_mixture
from unmingle.web.uploads import PER_VISITOR, Limits
from unmingle.web.waveforms import N_PEAKS, peaks


def test_twenty_visitors_at_once_get_their_own_results_and_nobody_elses(server: Server) -> None:
    def visit(number: int) -> tuple[Visitor, str, int]:
        visitor = Visitor(server)
        id, job = visitor.separate(voices(0.5 + number / 100), format="wav")
        assert job["state"] == "done", job
        sound = visitor.ask("GET", f"/recordings/{id}/files/speaker-1.wav")[2]
        return visitor, id, soundfile.info(io.BytesIO(sound)).frames

    with ThreadPoolExecutor(20) as pool:
        came = list(pool.map(visit, range(20)))
    assert [n_samples for _, _, n_samples in came] == [8_000 + 160 * number for number in range(20)]
    for (visitor, _, _), (_, others, _) in zip(came, came[1:] + came[:1], strict=True):
        for path in ("input", "job", "all.zip", "files/speaker-1.wav", "files/spectrogram.png"):
            assert visitor.ask("GET", f"/recordings/{others}/{path}")[0] == 404
        assert visitor.ask("DELETE", f"/recordings/{others}")[0] == 404
        assert visitor.ask("DELETE", f"/recordings/{others}/job")[0] == 404
        assert visitor.start(others)[0] == 404
    for visitor, id, _ in came:
        assert visitor.ask("GET", f"/recordings/{id}/job")[0] == 200
        assert visitor.ask("DELETE", f"/recordings/{id}")[0] == 204
        assert visitor.ask("GET", f"/recordings/{id}/input")[0] == 404


def test_addresses_and_cookies_cannot_be_guessed_and_lead_to_nothing_else(server: Server) -> None:
    visitor = Visitor(server)
    id, _ = visitor.separate(voices(0.5))
    assert len(id) >= 32
    assert len(visitor.cookie.partition("=")[2]) >= 43
    for path in (
        "files/..%2Fupload.wav",
        "files/../upload.wav",
        "files/%2Fetc%2Fpasswd",
        "files/mixture.wav",
    ):
        assert visitor.ask("GET", f"/recordings/{id}/{path}")[0] == 404
    visitor.cookie = ""
    assert visitor.ask("GET", f"/recordings/{id}/input")[0] == 403


def test_answers_keep_to_themselves(server: Server) -> None:
    visitor = Visitor(server)
    status, headers, _ = visitor.ask("GET", "/", Cookie="")
    assert status == 200
    assert {"HttpOnly", "SameSite=strict"} <= set(headers["set-cookie"].split("; "))
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert visitor.ask("POST", "/recordings/example", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    _, headers, _ = visitor.ask("GET", f"/recordings/{visitor.upload(voices(0.5), 'evil.html')['id']}/input")
    assert headers["content-type"] == "application/octet-stream"  # never a page, whatever was uploaded


def test_the_style_of_wavesurfer_is_let_in_by_a_nonce_of_its_own_for_each_answer(server: Server) -> None:
    visitor = Visitor(server)
    policies = [visitor.ask("GET", "/")[1]["content-security-policy"] for _ in range(2)]
    nonces = [re.findall(r"style-src 'self' 'nonce-([\w-]{20,})'", policy) for policy in policies]
    assert nonces[0] != nonces[1]


def test_a_job_that_is_done_tells_the_waveforms_of_all_that_is_heard(server: Server) -> None:
    _, job = Visitor(server).separate(voices(0.5), format="wav", speakers=2)
    lengths = {name: len(found) for name, found in job["peaks"].items()}
    assert lengths == dict.fromkeys(("input", "speaker-1.wav", "speaker-2.wav"), N_PEAKS)


@pytest.mark.parametrize("n_samples", [1, 999, 8_000, 700_001])
def test_peaks_are_the_largest_magnitudes_of_equal_spans(n_samples: int, tmp_path: Path) -> None:
    samples = np.random.default_rng(n_samples).uniform(-1, 1, (n_samples, 2)).astype(np.float32)
    soundfile.write(tmp_path / "talk.wav", samples, 8_000, subtype="FLOAT")
    found = peaks(tmp_path / "talk.wav", n_samples / 8_000, lambda *_: None)
    n = min(N_PEAKS, n_samples)
    spans = np.arange(n_samples) * n // n_samples
    expected = [np.abs(samples[spans == k]).max() for k in range(n)]
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_range_of_a_file_can_be_asked_for(server: Server) -> None:
    visitor = Visitor(server)
    content = voices(0.5)
    id = visitor.upload(content)["id"]
    status, _, piece = visitor.ask("GET", f"/recordings/{id}/input", Range="bytes=100-199")
    assert (status, piece) == (206, content[100:200])


def test_limits_of_size_and_duration_are_said() -> None:
    too_large = (
        "large.wav: larger than 8 MB, which is the limit here; choose a shorter recording, or save it as MP3 "
        "first"
    )
    too_long = (
        "long.flac: longer than 30 minutes, which is the limit here; cut it into parts, or use the command "
        "line"
    )
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(1801 * 8_000, np.int16), 8_000, format="FLAC")
    with Server(Limits(max_bytes=8_000_000, max_s=1800)) as server:
        visitor = Visitor(server)
        assert visitor.upload(bytes(8_100_000), "large.wav") == {"status": 422, "error": too_large}
        assert visitor.upload(silence.getvalue(), "long.flac") == {"status": 422, "error": too_long}
        assert not server.files()


def test_what_tells_no_duration_is_stopped_when_it_gets_too_long(tmp_path: Path) -> None:
    samples = np.zeros((1, 5 * 16_000), np.float32)
    path = encode(tmp_path / "live.webm", samples, 16_000, "libopus", container="webm", live="1")
    with Server(Limits(max_s=2)) as strict:
        visitor = Visitor(strict)
        said = visitor.upload(path.read_bytes(), "live.webm")
        assert (said["status"], said["duration_s"]) == (201, None)
        assert visitor.start(said["id"]) == (202, {})
        job = visitor.wait(said["id"])
        assert (job["state"], job["error"][:34]) == ("failed", "live.webm: longer than 0.0333 minu")


def test_a_visitor_has_a_few_recordings_at_most(server: Server) -> None:
    visitor = Visitor(server)
    ids = [visitor.upload(voices(0.5))["id"] for _ in range(PER_VISITOR)]
    said = visitor.upload(voices(0.5))
    assert said["status"] == 503
    assert "close one of the other tabs" in said["error"]
    for id in ids:
        visitor.ask("DELETE", f"/recordings/{id}")


@pytest.mark.parametrize(
    "task",
    [
        {"kind": "sing"},
        {"speakers": 17},
        {"speakers": "4-2"},
        {"speakers": None},
        {"format": "ogg"},
        {"format": []},
        {"noise": {"kind": "cat"}},
        {"colour": "red"},
        {"noise": {"kind": "tone", "frequency_hz": 1}},
        {"noise": {"kind": "tone", "level_db": "loud"}},
        {"noise": {"kind": "tone", "level_db": 99}},
        {"noise": 3},
    ],
    ids=str,
)
def test_a_task_that_makes_no_sense_is_refused(task: dict[str, object], server: Server) -> None:
    visitor = Visitor(server)
    id = visitor.upload(voices(0.5))["id"]
    status, said = visitor.start(id, **task)
    assert status == 400
    assert said["error"]
    visitor.ask("DELETE", f"/recordings/{id}")


def test_jobs_wait_in_a_bounded_queue_and_can_be_cancelled_there() -> None:
    long = long_noise()
    with Server(Limits(n_jobs=1, n_waiting=1)) as server:
        first, second, third = (Visitor(server) for _ in range(3))
        ids = [visitor.upload(long, "long.flac")["id"] for visitor in (first, second, third)]
        assert first.start(ids[0])[0] == 202
        assert first.start(ids[0]) == (503, {"error": "this recording is being worked on; cancel that first"})
        assert second.start(ids[1])[0] == 202
        assert (second.status(ids[1])["state"], second.status(ids[1])["place"]) == ("waiting", 1)
        assert third.start(ids[2]) == (
            503,
            {"error": "the server is busy: 1 recordings wait already; try again in a few minutes"},
        )
        assert second.ask("DELETE", f"/recordings/{ids[1]}/job")[0] == 204
        assert second.status(ids[1])["state"] == "cancelled"
        until(lambda: first.status(ids[0])["done_s"] > 0)
        first.ask("DELETE", f"/recordings/{ids[0]}")  # while it runs
        assert first.ask("GET", f"/recordings/{ids[0]}/job")[0] == 404
        until(lambda: len(list(server.folder.iterdir())) == 2)
        folder = server.folder
        assert third.start(ids[2])[0] == 202
    assert not folder.exists()


def test_what_nobody_uses_is_removed() -> None:
    with Server(Limits(keep_s=1)) as server:
        visitor = Visitor(server)
        id = visitor.upload(voices(0.5))["id"]
        until(lambda: not server.files())
        assert visitor.ask("GET", f"/recordings/{id}/input")[0] == 404


def test_an_upload_that_breaks_off_leaves_nothing(server: Server) -> None:
    before = server.files()
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.putrequest("POST", "/recordings?name=talk.wav")
    for header in (("Cookie", Visitor(server).cookie), ("Content-Length", "4000000")):
        connection.putheader(*header)
    connection.endheaders(bytes(2_000_000))
    until(lambda: server.files() - before)
    connection.close()
    until(lambda: server.files() <= before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level_db", [-5.0, 20.0])
def test_a_noise_lies_as_far_below_the_recording_as_was_chosen(
    kind: str, level_db: float, tmp_path: Path
) -> None:
    (tmp_path / "talk.wav").write_bytes(voices(23.0))
    write_mixture(tmp_path / "talk.wav", tmp_path / "mixture.wav", Noise(kind, level_db))
    recording, mixture = soundfile.read(tmp_path / "talk.wav")[0], soundfile.read(tmp_path / "mixture.wav")[0]
    assert len(mixture) == len(recording)
    assert 10 * np.log10(np.sum(recording**2) / np.sum((mixture - recording) ** 2)) == pytest.approx(
        level_db, abs=1e-3
    )


def test_each_channel_gets_the_same_noise(tmp_path: Path) -> None:
    stereo = 0.1 * np.random.default_rng(1).standard_normal((8_000, 2))
    soundfile.write(tmp_path / "talk.wav", stereo, 16_000, subtype="FLOAT")
    write_mixture(tmp_path / "talk.wav", tmp_path / "mixture.wav", Noise("tone", 0.0, 440.0))
    added = soundfile.read(tmp_path / "mixture.wav")[0] - soundfile.read(tmp_path / "talk.wav")[0]
    assert added.shape == (8_000, 2)
    assert np.allclose(added[:, 0], added[:, 1], atol=1e-6)


def test_the_gain_of_a_noise_in_closed_form() -> None:
    assert noise_gain(100.0, 1.0, 20.0) == 1.0
    assert noise_gain(1.0, 1.0, 0.0) == 1.0
    assert noise_gain(1.0, 4.0, 6.0206) == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample_rate", [8_000, 44_100])
def test_noises_are_finite_and_repeat_without_a_click(kind: str, sample_rate: int) -> None:
    period = make_noise(Noise(kind), sample_rate).astype(np.float64)
    assert np.isfinite(period).all()
    assert abs(period[0] - period[-1]) <= np.abs(np.diff(period)).max()
    assert np.array_equal(period, make_noise(Noise(kind), sample_rate))


def test_a_noise_beside_silence_or_beyond_the_sample_rate_is_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(8_000), 8_000)
    with pytest.raises(InputError, match="silent"):
        write_mixture(tmp_path / "silent.wav", tmp_path / "mixture.wav", Noise("tone"))
    with pytest.raises(UsageError, match="below 4000 Hz"):
        write_mixture(tmp_path / "silent.wav", tmp_path / "mixture.wav", Noise("tone", frequency_hz=5_000))


def test_the_voices_of_the_page_are_those_of_the_examples() -> None:
    for name, number in (("first", 1), ("second", 2)):
        with open_audio(ROOT / f"src/unmingle/web/voices/{name}.opus") as reader:
            made = np.concatenate(list(reader.blocks(reader.sample_rate)), axis=1)[0]
        reference = soundfile.read(ROOT / f"examples/two-voices.reference-{number}.flac")[0]
        spectra = [
            np.abs(np.fft.rfft(made, 8 * reader.sample_rate))[: 8 * 4_000],
            np.abs(np.fft.rfft(reference))[: 8 * 4_000],
        ]
        assert np.corrcoef(spectra)[0, 1] > 0.98


def test_serve_without_its_extra_names_it() -> None:
    code = WITHOUT_EXTRAS
    done = subprocess.run([sys.executable, "-c", code, "serve"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        done.stderr
        == "unmingle: serve needs starlette and uvicorn and matplotlib: pip install 'unmingle[web]'\n"
    )


def test_serve_says_where_it_is_and_removes_its_files_when_it_ends() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "unmingle", "serve", "--port", "0"]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": folder},
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert re.fullmatch(r"Open http://127\.0\.0\.1:\d+ in a browser; Ctrl-C stops it\.\n", line)
        until(lambda: list(Path(folder).iterdir()))
        port = int(re.findall(r":(\d+) ", line)[0])
        assert main(["serve", "--port", str(port)]) == 2  # taken
        process.send_signal(2)
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, "")
        assert list(Path(folder).iterdir()) == []
