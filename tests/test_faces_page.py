"""Faces on the page, in a real Chromium: boxes over a video, and the voices of those that are clicked.

The videos are of real people, who may not be in the repository: without the data, most tests are skipped.
"""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect
from small_models import tiny
from test_page import (  # noqa: F401
    PATIENCE_S,
    browser,
    choose,
    has_no_sideways_scroll,
    page,
    playwright,
    row_names,
    until_in,
)
from test_player import LISTEN, is_audible
from test_seeing import saved
from videos import film, numbered
from web_server import ROOT, Server, Visitor, voices

from unmingle import catalog, separate_file
from unmingle.errors import UsageError
from unmingle.media.audio import open_audio
from unmingle.media.video import VideoReader
from unmingle.training.export import export
from unmingle.video import FaceTrack

FACES = next(
    (
        folder / "voxceleb2-excerpts"
        for folder in (Path("/work/shared/data/faces"), Path("/work/data/faces"))
        if (folder / "voxceleb2-excerpts").is_dir()
    ),
    None,
)
real_faces = pytest.mark.skipif(FACES is None, reason="the talking faces of ../shared/data are not here")
LENGTH_S, RATE = 8.0, 16_000
PLAYING = "player.started && !player.film.sound.paused"


@pytest.fixture(scope="module", autouse=True)
def lip_reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A network that reads lips is installed, if an untrained one."""
    folder, known = tmp_path_factory.mktemp("weights"), catalog.folders
    export(saved(tiny("lips"), folder / "lips.safetensors"), "untrained", out=folder / "out", default=True)
    catalog.folders = lambda: [*known(), folder / "out"]
    catalog.cards.cache_clear()
    yield
    catalog.folders = known
    catalog.cards.cache_clear()


def beside(path: Path, codec: str = "libx264") -> Path:
    """A video of two people side by side, both of whom talk."""
    assert FACES is not None
    people = [FACES / "vc13/016.mp4", FACES / "vc14/017.mp4"]
    pictures, sounds = [], []
    for person in people:
        with VideoReader(person) as video:
            own = [each for each in video.pictures() if each is not None][:100]
            pictures.append([*own, *own[::-1]])  # without a cut
        with open_audio(person) as audio:
            sounds.append(np.tile(np.concatenate(list(audio.blocks(RATE)), axis=1)[:, : 4 * RATE], 2))
    wide = (np.concatenate(each, axis=1) for each in zip(*pictures, strict=True))
    return film(path, wide, np.arange(25 * LENGTH_S) / 25, 0.5 * sum(sounds), codec=codec)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return beside(tmp_path_factory.mktemp("videos") / "talk.mp4").read_bytes()


@pytest.fixture(scope="module")
def opened(browser: Browser, server: Server, talk: bytes) -> Iterator[Page]:  # noqa: F811
    """A page with the faces of a video."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(1000 * PATIENCE_S)
    expect.set_options(timeout=1000 * PATIENCE_S)
    opened = context.new_page()
    opened.add_init_script(LISTEN)
    opened.goto(server.url)
    choose(opened, talk, "talk.mp4")
    opened.get_by_role("button", name="Separate", exact=True).click()
    expect(opened.get_by_role("heading", name="Results")).to_be_visible()
    yield opened
    context.close()


@pytest.fixture
def faces(opened: Page) -> Page:
    """The page as it was when it came, and standing at 1 s."""
    opened.evaluate("player.pause(); player.seek(1); player.film.choose(null)")
    until_in(opened, "Math.abs(player.film.sound.currentTime - 1) < 0.05 && !player.film.sound.seeking")
    return opened


def box(page: Page, face: int) -> Any:  # noqa: F811
    return page.locator("#boxes .box").nth(face - 1)


def click_on(page: Page, face: int) -> None:  # noqa: F811
    """Click into a box, which may be moving."""
    page.locator("#stage").scroll_into_view_if_needed()
    place = box(page, face).bounding_box()
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)


def heard(page: Page) -> list[str]:  # noqa: F811
    """What the pressed buttons are called, of the boxes and of the faces beside."""
    return page.eval_on_selector_all(
        "#seen [aria-pressed=true]", "all => all.map(each => each.ariaLabel ?? each.textContent)"
    )


