"""The web page, in a real Chromium whose network ends at this machine, and its addresses, called as any program may call them."""

import http.client
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import uvicorn
from conftest import encode
from PIL import Image
from playwright.sync_api import Browser, FileChooser, Page, Playwright, expect, sync_playwright
from test_cli import WITHOUT_EXTRAS

from unmingle.cli import main
from unmingle.errors import InputError, UsageError
from unmingle.media import open_audio
from unmingle.web.app import create_app
from unmingle.web.noises import KINDS, Noise, make_noise, noise_gain, write_mixture
from unmingle.web.recordings import PER_VISITOR, Limits

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
ROOT = Path(__file__).parents[1]
PATIENCE_MS = 180_000  # for what takes seconds, where others use the processor


class Server:
    """The application in a thread."""

    def __init__(self, limits: Limits) -> None:
        self.app = create_app(limits)
        self._server = uvicorn.Server(uvicorn.Config(self.app, port=0, log_level="warning", timeout_graceful_shutdown=3))
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> "Server":
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    @property
    def folder(self) -> Path:
        return self.app.state.recordings._folder

    def files(self) -> set[str]:
        """All files and folders of all visitors; folders may vanish meanwhile."""
        return {os.path.relpath(Path(folder) / name, self.folder) for folder, folders, files in os.walk(self.folder) for name in (*folders, *files)}


class Visitor:
    """A program with a cookie."""

    def __init__(self, server: Server) -> None:
        self.port, self.cookie = server.port, ""
        _, headers, self.page = self.ask("GET", "/")
        self.cookie = headers["set-cookie"].split(";")[0]

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, urllib.parse.quote(path, safe="/?=&%"), body or None, {"Cookie": self.cookie, **headers})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def upload(self, content: bytes, name: str = "talk.wav") -> dict[str, Any]:
        status, _, said = self.ask("POST", f"/recordings?name={name}", content)
        return {"status": status, **json.loads(said)}

    def start(self, id: str, **task: object) -> tuple[int, dict[str, Any]]:
        status, _, said = self.ask("POST", f"/recordings/{id}/job", json.dumps(task).encode())
        return status, json.loads(said)

    def status(self, id: str) -> dict[str, Any]:
        return json.loads(self.ask("GET", f"/recordings/{id}/job")[2])

    def wait(self, id: str) -> dict[str, Any]:
        def over() -> dict[str, Any] | None:
            job = self.status(id)
            return job if job["state"] not in ("waiting", "running") else None

        return until(over)

    def separate(self, content: bytes, **task: object) -> tuple[str, dict[str, Any]]:
        id = self.upload(content)["id"]
        assert self.start(id, **task) == (202, {})
        return id, self.wait(id)


def until(condition: Callable[[], Any], seconds: float = PATIENCE_MS / 1000) -> Any:
    """What a condition returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def voices(duration_s: float = 1.0, sample_rate: int = 16_000, suffix: str = "WAV") -> bytes:
    """The example without its first second, as a file."""
    samples, _ = soundfile.read(ROOT / "examples/two-voices.flac", start=16_000)
    file = io.BytesIO()
    soundfile.write(file, np.resize(samples, round(duration_s * sample_rate)), sample_rate, format=suffix)
    return file.getvalue()


def long_noise() -> bytes:
    """Twenty minutes of faint noise at 8 kHz: a small file, and half a minute's work at least."""
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).integers(-2, 3, 1200 * 8_000, np.int16), 8_000, format="FLAC")
    return file.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(Limits(n_jobs=2)) as running:
        yield running


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    if not Path(CHROMIUM).exists():
        message = f"{CHROMIUM} is missing; install Debian's chromium, or set CHROMIUM to a Chromium that is there"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield running
    running.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, just loaded. At the end: no request went elsewhere, and no script failed."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    opened, elsewhere, wrong = context.new_page(), list[str](), list[str]()
    context.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith((server.url, "data:")) else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" and "status of 4" not in line.text else None)
    opened.goto(server.url)
    yield opened
    context.close()
    assert (elsewhere, wrong) == ([], [])


def choose(page: Page, content: bytes, name: str = "talk.wav") -> None:
    page.get_by_label("Audio or video file").set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})


def until_in(page: Page, condition: str) -> None:
    """Wait until a condition holds in the page, whose policy forbids the browser driver's own way to wait for it."""
    wait_in(page, lambda: page.evaluate(condition))


