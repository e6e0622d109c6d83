"""The web page in a real Chromium whose network ends at this machine."""

import io
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from playwright.sync_api import Browser, FileChooser, Page, Playwright, expect, sync_playwright
from web_server import PATIENCE_S, Server, long_noise, until, voices

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    if not Path(CHROMIUM).exists():
        message = (
            f"{CHROMIUM} is missing; install Debian's chromium, or set CHROMIUM to a Chromium that is there"
        )
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
    context.set_default_timeout(1000 * PATIENCE_S)
    expect.set_options(timeout=1000 * PATIENCE_S)
    opened, elsewhere, wrong = context.new_page(), list[str](), list[str]()
    context.on(
        "request",
        lambda request: (
            elsewhere.append(request.url) if not request.url.startswith((server.url, "data:")) else None
        ),
    )
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "console",
        lambda line: (
            wrong.append(line.text) if line.type == "error" and "status of 4" not in line.text else None
        ),
    )
    opened.goto(server.url)
    yield opened
    context.close()
    assert (elsewhere, wrong) == ([], [])


def choose(page: Page, content: bytes, name: str = "talk.wav") -> None:
    page.get_by_label("Audio or video file").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def until_in(page: Page, condition: str) -> None:
    """Wait until a condition holds in the page, whose policy forbids the browser driver's own way to wait for
    it.
    """
    wait_in(page, lambda: page.evaluate(condition))


