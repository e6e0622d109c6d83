"""LRS2, VoxCeleb2 and GRID as they lie on disk, in made trees."""

from pathlib import Path

import numpy as np
import pytest
from conftest import encode, sweep

from unmingle.data.corpora import Corpus, read_mono, read_recordings
from unmingle.data.recipe import DataRecipe

RATE = 16_000


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(root: Path, **options: bool) -> list[tuple[str, str, str, str, str]]:
    return [
        (clip.path.relative_to(root).as_posix(), clip.speaker, clip.corpus, clip.split, clip.transcript)
        for clip in read_recordings(root, **options)
    ]


@pytest.fixture
def lrs2(tmp_path: Path) -> Path:
    main = "mvlrs_v1/main/5535415699068794046"
    root = touch(
        tmp_path / "LRS2", f"{main}/00001.mp4", f"{main}/00002.mp4", "mvlrs_v1/pretrain/60/00001.mp4"
    )
    (root / f"{main}/00001.txt").write_text("Text:  WHEN YOU'RE COOKING\nConf:  4\n")
    (root / "mvlrs_v1/pretrain/60/00001.txt").write_text(
        "Text:  IT WAS\nConf:  3\n\nWORD START END ASDSCORE\nIT 0.1 0.2 1.0\n"
    )
    return root


def test_lrs2_s_speakers_are_its_videos_and_its_words_are_known(lrs2: Path) -> None:
    main = "5535415699068794046"
    assert listed(lrs2) == [
        (f"mvlrs_v1/main/{main}/00001.mp4", main, "LRS2", "train", "WHEN YOU'RE COOKING"),
        (f"mvlrs_v1/main/{main}/00002.mp4", main, "LRS2", "train", ""),
        ("mvlrs_v1/pretrain/60/00001.mp4", "60", "LRS2", "train", "IT WAS"),
    ]


@pytest.mark.parametrize("place", [".", "mvlrs_v1"])
def test_lrs2_s_lists_say_which_split_a_clip_is_in(lrs2: Path, place: str) -> None:
    (lrs2 / place / "val.txt").write_text("5535415699068794046/00002\n")
    (lrs2 / place / "test.txt").write_text("1/00001 MV\n")
    touch(lrs2, "mvlrs_v1/main/1/00001.mp4")
    assert [(name[-11:], split) for name, _, _, split, _ in listed(lrs2)] == [
        ("1/00001.mp4", "test"),
        ("6/00002.mp4", "valid"),
        ("0/00001.mp4", "train"),
    ]


def test_a_part_of_lrs2_may_be_given_alone(lrs2: Path) -> None:
    assert len(listed(lrs2 / "mvlrs_v1")) == 3
    assert len(listed(lrs2 / "mvlrs_v1/main")) == 2
    assert [row[1] for row in listed(lrs2 / "mvlrs_v1/pretrain")] == ["60"]


@pytest.mark.parametrize("part", [".", "mp4", "dev/mp4"])
def test_voxceleb2_s_speakers_are_its_identities(tmp_path: Path, part: str) -> None:
    root = touch(
        tmp_path / "VoxCeleb2",
        *(f"{part}/id0001{n}/{video}/0000{n}.mp4" for n in (2, 3) for video in ("21Uxsk56VDQ", "-kEc")),
    )
    assert [(row[1], row[2], row[3]) for row in listed(root)] == [
        *[("id00012", "VoxCeleb2", "train")] * 2,
        *[("id00013", "VoxCeleb2", "train")] * 2,
    ]