@real_faces
def test_a_visitor_gets_boxes_pictures_and_voices_of_all_faces(server: Server, talk: bytes) -> None:
    visitor = Visitor(server)
    id = visitor.upload(talk, "talk.mp4")["id"]
    assert visitor.ask("GET", f"/recordings/{id}/faces")[0] == 404
    assert visitor.start(id, kind="faces", format="wav") == (202, {})
    job = visitor.wait(id)
    assert job["files"] == ["face-1.wav", "face-2.wav", "rest.wav"], job
    code, _, said = visitor.ask("GET", f"/recordings/{id}/faces")
    seen = json.loads(said)
    assert code == 200 and (seen["width"], seen["height"], seen["rate"]) == (320, 160, 5)
    for face, middle in zip(seen["faces"], (0.25, 0.75), strict=True):
        assert len(face["boxes"]) == 5 * LENGTH_S
        left, top, right, bottom = np.array(face["boxes"][5:15], float).T
        assert np.all((left < middle) & (middle < right) & (top < 0.5) & (bottom > 0.5))
        assert face["segments"][0][0] < 0.5
        _, headers, picture = visitor.ask("GET", f"/recordings/{id}/files/{face['thumbnail']}")
        assert headers["content-type"] == "image/jpeg" and picture.startswith(b"\xff\xd8")
    assert visitor.ask("GET", f"/recordings/{id}/picture")[2] == talk
    rows = [
        soundfile.read(io.BytesIO(visitor.ask("GET", f"/recordings/{id}/files/{name}")[2]))[0]
        for name in job["files"]
    ]
    with open_audio(io.BytesIO(talk)) as reader:
        mixture = np.concatenate(list(reader.blocks(RATE)), axis=1)[0]
    assert np.allclose(sum(rows), mixture, atol=1e-3)
    assert Visitor(server).ask("GET", f"/recordings/{id}/picture")[0] == 404