def wait_in(page: Page, condition: Callable[[], Any]) -> None:
    """Wait until a condition holds, and let the page's events come meanwhile."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        page.wait_for_timeout(50)


def durations(page: Page) -> list[float]:
    """Of all audio elements, once they know them [s]."""
    until_in(page, "[...document.querySelectorAll('audio')].every(sound => sound.readyState >= 1)")
    return page.eval_on_selector_all("audio", "sounds => sounds.map(sound => sound.duration)")


def has_no_sideways_scroll(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_visitor_uploads_adds_a_noise_runs_hears_sees_and_downloads(page: Page) -> None:
    choose(page, voices(1.5), "Gespräch 1.wav")
    page.get_by_label("Add a noise").select_option("tone")
    page.get_by_label("Frequency").fill("1000")
    page.get_by_label("louder than").fill("10")
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    assert page.locator("#sounds h3").all_inner_texts() == ["Input with noise", "Speaker 1", "Speaker 2"]
    assert durations(page) == pytest.approx([1.5] * 3, abs=0.01)
    until_in(page, "document.querySelector('#picture').naturalWidth > 500")

    with page.expect_download() as one:
        page.get_by_role("link", name="Download Speaker 1").click()
    assert one.value.suggested_filename == "Gespräch 1-speaker-1.flac"
    assert soundfile.info(one.value.path()).frames == 24_000
    with page.expect_download() as all_files:
        page.get_by_role("link", name="Download all").click()
    assert all_files.value.suggested_filename == "Gespräch 1-unmingled.zip"
    with zipfile.ZipFile(all_files.value.path()) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["input-with-noise.wav", "speaker-1.flac", "speaker-2.flac", "spectrogram.png"]
        mixture, _ = soundfile.read(io.BytesIO(archive.read("input-with-noise.wav")))
        assert archive.read("speaker-1.flac") == Path(one.value.path()).read_bytes()
    spectrum = np.abs(np.fft.rfft(mixture - soundfile.read(io.BytesIO(voices(1.5)))[0]))
    assert np.argmax(spectrum) == round(1000 * 1.5)


@pytest.mark.parametrize("name", ["two voices", "a voice in the street"])
def test_an_example_runs_on_one_click(name: str, page: Page) -> None:
    page.get_by_role("button", name=f"Example: {name}").click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    assert durations(page) == pytest.approx([8.0] * page.locator("audio").count(), abs=0.01)
    assert page.locator("audio").count() >= 2
    if name == "two voices" and (folder := os.environ.get("UNMINGLE_PICTURES")):  # for the README; a palette keeps it small
        until_in(page, "document.querySelector('#picture').naturalWidth > 0")
        Image.open(io.BytesIO(page.screenshot(full_page=True))).quantize(96).save(Path(folder) / "web.png", optimize=True)


def test_cancelling_stops_within_seconds_and_leaves_nothing(page: Page, server: Server) -> None:
    choose(page, long_noise(), "long.flac")
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Separating")
    before = until(lambda: {name for name in server.files() if "results/." in name})  # hidden until it is whole
    began = time.monotonic()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status")).to_have_text("Cancelled.")
    assert time.monotonic() - began < 30  # a second or two where nobody else uses the processor
    assert not {name.split("/")[0] + "/results" for name in before} & server.files()
    assert page.get_by_role("heading", name="Results").is_hidden()
    expect(page.get_by_role("button", name="Separate", exact=True)).to_be_enabled()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("notes.txt", b"not a recording at all", "notes.txt: not a readable audio or video file"),
        ("empty.wav", b"", "empty.wav: empty (0 bytes)"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(name: str, content: bytes, said: str, page: Page, server: Server) -> None:
    before = server.files()
    choose(page, content, name)
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text(said)
    assert "/" not in page.get_by_role("alert").inner_text()
    assert page.get_by_role("heading", name="Results").is_hidden()
    assert server.files() <= before


def test_a_file_that_is_too_large_is_not_even_sent(page: Page) -> None:
    page.evaluate("document.body.dataset.maxBytes = '1000'")
    choose(page, voices())
    expect(page.get_by_role("alert")).to_contain_text("talk.wav: larger than 1 GB, which is the limit here")


def test_nothing_chosen_is_said_and_not_a_request(page: Page) -> None:
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Choose or record something first, or try an example.")


def test_the_whole_page_works_with_the_keyboard_alone(page: Page) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"{selector}: the focus cannot be seen"
                return
        raise AssertionError(f"{selector}: not reached by Tab")

    choosers = list[FileChooser]()
    page.on("filechooser", lambda chooser: choosers.append(chooser))  # early: it takes a moment until the browser hands its dialog over
    tab_to("#file")
    page.keyboard.press("Enter")
    wait_in(page, lambda: choosers)
    choosers[0].set_files({"name": "talk.wav", "mimeType": "audio/wav", "buffer": voices(6.0)})
    tab_to("#noise")
    page.keyboard.type("air")
    tab_to("#level")
    page.keyboard.press("ArrowRight")
    assert page.locator("#level-text").inner_text() == "6\u00a0dB"
    tab_to("#run")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Results")).to_be_focused()
    tab_to("#sound-input")
    durations(page)
    page.keyboard.press("Space")
    until_in(page, "document.querySelector('#sound-input').currentTime > 0.3")
    tab_to("#sound-speaker-1")
    page.keyboard.press("Space")
    until_in(page, "document.querySelector('#sound-input').paused && !document.querySelector('#sound-speaker-1').paused")
    reached_s = page.evaluate("document.querySelector('#sound-input').currentTime")
    assert page.evaluate("document.querySelector('#sound-speaker-1').currentTime") >= reached_s  # it goes on at the same moment
    tab_to("#sounds a")
    with page.expect_download():
        page.keyboard.press("Enter")


def test_every_control_has_a_name(page: Page) -> None:
    nameless = """controls => controls.filter(control => !(control.labels && [...control.labels].some(label => label.textContent.trim()))
        && !control.textContent.trim() && !control.ariaLabel && !control.querySelector("img[alt]")).map(control => control.outerHTML)"""
    assert page.eval_on_selector_all("button, input, select, audio, progress, a", nameless) == []
    assert page.eval_on_selector_all("img:not([alt])", "images => images.length") == 0


def test_on_a_phone_nothing_scrolls_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 667})
    assert has_no_sideways_scroll(page)
    choose(page, voices(), "a_name_that_is_long_and_has_no_space_at_which_it_could_be_broken_into_two_lines.wav")
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    assert has_no_sideways_scroll(page)
    left = page.eval_on_selector_all("#sounds article", "all => all.map(one => one.getBoundingClientRect().left)")
    assert len(set(left)) == 1  # one column


def test_the_microphone_is_recorded(page: Page) -> None:
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("timer")).to_have_text(re.compile("0:0[2-9]"))
    page.get_by_role("button", name="Stop recording").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Chosen: recording\.\w+"))
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    assert durations(page)[1] > 1


def test_closing_the_page_removes_its_files(browser: Browser, server: Server) -> None:
    before = server.files()
    context = browser.new_context()
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    opened.goto(server.url)
    choose(opened, voices())
    opened.get_by_role("button", name="Separate", exact=True).click()
    expect(opened.get_by_role("heading", name="Results")).to_be_visible()
    assert len(server.files() - before) >= 5
    opened.close(run_before_unload=True)
    until(lambda: server.files() <= before)
    context.close()


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
    for path in ("files/..%2Fupload.wav", "files/../upload.wav", "files/%2Fetc%2Fpasswd", "files/mixture.wav"):
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


def test_a_range_of_a_file_can_be_asked_for(server: Server) -> None:
    visitor = Visitor(server)
    content = voices(0.5)
    id = visitor.upload(content)["id"]
    status, _, piece = visitor.ask("GET", f"/recordings/{id}/input", Range="bytes=100-199")
    assert (status, piece) == (206, content[100:200])


def test_limits_of_size_and_duration_are_said() -> None:
    too_large = "large.wav: larger than 8 MB, which is the limit here; choose a shorter recording, or save it as MP3 first"
    too_long = "long.flac: longer than 30 minutes, which is the limit here; cut it into parts, or use the command line"
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
        {"kind": "sing"}, {"speakers": 17}, {"speakers": "2"}, {"format": "ogg"}, {"format": []}, {"noise": {"kind": "cat"}}, {"colour": "red"},
        {"noise": {"kind": "tone", "frequency_hz": 1}}, {"noise": {"kind": "tone", "level_db": "loud"}}, {"noise": {"kind": "tone", "level_db": 99}},
        {"noise": 3},
    ],
    ids=str,
)  # fmt: skip
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
        assert third.start(ids[2]) == (503, {"error": "the server is busy: 1 recordings wait already; try again in a few minutes"})
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
def test_a_noise_lies_as_far_below_the_recording_as_was_chosen(kind: str, level_db: float, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(voices(23.0))
    write_mixture(tmp_path / "talk.wav", tmp_path / "mixture.wav", Noise(kind, level_db))
    recording, mixture = soundfile.read(tmp_path / "talk.wav")[0], soundfile.read(tmp_path / "mixture.wav")[0]
    assert len(mixture) == len(recording)
    assert 10 * np.log10(np.sum(recording**2) / np.sum((mixture - recording) ** 2)) == pytest.approx(level_db, abs=1e-3)


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
        spectra = [np.abs(np.fft.rfft(made, 8 * reader.sample_rate))[: 8 * 4_000], np.abs(np.fft.rfft(reference))[: 8 * 4_000]]
        assert np.corrcoef(spectra)[0, 1] > 0.98


def test_serve_without_its_extra_names_it() -> None:
    code = WITHOUT_EXTRAS
    done = subprocess.run([sys.executable, "-c", code, "serve"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "unmingle: serve needs starlette and uvicorn and matplotlib: pip install 'unmingle[web]'\n"


def test_serve_says_where_it_is_and_removes_its_files_when_it_ends() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "unmingle.cli", "serve", "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": folder})
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
