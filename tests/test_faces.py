"""Faces of a video: found, followed, and their voices told apart."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from videos import drawn_face, film

import unmingle
from unmingle import separate, separate_file
from unmingle.cli import main
from unmingle.errors import Cancelled, InputError, UsageError
from unmingle.facts import Facts, lips
from unmingle.inference.face_joining import join_by_voice
from unmingle.inference.faces import FaceVoices
from unmingle.inference.options import FileOptions
from unmingle.media.audio import open_audio
from unmingle.media.video import VideoReader
from unmingle.media.writer import AudioWriter
from unmingle.video import FaceTrack, find_faces

RATE = 16_000
VOICES = Path(unmingle.__file__).parent / "web" / "voices"
FAIR = {"skin": (205, 160, 130), "hair": (50, 35, 25), "shirt": (60, 60, 90)}
DARK = {"skin": (140, 95, 70), "hair": (15, 15, 15), "shirt": (190, 190, 180)}
EMPTY = np.full((180, 320, 3), 100, np.uint8)


class Opening:
    """A separator by sight: of the mixture, what sounds while the mouth changes."""

    facts = Facts(sample_rate=RATE, n_src=1, cues=(lips(1),), order="cued", chunk=RATE)

    def __call__(self, mixture: np.ndarray, cues: object = None, /) -> np.ndarray:
        mouth = cues["lips"][0]  # type: ignore[index]
        change = np.abs(np.diff(mouth, axis=-1, prepend=mouth[..., :1])).mean(axis=(0, 1))
        change = np.convolve(change, np.ones(5) / 5, mode="same")
        share = np.interp(np.arange(mixture.shape[1]) / RATE, np.arange(len(change)) / 25, change > 1.0)
        return (mixture[:1] * share).astype(np.float32)


class Visible(Opening):
    """Of the mixture, what sounds while there is a mouth."""

    def __call__(self, mixture: np.ndarray, cues: object = None, /) -> np.ndarray:
        there = cues["lips"][0].any(axis=(0, 1))  # type: ignore[index]
        share = np.interp(np.arange(mixture.shape[1]) / RATE, np.arange(len(there)) / 25, there)
        return (mixture[:1] * share).astype(np.float32)


class Shared:
    """All faces at once: each has as much of the mixture."""

    facts = replace(Opening.facts, n_src=None, cues=(lips(None),))

    def __call__(self, mixture: np.ndarray, cues: object = None, /) -> np.ndarray:
        n_faces = len(cues["lips"])  # type: ignore[index]
        return np.repeat(mixture[:1] / n_faces, n_faces, axis=0).astype(np.float32)


def talking(k: int, start: int, end: int) -> float:
    """How far a mouth is open on picture `k`, that talks from `start` on, until `end`."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (k - start) / 8) if start <= k < end else 0.0


def pair(k: int) -> np.ndarray:
    """Two people side by side: the left one talks in the first half of 4 s, the right one in the second."""
    left = drawn_face(talking(k, 0, 50), height=180, width=160, **FAIR)
    return np.concatenate([left, drawn_face(talking(k, 50, 100), height=180, width=160, **DARK)], axis=1)


def tones() -> np.ndarray:
    """What they say `(2, T)`: a tone each, while the mouth moves."""
    t = np.arange(4 * RATE) / RATE
    return np.stack([0.2 * np.sin(880 * np.pi * t) * (t < 2), 0.2 * np.sin(660 * np.pi * t) * (t >= 2)])


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mixture = tones().sum(axis=0, keepdims=True).astype(np.float32)
    path = tmp_path_factory.mktemp("faces") / "pair.mp4"
    return film(path, map(pair, range(100)), np.arange(100) / 25, mixture)


@pytest.fixture(scope="module")
def tracks(video: Path) -> list[FaceTrack]:
    return find_faces(video)


def tracked(tmp_path: Path, pictures: Iterator[np.ndarray], n: int) -> list[FaceTrack]:
    return find_faces(film(tmp_path / "video.mp4", pictures, np.arange(n) / 25, None))


def level_db(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(samples)) + 1e-12)


def test_faces_side_by_side_are_found_from_left_to_right(tracks: list[FaceTrack]) -> None:
    assert [track.name for track in tracks] == ["face-1", "face-2"]
    for track, middle in zip(tracks, (80, 240), strict=True):
        left, top, right, bottom = np.nanmean(track.boxes, axis=0)
        assert left < middle < right and top < 100 < bottom
        assert track.segments == [(0.0, 4.0)] and track.seen == 1.0