def test_faces_that_were_found_before_need_no_picture_again(tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(voices(1.0))
    mouths = np.random.default_rng(0).integers(1, 256, (25, 88, 88), np.uint8)
    boxes = np.tile(np.float32([1, 2, 3, 4]), (25, 1))
    found = [
        FaceTrack(f"face-{k}", mouths[::k], boxes[::k], [(0.0, 1.0 / k)], np.zeros((160, 160, 3), np.uint8))
        for k in (1, 2)
    ]
    result = separate_file(tmp_path / "talk.wav", tmp_path / "out", faces=found)
    assert [path.name for path in result.outputs] == ["face-1.wav", "face-2.wav"]
    with pytest.raises(UsageError, match="no faces are given"):
        separate_file(tmp_path / "talk.wav", tmp_path / "other", faces=[])


@real_faces
def test_a_box_lies_over_each_face_and_says_whose_voice_it_gives(faces: Page) -> None:
    assert row_names(faces) == ["Input", "Face 1", "Face 2", "What no face says"]
    expect(faces.locator("#boxes .box:visible")).to_have_count(2)
    stage = faces.locator("#film").bounding_box()
    for face, middle in ((1, 0.25), (2, 0.75)):
        assert box(faces, face).get_attribute("aria-label") == f"Hear Face {face}"
        found = box(faces, face).bounding_box()
        x = (found["x"] + found["width"] / 2 - stage["x"]) / stage["width"]
        assert x == pytest.approx(middle, abs=0.1)
    if folder := os.environ.get("UNMINGLE_PICTURES"):  # to look at; never for the repository
        faces.screenshot(path=Path(folder) / "faces.png", full_page=True)


@real_faces
def test_a_click_on_a_face_plays_that_voice_alone_and_on_a_second_both(faces: Page) -> None:
    click_on(faces, 1)
    until_in(faces, PLAYING)
    is_audible(faces, False, True, False, False)
    assert heard(faces) == ["Hear Face 1"] * 2
    faces.locator("#each-face button").nth(1).click()
    faces.evaluate("player.seek(1)")
    is_audible(faces, False, True, True, False)
    click_on(faces, 1)
    faces.evaluate("player.seek(1)")
    is_audible(faces, False, False, True, False)
    assert heard(faces) == ["Hear Face 2"] * 2
    faces.get_by_role("button", name="All", exact=True).click()
    faces.evaluate("player.seek(1)")
    is_audible(faces, False, True, True, True)
    assert heard(faces) == ["All"]


@real_faces
def test_the_picture_plays_in_step_with_the_voices_and_without_its_own_sound(faces: Page) -> None:
    offset = "Math.abs(player.film.sound.currentTime - player.rows[0].sound.currentTime)"
    faces.get_by_role("button", name="Play", exact=True).click()
    until_in(faces, PLAYING)
    until_in(faces, f"{offset} < 0.04")
    assert faces.evaluate("player.film.sound.muted")
    faces.evaluate("player.seek(0.5)")
    until_in(faces, PLAYING)
    until_in(faces, f"{offset} < 0.04")
    faces.get_by_role("button", name="Pause").click()
    until_in(faces, "player.film.sound.paused && player.rows.every((row) => row.sound.paused)")


@real_faces
def test_faces_are_chosen_with_the_keyboard_alone(faces: Page) -> None:
    faces.get_by_role("heading", name="Results").focus()
    for _ in range(3):  # All, Face 1, Face 2
        faces.keyboard.press("Tab")
    faces.keyboard.press("Enter")
    assert heard(faces) == ["Hear Face 2"] * 2
    until_in(faces, PLAYING)


@real_faces
def test_the_voice_of_a_face_is_downloaded(faces: Page) -> None:
    with faces.expect_download() as one:
        faces.get_by_role("link", name="Download Face 2").click()
    assert one.value.suggested_filename == "talk-face-2.flac"
    assert soundfile.info(one.value.path()).duration == pytest.approx(LENGTH_S, abs=0.1)


@real_faces
def test_on_a_phone_faces_do_not_scroll_sideways(faces: Page) -> None:
    size = faces.viewport_size
    faces.set_viewport_size({"width": 360, "height": 640})
    assert has_no_sideways_scroll(faces)
    faces.set_viewport_size(size)


@real_faces
def test_a_picture_that_the_browser_does_not_play_is_said_and_faces_stay(
    page: Page,  # noqa: F811
    tmp_path: Path,
) -> None:
    choose(page, beside(tmp_path / "talk.mkv", "ffv1").read_bytes(), "talk.mkv")
    page.get_by_role("button", name="Separate", exact=True).click()
    expect(page.get_by_text("does not play the picture of this video")).to_be_visible()
    expect(page.locator("#boxes")).to_be_hidden()
    page.get_by_role("button", name="Hear Face 2").click()
    until_in(
        page, "player.started && player.rows.filter((row) => row.soloed).map((row) => row.id) == 'face-2'"
    )


@pytest.mark.parametrize("has_picture", [True, False])
def test_what_shows_no_face_is_separated_by_ear_instead(
    page: Page,  # noqa: F811
    tmp_path: Path,
    has_picture: bool,
) -> None:
    samples, _ = soundfile.read(io.BytesIO(voices(2.0)), dtype="float32")
    path = tmp_path / "grey.mp4"
    if has_picture:
        film(path, numbered(50), np.arange(50) / 25, samples[None])
    else:
        path.write_bytes((ROOT / "examples/two-voices.flac").read_bytes())
    choose(page, path.read_bytes(), "grey.mp4")
    page.get_by_role("button", name="Separate", exact=True).click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("grey.mp4: no face" if has_picture else "grey.mp4: has no moving picture")
    expect(alert).to_contain_text("separate it by ear")
    page.get_by_role("button", name="Separate by ear").click()
    expect(page.get_by_role("heading", name="Results")).to_be_visible()
    assert row_names(page)[:2] == ["Input", "Speaker 1"]
    expect(page.locator("#seen")).to_be_hidden()


def test_the_task_follows_what_is_chosen(page: Page) -> None:  # noqa: F811
    chosen = "document.querySelector('input[name=task]:checked').value"
    choose(page, b"a", "talk.MP4")
    assert page.evaluate(chosen) == "faces"
    choose(page, b"a", "talk.wav")
    assert page.evaluate(chosen) == "separate"