def wait_in(page: Page, condition: Callable[[], Any]) -> None:
    """Wait until a condition holds, and let the page's events come meanwhile."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        page.wait_for_timeout(50)


def durations(page: Page) -> list[float]:
    """Of all audio elements, once they know them [s]."""
    until_in(page, "[...document.querySelectorAll('audio')].every(sound => sound.readyState >= 1)")
    return page.eval_on_selector_all("audio", "sounds => sounds.map(sound => sound.duration)")


def open_spectrograms(page: Page) -> None:
    """Open the picture; it is asked for only now."""
    assert page.evaluate("document.querySelector('#picture').getAttribute('src')") is None
    page.get_by_text("Spectrograms").click()
    until_in(page, "document.querySelector('#picture').naturalWidth > 500")


def row_names(page: Page) -> list[str]:
    """What the rows are called."""
    return page.eval_on_selector_all("#sounds article", "rows => rows.map(row => row.ariaLabel)")


def has_no_sideways_scroll(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_visitor_uploads_adds_a_noise_runs_hears_sees_and_downloads(page: Page) -> None:
    choose(page, voices(1.5), "Gespräch 1.wav")
    page.get_by_label("Add a noise").select_option("tone")
    page.get_by_label("Frequency").fill("1000")
    page.get_by_label("louder than").fill("10")
    page.get_by_label("Number of people").select_option("2")
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    assert row_names(page) == ["Input with noise", "Speaker 1", "Speaker 2"]
    assert durations(page) == pytest.approx([1.5] * 3, abs=0.01)
    open_spectrograms(page)

    with page.expect_download() as one:
        page.get_by_role("link", name="Download Speaker 1").click()
    assert one.value.suggested_filename == "Gespräch 1-speaker-1.flac"
    assert soundfile.info(one.value.path()).frames == 24_000
    with page.expect_download() as all_files:
        page.get_by_role("link", name="Download all").click()
    assert all_files.value.suggested_filename == "Gespräch 1-unmingled.zip"
    with zipfile.ZipFile(all_files.value.path()) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            "input-with-noise.wav",
            "labels.txt",
            "speaker-1.flac",
            "speaker-2.flac",
            "speakers.rttm",
            "spectrogram.png",
        ]
        mixture, _ = soundfile.read(io.BytesIO(archive.read("input-with-noise.wav")))
        assert archive.read("speaker-1.flac") == Path(one.value.path()).read_bytes()
    spectrum = np.abs(np.fft.rfft(mixture - soundfile.read(io.BytesIO(voices(1.5)))[0]))
    assert np.argmax(spectrum) == round(1000 * 1.5)


def test_a_model_is_chosen_among_those_for_the_task(page: Page) -> None:
    choose(page, voices(1.0))
    chooser = page.get_by_label("Model")
    chooser.select_option("one-and-rest")
    page.get_by_label("Enhance").check()
    assert chooser.input_value() == ""
    assert page.locator("#model option:enabled").all_inner_texts()[0] == "the best"
    assert "one-and-rest" not in page.locator("#model option:enabled").all_inner_texts()
    page.get_by_label("Separate by sight").check()
    expect(chooser).to_be_hidden()
    page.get_by_label("Separate one file").check()
    chooser.select_option("one-and-rest")
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.get_by_text("by one-and-rest.")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "sounds"),
    [
        ("two voices", ["Input with noise", "Speaker 1", "Speaker 2"]),
        ("a voice in the street", ["Input with noise", "Voice", "What was taken away"]),
    ],
)
def test_an_example_runs_on_one_click(name: str, sounds: list[str], page: Page) -> None:
    page.get_by_role("button", name=f"Example: {name}").click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    assert row_names(page) == sounds
    assert durations(page) == pytest.approx([8.0] * len(sounds), abs=0.01)
    # For the README; a palette keeps it small.
    if name == "two voices" and (folder := os.environ.get("UNMINGLE_PICTURES")):
        page.get_by_role("slider", name="Position").press("PageUp")
        Image.open(io.BytesIO(page.screenshot(full_page=True))).quantize(96).save(
            Path(folder) / "web.png", optimize=True
        )


def test_the_timeline_shows_who_speaks_when_and_goes_there(page: Page) -> None:
    page.get_by_role("button", name="Two voices").first.click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    lines = page.get_by_role("list", name="Who speaks when").get_by_role("listitem")
    expect(lines).to_have_count(2)
    stretches = page.locator("#timeline button")
    assert stretches.count() >= 2
    colours = page.eval_on_selector_all(
        "#timeline .line", "lines => lines.map(line => getComputedStyle(line.firstChild).backgroundColor)"
    )
    assert len(set(colours)) == 2
    last = stretches.last
    begins_s = 8 * float(last.evaluate("button => parseFloat(button.style.left)")) / 100
    last.click()
    until_in(page, f"Math.abs(8 * document.querySelector('#position').value - {begins_s}) < 0.1")


def test_cancelling_stops_within_seconds_and_leaves_nothing(page: Page, server: Server) -> None:
    choose(page, long_noise(), "long.flac")
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Separating")
    before = server.files()
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
def test_a_bad_file_is_one_line_that_names_it(
    name: str, content: bytes, said: str, page: Page, server: Server
) -> None:
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
    # Early: it takes a moment until the browser hands its dialog over.
    page.on("filechooser", lambda chooser: choosers.append(chooser))
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
    tab_to("#play")
    page.keyboard.press("Enter")
    until_in(page, "document.querySelector('#sound-input').currentTime > 0.3")
    tab_to("#position")
    page.keyboard.press("Space")
    until_in(page, "document.querySelector('#sound-input').paused")
    reached_s = page.evaluate("document.querySelector('#sound-speaker-1').currentTime")
    page.keyboard.press("ArrowRight")
    until_in(page, f"document.querySelector('#sound-speaker-1').currentTime > {reached_s} + 0.25")
    tab_to("[aria-label='Solo Speaker 1']")
    page.keyboard.press("Space")
    assert page.get_by_role("button", name="Solo Speaker 1").get_attribute("aria-pressed") == "true"
    tab_to("[aria-label='Level of Speaker 1']")
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("slider", name="Level of Speaker 1").input_value() == "99"
    tab_to("#sounds a")
    with page.expect_download():
        page.keyboard.press("Enter")


def test_every_control_has_a_name(page: Page) -> None:
    nameless = """controls => controls
        .filter(control => !(control.labels && [...control.labels].some(label => label.textContent.trim())))
        .filter(control => !control.textContent.trim() && !control.ariaLabel)
        .filter(control => !control.querySelector("img[alt]"))
        .map(control => control.outerHTML)"""
    assert page.eval_on_selector_all("button, input, select, progress, a, summary", nameless) == []
    assert page.eval_on_selector_all("img:not([alt])", "images => images.length") == 0


def test_on_a_phone_nothing_scrolls_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    assert has_no_sideways_scroll(page)
    choose(
        page, voices(), "a_name_that_is_long_and_has_no_space_at_which_it_could_be_broken_into_two_lines.wav"
    )
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    assert has_no_sideways_scroll(page)
    left = page.eval_on_selector_all(
        "#sounds article", "all => all.map(one => one.getBoundingClientRect().left)"
    )
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
    opened.set_default_timeout(1000 * PATIENCE_S)
    opened.goto(server.url)
    choose(opened, voices())
    opened.get_by_role("button", name="Separate", exact=True).click()
    expect(opened.get_by_role("heading", name="Results")).to_be_visible()
    assert len(server.files() - before) >= 5
    opened.close(run_before_unload=True)
    until(lambda: server.files() <= before)
    context.close()