def test_mouths_are_grey_pictures_of_the_whole_recording_in_which_lips_move(
    tracks: list[FaceTrack],
) -> None:
    for index, track in enumerate(tracks):
        assert track.mouths.shape == (100, 88, 88) and track.mouths.dtype == np.uint8
        moves = np.abs(np.diff(track.mouths.astype(int), axis=0)).mean(axis=(1, 2))
        halves = moves[:48].mean(), moves[52:].mean()
        assert halves[index] > 5 * halves[1 - index]


def test_a_thumbnail_shows_the_face(tracks: list[FaceTrack]) -> None:
    assert [track.thumbnail.shape for track in tracks] == [(160, 160, 3)] * 2
    fair, dark = (track.thumbnail[60:100, 60:100].mean() for track in tracks)
    assert fair > dark + 20


def test_a_face_that_leaves_for_a_while_has_zeros_there_and_keeps_its_name(tmp_path: Path) -> None:
    alone = drawn_face(width=320)
    track, *others = tracked(tmp_path, (EMPTY if 40 <= k < 80 else alone for k in range(120)), 120)
    assert not others
    assert np.isnan(track.boxes[42:78]).all() and not track.mouths[42:78].any()
    assert track.mouths[:38].any(axis=(1, 2)).all() and len(track.segments) == 2
    assert track.segments[1] == pytest.approx((3.2, 4.8), abs=0.25)


