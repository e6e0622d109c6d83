"""The documentation as a site: built as `make docs` does, opened from disk in Chromium without a network."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page, expect
from test_page import (  # noqa: F401
    browser,
    durations,
    has_no_sideways_scroll,
    playwright,
)
from web_server import ROOT

pytest.importorskip("mkdocs")
PAGES = ("index", "guides/podcast", "gallery", "models/index", "reference/index", "use", "conversations")
DESKTOP, PHONE = (1440, 900), (390, 844)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Built once, whichever processes ask for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:  # noqa: F811
    """A window of a usual size. At the end: nothing was asked for but files, and no script failed."""
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height})
    expect.set_options(timeout=1000 * 30)
    opened, elsewhere, wrong = context.new_page(), list[str](), list[str]()
    context.on(
        "request",
        lambda request: (
            elsewhere.append(request.url) if not request.url.startswith(("file:", "data:", "blob:")) else None
        ),
    )
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    context.close()
    assert (elsewhere, wrong) == ([], [])


def test_no_page_is_wider_than_its_window(site: Path, page: Page) -> None:
    too_wide = []
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        if not has_no_sideways_scroll(page):
            too_wide.append(name)
    assert too_wide == []


def test_every_player_of_the_gallery_has_a_sound(site: Path, page: Page) -> None:
    page.goto((site / "gallery.html").as_uri())
    lengths = durations(page)
    assert len(lengths) == 4 + 5 + 3 + 3  # of each scene: the recording, the voices, the rest
    assert min(lengths) > 7.5


def test_the_search_finds_a_guide_without_a_network(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("/")
    expect(page.get_by_placeholder("Search")).to_be_focused()
    page.keyboard.type("call centre")
    found = page.locator(".md-search-result__link").first
    expect(found).to_have_attribute("href", re.compile(r"guides/call-centre\.html"))


def test_a_link_to_the_source_leads_to_a_page_that_shows_it(site: Path) -> None:
    address = "files/src/unmingle/models/conv_tasnet.py.html"
    assert f'href="../{address}"' in (site / "models/conv-tasnet.html").read_text(encoding="utf-8")
    assert "depthwise" in (site / address).read_text(encoding="utf-8")


def test_the_models_of_the_repository_stand_in_the_table_with_their_figures(site: Path) -> None:
    text = (site / "models/index.html").read_text(encoding="utf-8")
    names = [path.stem for folder in ("src", "packages") for path in (ROOT / folder).rglob("weights/*.onnx")]
    names += [path.stem for path in (ROOT / "packages").rglob("*.onnx")]
    assert [name for name in names if f'<a href="#{name}">{name}</a>' not in text] == []
    assert "SI-SDRi 6.19 dB" in text


def test_a_link_to_the_figures_of_a_model_opens_them(site: Path, page: Page) -> None:
    page.goto((site / "models/index.html").as_uri())
    figures = page.locator("details#duet")
    assert not figures.evaluate("each => each.open")
    page.get_by_role("link", name="duet", exact=True).first.click()
    expect(figures).to_have_attribute("open", "")


def test_no_command_is_cut_off(site: Path, page: Page) -> None:
    cut = []
    for name in (*PAGES, "published-models", "reliability"):
        page.goto((site / f"{name}.html").as_uri())
        wide = "all => all.filter(each => each.scrollWidth > each.clientWidth).map(each => each.textContent)"
        cut += page.locator(".language-sh pre > code").evaluate_all(wide)
    assert cut == []
