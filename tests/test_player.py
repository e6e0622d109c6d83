"""The rows of the page that play in step, in a real Chromium: all tests share one separation."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect
from test_page import PATIENCE_S, browser, choose, playwright, row_names, until_in  # noqa: F401
from web_server import Server, voices

ROWS = ["Input", "Speaker 1", "Speaker 2"]
TOLERANCE_S = 0.02

# What each row sends to the loudspeakers is measured behind its gain.
LISTEN = """
const make = BaseAudioContext.prototype.createGain;
window.meters = [];
BaseAudioContext.prototype.createGain = function () {
  const gain = make.call(this), meter = this.createAnalyser();
  gain.connect(meter);
  window.meters.push(meter);
  return gain;
};
window.levels = () => window.meters.map((meter) => {
  const samples = new Float32Array(meter.fftSize);
  meter.getFloatTimeDomainData(samples);
  return Math.hypot(...samples);
});
"""


@pytest.fixture(scope="module")
def opened(browser: Browser, server: Server) -> Iterator[Page]:  # noqa: F811
    """A page with results, of a minute, whose voices never rest."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(1000 * PATIENCE_S)
    expect.set_options(timeout=1000 * PATIENCE_S)
    page = context.new_page()
    page.add_init_script(LISTEN)
    page.goto(server.url)
    choose(page, voices(60.0))
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    yield page
    context.close()


@pytest.fixture
def rows(opened: Page) -> Page:
    """The page as it was when it came, but that all rows are audible, play, and began 2 s after the start."""
    opened.evaluate("""() => {
      player.pause();
      for (const row of player.rows) {
        row.soloed = row.muted = false;
        row.level.value = 100;
      }
      player.mix();
      player.seek(2);
      player.play();
    }""")
    until_in(opened, "player.started")
    until_in(opened, "levels().every((level) => level > 0)")
    return opened


def is_audible(page: Page, *expected: bool) -> None:
    """Wait until exactly these rows sound, at a moment when they are not resting."""
    until_in(page, f"levels().map((level) => level > 0).join() === '{','.join(map(str, expected)).lower()}'")


def test_solo_silences_all_other_rows(rows: Page) -> None:
    rows.get_by_role("button", name="Solo Speaker 1").click()
    is_audible(rows, False, True, False)


def test_mute_silences_its_row_alone(rows: Page) -> None:
    rows.get_by_role("button", name="Mute Speaker 2").click()
    is_audible(rows, True, True, False)


def test_a_row_played_alone_is_the_only_one_that_sounds(rows: Page) -> None:
    rows.get_by_role("button", name="Play Speaker 2 alone").click()
    is_audible(rows, False, False, True)


def test_the_level_is_the_gain_of_its_row(rows: Page) -> None:
    rows.get_by_role("slider", name="Level of Speaker 1").fill("50")
    until_in(rows, "Math.abs(player.rows[1].gain.gain.value - 0.5) < 1e-6")
    assert rows.evaluate("player.rows.map((row) => row.gain.gain.value)") == pytest.approx([1, 0.5, 1])


def test_all_rows_play_at_the_same_time(rows: Page) -> None:
    times = "[...document.querySelectorAll('audio')].map((sound) => sound.currentTime)"
    until_in(
        rows,
        f"(() => {{ const all = {times}; return Math.max(...all) - Math.min(...all) < {TOLERANCE_S} }})()",
    )
    spreads = []
    for _ in range(10):
        rows.wait_for_timeout(100)
        found = rows.evaluate(times)
        spreads.append(max(found) - min(found))
    assert np.median(spreads) < TOLERANCE_S, spreads
    assert found[0] > 2


def test_a_row_that_falls_behind_catches_up(rows: Page) -> None:
    rows.evaluate("player.rows[1].sound.currentTime -= 1")
    until_in(
        rows, f"Math.abs(player.rows[1].sound.currentTime - player.rows[0].sound.currentTime) < {TOLERANCE_S}"
    )
    assert rows.evaluate("player.playing")


def test_a_click_on_a_waveform_moves_all_rows(rows: Page) -> None:
    rows.locator("#sounds .wave").nth(2).click()  # in the middle
    until_in(rows, "player.started && player.rows.every((row) => row.sound.currentTime >= 29.5)")
    assert rows.evaluate("player.rows.every((row) => row.sound.currentTime < 60)")


def test_the_space_bar_pauses_and_goes_on(rows: Page) -> None:
    rows.get_by_role("heading", name="Results").focus()
    rows.keyboard.press("Space")
    until_in(rows, "player.rows.every((row) => row.sound.paused)")
    rows.keyboard.press("Space")
    until_in(rows, "player.rows.every((row) => !row.sound.paused)")
    assert rows.get_by_role("button", name="Pause").is_visible()


def test_each_row_has_a_waveform_as_loud_as_its_file(rows: Page) -> None:
    assert row_names(rows) == ROWS
    peaks = rows.evaluate("player.rows[0].wave.exportPeaks({ maxLength: 1000, precision: 10000 })[0]")
    samples, _ = soundfile.read(io.BytesIO(voices(60.0)))
    assert max(peaks) == pytest.approx(np.abs(samples).max(), abs=1e-3)


def test_a_file_that_is_dropped_is_uploaded(opened: Page) -> None:
    opened.reload()
    drop = """bytes => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], "dropped.wav", { type: "audio/wav" }));
      for (const type of ["dragover", "drop"]) {
        const options = { dataTransfer: data, bubbles: true, cancelable: true };
        document.body.dispatchEvent(new DragEvent(type, options));
      }
    }"""
    opened.evaluate(drop, list(voices(0.5)))
    expect(opened.get_by_role("status")).to_have_text("Chosen: dropped.wav")
    with opened.expect_request("**/recordings?name=dropped.wav") as sent:
        opened.get_by_role("button", name="Separate", exact=True).click()
    assert sent.value.response().status == 201