def test_shots_of_two_people_are_joined_to_two_people(tmp_path: Path) -> None:
    shots = [drawn_face(width=320, at=(0.4, 0.5), **FAIR), drawn_face(width=320, at=(0.6, 0.5), **DARK) // 2]
    found = tracked(tmp_path, (shots[k // 40 % 2] for k in range(160)), 160)
    assert [len(track.segments) for track in found] == [2, 2]
    assert [track.seen for track in found] == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_face_that_is_seen_for_less_than_a_second_is_left_out(tmp_path: Path) -> None:
    alone = drawn_face(width=320)
    assert tracked(tmp_path, (alone if k < 20 else EMPTY for k in range(50)), 50) == []


def test_those_that_are_seen_longest_are_kept(tmp_path: Path) -> None:
    pictures = (
        pair(0) if k < 60 else np.concatenate([EMPTY[:, :160], pair(0)[:, 160:]], 1) for k in range(90)
    )
    path = film(tmp_path / "video.mp4", pictures, np.arange(90) / 25, None)
    (kept,) = find_faces(path, most=1)
    assert np.nanmean(kept.boxes[:, 0]) > 160


def test_small_faces_are_found(tmp_path: Path) -> None:
    row = np.concatenate(3 * [drawn_face(height=120, width=213)], axis=1)
    whole = np.pad(row, ((120, 120), (0, 1), (0, 0)), constant_values=100)
    assert len(tracked(tmp_path, iter([whole] * 30), 30)) == 3


@pytest.mark.parametrize("size", [(2, 2), (16, 16), (180, 320)])
def test_a_picture_without_a_face_has_none(tmp_path: Path, size: tuple[int, int]) -> None:
    assert tracked(tmp_path, iter([np.full((*size, 3), 90, np.uint8)] * 30), 30) == []


def test_the_search_is_cancelled_by_its_progress(video: Path) -> None:
    with pytest.raises(Cancelled):
        find_faces(video, progress=lambda done_s, total_s: done_s < 1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads how much memory is used as Linux tells it")
def test_ten_minutes_take_no_more_memory_than_one(tmp_path: Path) -> None:
    code = (
        "import sys, resource; from unmingle.video import find_faces\n"
        "tracks = find_faces(sys.argv[1])\n"
        "print(len(tracks), len(tracks[0].mouths), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    used = []
    for minutes in (1, 10):
        views = [drawn_face(mouth, height=96, width=96) for mouth in (0.0, 1.0)]
        times = np.arange(15 * minutes) * 4.0
        path = film(tmp_path / f"{minutes}.mp4", (views[k % 2] for k in range(len(times))), times, None)
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
        n_faces, n, kilobytes = map(int, done.stdout.split())
        assert n_faces == 1 and n >= 25 * (60 * minutes - 4)
        used.append(kilobytes / 1024)
    assert used[1] - used[0] < 40


def test_each_face_gets_its_voice_as_long_as_the_recording(tracks: list[FaceTrack]) -> None:
    mixture = tones().sum(axis=0).astype(np.float32)
    voices = separate(mixture, RATE, faces=tracks, model=Opening())
    assert voices.shape == (2, len(mixture))
    for index, own in enumerate((slice(8_000, 24_000), slice(40_000, 56_000))):
        assert level_db(voices[index, own]) > level_db(mixture[own]) - 1
        assert level_db(voices[1 - index, own]) < level_db(mixture[own]) - 30


def test_the_highs_of_a_recording_go_with_the_voice_that_has_them(tracks: list[FaceTrack]) -> None:
    t = np.arange(4 * 44_100) / 44_100
    mixture = 0.1 * np.random.default_rng(0).standard_normal(len(t)).astype(np.float32)
    voices = separate(mixture, 44_100, faces=tracks, model=Opening())
    own = slice(22_050, 66_150)
    highs = np.abs(np.fft.rfft(voices[0, own]))[12_000:20_000].mean()
    assert highs > 0.7 * np.abs(np.fft.rfft(mixture[own]))[12_000:20_000].mean()


def test_what_is_before_the_passage_is_left_out_of_the_faces_too(video: Path, tmp_path: Path) -> None:
    result = separate_file(video, tmp_path, model=Opening(), faces=True, start_s=2.0)
    first, second = map(read, result.outputs)
    assert first.shape == (1, 2 * RATE) and level_db(second) > level_db(first) + 30


def test_faces_and_what_is_told_by_ear_exclude_one_another(tracks: list[FaceTrack]) -> None:
    with pytest.raises(UsageError, match="faces and speakers exclude one another"):
        separate(np.zeros(RATE), RATE, speakers=2, faces=tracks)


def test_a_model_that_does_not_see_is_refused_for_faces(tracks: list[FaceTrack]) -> None:
    with pytest.raises(
        UsageError, match=r"does not separate by sight; choose from: .*lips \(faces in a video\)"
    ):
        separate(np.zeros(RATE), RATE, model="duet", faces=tracks)


def test_a_model_that_sees_is_refused_where_no_faces_are_asked_for() -> None:
    with pytest.raises(UsageError, match="model lips tells people apart by sight; ask for faces"):
        separate(np.zeros(RATE), RATE, model="lips")


def read(path: Path) -> np.ndarray:
    with open_audio(path) as reader:
        return np.concatenate(list(reader.blocks(RATE)), axis=1)


def test_a_video_becomes_files_for_each_face(video: Path, tmp_path: Path) -> None:
    result = separate_file(video, tmp_path, model=Opening(), faces=True, video=True, rest=True)
    assert {path.name for path in (tmp_path / "pair").iterdir()} == {
        *(f"face-{n}.{suffix}" for n in (1, 2) for suffix in ("wav", "jpg", "mp4")),
        *("rest.wav", "faces.json"),
    }
    assert result.rest is not None
    voices, rest = [read(path) for path in result.outputs], read(result.rest)
    with open_audio(video) as reader:
        mixture = np.concatenate(list(reader.blocks(RATE)), axis=1)
    assert np.allclose(voices[0] + voices[1] + rest, mixture, atol=1e-5)
    assert result.to_dict()["faces"] == str(tmp_path / "pair/faces.json")
    index = json.loads((tmp_path / "pair/faces.json").read_text())["faces"]
    assert [(face["sound"], face["video"], face["thumbnail"]) for face in index] == [
        (f"face-{n}.wav", f"face-{n}.mp4", f"face-{n}.jpg") for n in (1, 2)
    ]
    assert index[0]["segments"] == [[0.0, 4.0]] and set(index[0]["boxes"]) == {"0", "1", "2", "3"}
    with av.open(str(tmp_path / "pair/face-1.jpg")) as picture:
        assert next(picture.decode(video=0)).width == 160


def test_the_copy_of_a_video_has_its_pictures_and_the_voice_in_step(video: Path, tmp_path: Path) -> None:
    result = separate_file(video, tmp_path, model=Opening(), faces=[2], video=True)
    assert result.videos is not None
    with VideoReader(result.videos[0]) as copy, VideoReader(video) as original:
        both = zip(copy.pictures(), original.pictures(), strict=True)
        assert all(np.array_equal(one, other) for one, other in both)
    voice, heard = read(result.outputs[0])[0], read(result.videos[0])[0]
    begins = [int(np.argmax(np.abs(samples) > 0.05)) for samples in (voice, heard)]
    assert abs(begins[0] - begins[1]) < RATE / 25 and abs(len(voice) - len(heard)) < RATE / 25


def test_several_faces_together_are_one_voice(video: Path, tmp_path: Path) -> None:
    every = separate_file(video, tmp_path / "every", model=Opening(), faces=True)
    both = separate_file(video, tmp_path / "both", model=Opening(), faces=[1, (240, 90, 1.0)])
    assert [path.name for path in both.outputs] == ["face-1-2.wav"]
    assert np.allclose(read(both.outputs[0]), sum(map(read, every.outputs)), atol=1e-5)


def shot(name: str, seen: slice, n: int) -> FaceTrack:
    """A face that is seen on some of `n` pictures."""
    mouths, boxes = np.zeros((n, 88, 88), np.uint8), np.full((n, 4), np.nan)
    mouths[seen], boxes[seen] = 9, (10, 10, 50, 50)
    start, stop, _ = seen.indices(n)
    look = np.ones((1, 4), np.float32) / 2
    return FaceTrack(name, mouths, boxes, [(start / 25, stop / 25)], np.zeros((160, 160, 3), np.uint8), look)


@pytest.mark.parametrize(("second", "n_people"), [("first", 1), ("second", 2)])
def test_shots_that_look_somewhat_alike_are_one_persons_if_they_sound_alike(
    tmp_path: Path, second: str, n_people: int
) -> None:
    voices = [read(VOICES / f"{name}.opus")[0] for name in ("first", second)]
    half = min(map(len, voices)) // 2
    with AudioWriter(tmp_path / "talk.wav", sample_rate=48_000) as writer:
        writer.write(np.concatenate([voices[0][:half], voices[1][-half:]])[None])
    n = half * 2 * 25 // 48_000
    faces = [shot("face-1", slice(0, n // 2), n), shot("face-2", slice(n // 2, n), n)]
    with open_audio(tmp_path / "talk.wav") as sound:
        found = join_by_voice(Visible(), faces, sound, FileOptions())
    assert [face.name for face in found] == [f"face-{k + 1}" for k in range(n_people)]
    assert found[0].seen == pytest.approx(1 / n_people, abs=0.01)
    assert found[0].mouths.any(axis=(1, 2)).mean() == pytest.approx(1 / n_people, abs=0.01)


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (3, "no face 3; there are 2"),
        ((5, 5, 1.0), "no face at 5,5 at 1 s; seen there: face-1 at 8"),
        ((80, 90, 9.0), "no face at 9 s, the video ends at 4.0 s"),
    ],
)
def test_a_face_that_is_not_there_is_named(video: Path, tmp_path: Path, wanted: object, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        separate_file(video, tmp_path, model=Opening(), faces=[wanted])
    assert not list(tmp_path.iterdir())


def test_a_video_without_a_face_is_offered_to_be_separated_by_ear(tmp_path: Path) -> None:
    path = film(tmp_path / "empty.mp4", [EMPTY] * 30, np.arange(30) / 25, np.zeros((1, RATE), np.float32))
    with pytest.raises(
        InputError, match=r"no face is seen .*; separate it by ear: unmingle separate .*empty"
    ):
        separate_file(path, tmp_path / "out", model=Opening(), faces=True)
    assert not (tmp_path / "out").exists()


def test_a_video_without_sound_is_one_clear_line(tmp_path: Path) -> None:
    path = film(tmp_path / "silent.mp4", [pair(0)] * 30, np.arange(30) / 25, None)
    with pytest.raises(InputError, match=r"silent\.mp4: has no audio track; choose a file with sound"):
        separate_file(path, tmp_path / "out", model=Opening(), faces=True)


def test_a_recording_without_a_picture_is_offered_to_be_separated_by_ear(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "talk.wav", sample_rate=RATE) as writer:
        writer.write(np.zeros((1, RATE), np.float32))
    with pytest.raises(InputError, match=r"talk\.wav: has no moving picture; .*: unmingle separate .*talk"):
        separate_file(tmp_path / "talk.wav", tmp_path / "out", model=Opening(), faces=True)


def test_a_face_that_is_not_seen_for_a_while_is_said_to_be_taken_by_ear(tmp_path: Path) -> None:
    pictures = (pair(0) if k < 30 else EMPTY for k in range(400))
    path = film(tmp_path / "video.mp4", pictures, np.arange(400) / 25, np.zeros((1, 16 * RATE), np.float32))
    result = separate_file(path, tmp_path, model=Opening(), faces=[1])
    assert "not seen, and taken by ear there, which is a guess: face-1 for 15 s" in result.notes


def test_a_separator_of_any_number_of_faces_sees_those_that_are_not_wanted_too(
    tracks: list[FaceTrack],
) -> None:
    mixture = tones().sum(axis=0)
    (voice,) = separate(mixture, RATE, faces=tracks[:1], model=Shared())
    assert np.allclose(voice, mixture, atol=1e-3)
    process = FaceVoices(Shared(), tracks[:1], RATE, others=tracks[1:])
    parts = [process.feed(mixture[None].astype(np.float32)), process.flush()]
    assert np.allclose(np.concatenate(parts, axis=1), mixture / 2, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--video"], "--video makes copies for faces; add --faces"),
        (["--face-at", "12"], "--face-at 12: not a point; write x,y@time"),
        (["--faces", "--speakers", "2"], "--faces and --speakers exclude one another"),
    ],
)
def test_wrong_options_for_faces_are_one_line(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert main(["separate", str(video), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert problem in capsys.readouterr().err
