"""Who the people are, on the page: names, who is the same, one of them alone; and the addresses for that."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect
from test_page import browser, choose, page, playwright, until_in  # noqa: F401
from web_server import ROOT, Server, Visitor

from unmingle.errors import UsageError
from unmingle.results.rttm import Segment
from unmingle.web.people import joined, read_people

CONVERSATION = (ROOT / "examples/conversation.flac").read_bytes()
TRACKS = ["speaker-1", "speaker-2", "speaker-3"]


def as_json(*people: tuple[str, list[str]]) -> list[dict[str, Any]]:
    return [{"name": name, "tracks": tracks} for name, tracks in people]


def read(visitor: Visitor, id: str, name: str) -> np.ndarray:
    code, _, content = visitor.ask("GET", f"/recordings/{id}/files/{name}")
    assert code == 200, name
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]


def test_people_get_names_and_two_become_one_and_come_back(server: Server) -> None:
    visitor = Visitor(server)
    id, job = visitor.separate(CONVERSATION, format="wav")
    assert [person["name"] for person in job["people"]] == TRACKS
    before = [read(visitor, id, f"{name}.wav") for name in TRACKS]

    def arrange(*people: tuple[str, list[str]]) -> tuple[int, dict[str, Any]]:
        body = json.dumps(as_json(*people)).encode()
        code, _, said = visitor.ask("POST", f"/recordings/{id}/people", body)
        return code, json.loads(said)

    code, job = arrange(("Zoë", TRACKS[:1]), ("The others", TRACKS[1:]))
    assert code == 200 and job["voices"] == ["Zoë.wav", "The others.wav"]
    assert np.array_equal(read(visitor, id, "Zoë.wav"), before[0])
    assert np.allclose(read(visitor, id, "The others.wav"), before[1] + before[2], atol=1e-6)
    assert {segment["speaker"] for segment in job["segments"]} == {"Zoë", "The others"}
    assert len(job["peaks"]["The others.wav"]) == len(job["peaks"]["Zoë.wav"])
    archive = zipfile.ZipFile(io.BytesIO(visitor.ask("GET", f"/recordings/{id}/all.zip")[2]))
    assert {"Zoë.wav", "The others.wav", "speakers.rttm", "labels.txt"} <= set(archive.namelist())
    assert "speaker-1.wav" not in archive.namelist()
    assert "The_others" in archive.read("speakers.rttm").decode()
    assert "Zoë" in archive.read("labels.txt").decode()
    code, said = arrange(("Anna", TRACKS[:1]), ("anna", TRACKS[1:]))
    assert code == 400 and "two people are called" in said["error"]
    assert arrange(*((name, [name]) for name in TRACKS))[0] == 200
    assert np.array_equal(read(visitor, id, "speaker-3.wav"), before[2])


@pytest.mark.parametrize("name", ["", "../up", "a/b", "rest", "Input", "x" * 61, ".hidden", "end."])
def test_what_cannot_be_a_file_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a name here"):
        read_people(as_json((name, ["speaker-1"])), ["speaker-1"])


@pytest.mark.parametrize("tracks", [[], ["speaker-1"], ["speaker-1", "speaker-1", "speaker-2"], ["x"]])
def test_every_track_is_somebodys_and_only_once(tracks: list[str]) -> None:
    with pytest.raises(UsageError, match="load the page again"):
        read_people(as_json(("Anna", tracks)), ["speaker-1", "speaker-2"])


def test_stretches_that_touch_are_one() -> None:
    spans = [(3.0, 4.0), (0.0, 1.0), (1.0, 2.0), (3.5, 3.8)]
    assert joined([Segment("a", *span) for span in spans]) == [(0.0, 2.0), (3.0, 4.0)]


def sample(tmp_path: Path, voice: int) -> Path:
    path = tmp_path / f"voice {voice}.wav"
    samples, rate = soundfile.read(ROOT / f"examples/two-voices.reference-{voice}.flac")
    soundfile.write(path, samples, rate)
    return path


def separated(page: Page) -> None:  # noqa: F811
    choose(page, CONVERSATION, "talk.flac")
    page.get_by_role("button", name="Separate").click()
    expect(page.locator("#timeline .line")).to_have_count(3)


def test_a_visitor_names_people_and_says_who_is_the_same(page: Page) -> None:  # noqa: F811
    separated(page)
    field = page.get_by_label("Name of Speaker 1")
    field.fill("Zoë")
    field.press("Enter")
    expect(page.get_by_label("Name of Zoë")).to_have_value("Zoë")
    expect(page.locator("#timeline .line").first).to_have_attribute("aria-label", "Zoë")
    page.get_by_label("Name of Speaker 2").fill("Zoë")
    page.get_by_label("Name of Speaker 2").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("two people are called Zoë")
    page.get_by_label("Speaker 2 is the same person as").select_option("speaker-3")
    expect(page.locator("#timeline .line")).to_have_count(2)
    with page.expect_download() as kept:
        page.get_by_label("Download Zoë").click()
    assert kept.value.suggested_filename == "talk-Zoë.flac"
    page.get_by_role("button", name="Undo the last change of people").click()
    expect(page.locator("#timeline .line")).to_have_count(3)
    expect(page.get_by_label("Name of Zoë")).to_have_count(1)


def test_a_click_on_the_timeline_offers_that_person_alone(page: Page) -> None:  # noqa: F811
    separated(page)
    page.locator("#timeline .line").nth(1).locator("button").first.click()
    expect(page.locator("#stretch-text")).to_have_text(re.compile("Speaker 2 from 0:0"))
    page.get_by_role("button", name="Only this person", exact=True).click()
    expect(page.locator("#sounds article:visible")).to_have_count(1)
    assert page.evaluate("player.rows.filter((row) => row.soloed).map((row) => row.id)") == ["speaker-2"]
    page.get_by_role("button", name="Everybody").click()
    expect(page.locator("#sounds article:visible")).to_have_count(4)
    assert page.evaluate("player.rows.some((row) => row.soloed)") is False


@pytest.mark.parametrize("voice", [1, 2])
def test_one_person_is_picked_out_by_a_sample(page: Page, tmp_path: Path, voice: int) -> None:  # noqa: F811
    choose(page, CONVERSATION, "talk.flac")
    page.get_by_label("Only this person").set_input_files(sample(tmp_path, voice))
    page.get_by_role("button", name="Separate").click()
    expect(page.locator("#sounds article")).to_have_count(2)
    expect(page.get_by_label(f"Name of voice {voice}")).to_have_count(1)
    assert "absent" not in page.locator("#notes").inner_text()
    until_in(page, "document.querySelectorAll('#timeline .line button').length > 0")


def test_a_person_who_is_not_there_is_said_to_be_absent(page: Page, tmp_path: Path) -> None:  # noqa: F811
    choose(page, (ROOT / "examples/two-voices.reference-1.flac").read_bytes(), "talk.flac")
    page.get_by_label("Only this person").set_input_files(sample(tmp_path, 2))
    page.get_by_role("button", name="Separate").click()
    expect(page.locator("#notes")).to_contain_text("voice 2: absent")


def test_a_sample_in_which_nobody_speaks_is_named_as_the_visitor_names_it(server: Server) -> None:
    visitor, file = Visitor(server), io.BytesIO()
    soundfile.write(file, np.zeros(16_000), 16_000, format="WAV")
    id = visitor.upload(CONVERSATION, "talk.flac")["id"]
    assert visitor.ask("POST", f"/recordings/{id}/sample?name=Anna.wav", file.getvalue())[0] == 201
    assert visitor.start(id, target=True) == (202, {})
    assert visitor.wait(id)["error"].startswith("Anna.wav: nobody speaks in this sample")
    other = visitor.upload(CONVERSATION, "talk.flac")["id"]
    assert visitor.start(other, target=True) == (202, {})
    assert "choose it again" in visitor.wait(other)["error"]