def test_of_a_clip_of_voxceleb2_the_sound_is_taken_unless_the_picture_is_wanted(tmp_path: Path) -> None:
    clip = "id00012/21Uxsk56VDQ/00001"
    root = touch(
        tmp_path / "VoxCeleb2",
        f"dev/mp4/{clip}.mp4",
        f"dev/aac/{clip}.m4a",
        "test/aac/id00017/x/00001.m4a",
        "test/mp4/id00018/x/00001.mp4",
    )
    assert [(row[0], row[1], row[3]) for row in listed(root)] == [
        (f"dev/aac/{clip}.m4a", "id00012", "train"),
        ("test/aac/id00017/x/00001.m4a", "id00017", "test"),
        ("test/mp4/id00018/x/00001.mp4", "id00018", "test"),
    ]
    assert [row[0] for row in listed(root, picture=True)] == [
        f"dev/mp4/{clip}.mp4",
        "test/mp4/id00018/x/00001.mp4",
    ]


@pytest.mark.parametrize(
    ("clip", "align"),
    [
        ("s1/bbaf2n", "s1/bbaf2n"),
        ("s1/bbaf2n", "s1/align/bbaf2n"),
        ("s1/bbaf2n", "alignments/s1/bbaf2n"),
        ("s1/bbaf2n", "align/s1/bbaf2n"),
        ("video/s1/mpg_6000/bbaf2n", "align/s1/bbaf2n"),
    ],
)
def test_grid_s_speakers_are_its_folders_and_its_words_lie_in_alignments(
    tmp_path: Path, clip: str, align: str
) -> None:
    root = touch(tmp_path / "GRID", f"{clip}.mpg", clip.replace("s1", "s20") + ".mpg", f"{align}.align")
    (root / f"{align}.align").write_text("0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 40000 sp\n")
    rows = listed(root)
    assert [row[1:] for row in rows if row[1] == "s1"] == [("s1", "GRID", "train", "bin blue")]
    assert {row[1] for row in rows} == {"s1", "s20"}


def test_a_folder_of_other_videos_has_a_speaker_per_folder(tmp_path: Path) -> None:
    root = touch(tmp_path / "mine", "anna/1.mp4", "anna/2.wav", "ben/1.mkv")
    assert [row[1] for row in listed(root)] == ["anna", "anna", "ben"]
    assert [row[0] for row in listed(root, picture=True)] == ["anna/1.mp4", "ben/1.mkv"]
    touch(tmp_path / "heard", "anna/1.wav")
    with pytest.raises(ValueError, match="no video file in this folder"):
        read_recordings(tmp_path / "heard", picture=True)


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [("1.mp4", "aac", None), ("1.m4a", "aac", "mp4"), ("1.mpg", "mp2", None), ("1.mkv", "flac", None)],
)
def test_the_sound_of_a_video_is_decoded(
    tmp_path: Path, name: str, codec: str, container: str | None
) -> None:
    samples = sweep(1.0, 48_000)
    encode(tmp_path / name, samples, 48_000, codec, container=container, video=name != "1.m4a")
    found, wanted = read_mono(tmp_path / name, 48_000), samples[0]
    assert abs(len(found) - len(wanted)) <= 2 * 1152
    n = min(len(found), len(wanted))
    likeness = np.fft.irfft(np.fft.rfft(found[:n], 2 * n) * np.fft.rfft(wanted[:n], 2 * n).conj())
    assert (np.argmax(likeness) + n) % (2 * n) - n == pytest.approx(0, abs=1152)


def test_a_video_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken\.mp4: not a readable"):
        read_mono(tmp_path / "broken.mp4", RATE)


def test_a_recipe_draws_its_voices_from_voxceleb2(tmp_path: Path) -> None:
    for speaker in ("id00012", "id00013"):
        folder = tmp_path / f"VoxCeleb2/mp4/{speaker}/video"
        folder.mkdir(parents=True)
        encode(folder / "00001.mp4", sweep(1.0, RATE), RATE, "aac", video=True)
    data = DataRecipe(speech=str(tmp_path / "VoxCeleb2"), cache=str(tmp_path / "cache"))
    corpus = data.decode(data.voices("train"), "voices")
    assert isinstance(corpus, Corpus)
    assert [recording.speaker for recording in corpus.recordings] == ["id00012", "id00013"]
    assert corpus.length(0) == RATE
