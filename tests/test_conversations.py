"""Conversations: made, separated into people, and measured; the voices are synthetic, the example's."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unmingle.errors import InputError, UsageError
from unmingle.inference import clustering, diarization
from unmingle.inference.arrays import separate
from unmingle.inference.choosing import as_separator
from unmingle.inference.clustering import condense, labels_after, likeness, merge_order
from unmingle.inference.conversation import listen, shares
from unmingle.inference.diarization import best_path
from unmingle.inference.files import enhance_file, separate_file
from unmingle.inference.segmentation import voices_at_once
from unmingle.inference.voice_activity import FRAME_S, speech_frames
from unmingle.results.rttm import Segment, read_rttm, write_rttm

ROOT, RATE = Path(__file__).parents[1], 16_000


def voices() -> list[np.ndarray]:
    return [
        soundfile.read(ROOT / f"examples/two-voices.reference-{k}.flac", dtype="float32")[0] for k in (1, 2)
    ]


def talk() -> np.ndarray:
    """Half a minute: the first voice alone for 8 s, the second for 8 s, both for 8 s, the first again."""
    first, second = voices()
    turns = [(first, 0.0), (second, 8.5), (first, 17.0), (second, 17.0), (first, 25.5)]
    mixture = np.zeros(34 * RATE, np.float32)
    for voice, at_s in turns:
        start = round(at_s * RATE)
        mixture[start : start + len(voice)] += voice
    return mixture


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, talk(), RATE, "FLOAT")
    return path


def test_two_people_who_take_turns_get_a_track_each(recording: Path, tmp_path: Path) -> None:
    result = separate_file(recording, tmp_path, rest=True)
    assert [path.name for path in result.outputs] == ["speaker-1.wav", "speaker-2.wav"]
    tracks = [soundfile.read(path, dtype="float32")[0] for path in result.outputs]
    mixture, second_s = talk(), slice(round(9.0 * RATE), round(16.0 * RATE))
    for own, other, at in ((0, 1, slice(0, 7 * RATE)), (1, 0, second_s), (0, 1, slice(26 * RATE, 33 * RATE))):
        power = [np.mean(tracks[k][at] ** 2) / np.mean(mixture[at] ** 2) for k in (own, other)]
        assert power[0] > 0.8 and power[1] < 0.01
    rest, _ = soundfile.read(result.rest, dtype="float32")
    assert np.abs(sum(tracks) + rest - mixture).max() < 1e-5
    assert result.seconds is not None and result.seconds["speaker-1"] > result.seconds["speaker-2"] > 12
    assert all(each.end_s == round(each.end_s, 3) for each in result.segments or [])
    written = read_rttm(tmp_path / "talk/speakers.rttm")
    assert result.segments is not None and len(written) == len(result.segments) >= 4
    labels = (tmp_path / "talk/labels.txt").read_text().splitlines()
    assert [line.split("\t")[2] for line in labels] == [segment.speaker for segment in written]
    assert "segments" in result.to_dict() and result.to_dict()["segments"][0]["speaker"] == "speaker-1"


def test_nobody_speaks_after_the_end(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "cut.wav", voices()[0][: round(4.01 * RATE)], RATE)
    result = separate_file(tmp_path / "cut.wav", tmp_path)
    ends = [each.end_s for each in (*(result.segments or []), *read_rttm(tmp_path / "cut/speakers.rttm"))]
    assert max(ends) == 4.01


def test_two_people_in_turns_are_told_apart_in_a_few_seconds_too() -> None:
    length = round(4.5 * RATE)
    first, second = (voice[:length] for voice in voices())
    mixture = np.concatenate([first, second])
    tracks = separate(mixture, RATE)
    assert [np.mean(track[:length] ** 2) > np.mean(track[length:] ** 2) for track in tracks] == [True, False]
    (wanted,) = separate(mixture, RATE, targets={"second": voices()[1][RATE:]})
    assert np.array_equal(wanted, tracks[1])
    assert len(separate(np.concatenate([first, voices()[0][length:]]), RATE)) == 1


def test_an_array_gives_what_a_file_gives_at_any_rate(recording: Path, tmp_path: Path) -> None:
    result = separate_file(recording, tmp_path, speakers="1-3")
    rows = separate(talk(), RATE, speakers="1-3")
    assert len(rows) == len(result.outputs) == 2
    assert np.abs(rows[0] - soundfile.read(result.outputs[0], dtype="float32")[0]).max() < 1e-6
    assert separate(np.repeat(talk()[: 10 * RATE], 3), 3 * RATE, speakers=2).shape == (2, 30 * RATE)


def test_a_number_of_people_is_kept_even_where_fewer_speak() -> None:
    first, _ = voices()
    rows = separate(first, RATE, speakers=3)
    assert rows.shape == (3, len(first)) and np.mean(rows**2) > 0


def test_silence_is_one_silent_track() -> None:
    rows = separate(np.zeros(3 * RATE, np.float32), RATE)
    assert rows.shape == (1, 3 * RATE) and not rows.any()


def test_a_target_gets_its_track_and_nobody_elses(recording: Path, tmp_path: Path) -> None:
    first, second = voices()
    (row,) = separate(talk(), RATE, targets={"second": second})
    everybody = separate(talk(), RATE)
    assert np.array_equal(row, everybody[1])
    for name, voice in (("one", first), ("other one", second)):
        soundfile.write(tmp_path / f"{name}.wav", voice, RATE)
    alone = tmp_path / "alone.wav"
    soundfile.write(alone, first, RATE)
    targets = {name: tmp_path / f"{name}.wav" for name in ("one", "other one")}
    result = separate_file(alone, tmp_path / "out", targets=targets)
    assert [path.stem for path in result.outputs] == ["one", "other one"]
    assert [path.stem for path in result.silent] == ["other one"]
    assert any("other one: absent" in note for note in result.notes)
    assert "1 of 2 targets found" in result.notes and result.speakers == 1
    assert " other_one " not in (tmp_path / "out/alone/speakers.rttm").read_text()


def test_a_short_sample_of_a_voice_is_mentioned_and_a_long_one_is_not(tmp_path: Path) -> None:
    first, second = voices()
    for name, samples in (("talk", first[: 8 * RATE]), ("short", first[: 2 * RATE]), ("long", second)):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE)
    targets = {name: tmp_path / f"{name}.wav" for name in ("short", "long")}
    notes = separate_file(tmp_path / "talk.wav", tmp_path / "out", targets=targets).notes
    said = [note for note in notes if "sample of" in note]
    assert said == ["the sample of short is 2.0 s long; 5 s or more tell people apart better"]


def test_an_option_that_is_none_is_refused_with_those_that_are(recording: Path, tmp_path: Path) -> None:
    problem = r"no option 'target'; did you mean targets\? there are: .*leakage.*video.*purpose"
    with pytest.raises(UsageError, match=problem):
        separate_file(recording, tmp_path, target=[recording])
    with pytest.raises(UsageError, match="no option 'speakers'; there are: model, keep, "):
        enhance_file(recording, tmp_path, speakers=2)


def test_leakage_keeps_as_much_of_the_others_in_pauses_as_asked_for() -> None:
    pause = slice(round(9.0 * RATE), round(16.0 * RATE))  # of the first, while the second speaks
    kept = [np.mean(separate(talk(), RATE, leakage=share)[0][pause] ** 2) for share in (0.0, 0.5, 1.0)]
    assert kept[0] == 0 < kept[1] < kept[2] < 0.05 * np.mean(talk()[pause] ** 2)
    with pytest.raises(UsageError, match="leakage is 2"):
        separate(talk(), RATE, leakage=2)


def test_a_target_without_speech_or_of_a_reserved_name_is_refused(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"me: nobody speaks in this sample"):
        separate(talk(), RATE, targets={"me": np.zeros(5 * RATE)})
    with pytest.raises(UsageError, match="rest"):
        separate_file(recording, tmp_path, targets={"rest": recording})


def test_a_recording_too_long_for_memory_is_put_aside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("unmingle.inference.conversation.IN_MEMORY", 1000)
    mixture, (separator, _) = talk()[None], as_separator(None, "auto")
    blocks = [mixture[:, k : k + 5 * RATE] for k in range(0, mixture.shape[1], 5 * RATE)]
    tracks = listen(separator, blocks, RATE, folder=tmp_path)
    rows = np.concatenate([tracks.feed(block) for block in blocks], axis=1)
    tracks.flush()
    assert np.array_equal(rows, separate(talk(), RATE)) and not list(tmp_path.iterdir())


def vectors_of_three(n: int) -> tuple[np.ndarray, np.ndarray]:
    """`n` unit vectors around those of three people, and whose they are."""
    rng = np.random.default_rng(0)
    owners = rng.integers(3, size=n)
    vectors = rng.standard_normal((3, 64))[owners] + 0.7 * rng.standard_normal((n, 64))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), owners


def test_clusters_merge_from_the_most_alike_to_the_least() -> None:
    vectors, owners = vectors_of_three(30)
    merges, cosines = merge_order(vectors, np.ones(30))
    assert len(merges) == 29 and cosines[-2:].max() < 0.3 < cosines[:-2].min()
    labels = labels_after(merges[:-2], 30)
    assert all(len(set(labels[owners == k])) == 1 for k in range(3)) and len(set(labels)) == 3
    halves = [np.flatnonzero(owners == 0)[::2], np.flatnonzero(owners == 0)[1::2], np.flatnonzero(owners)]
    alike = likeness(vectors, np.ones(30), halves)
    assert alike[0, 1] > 0.9 and alike[0, 2] < 0.4 and not alike.diagonal().any()


def test_people_are_found_among_more_windows_than_are_clustered_at_once() -> None:
    n = 2 * clustering.MOST_AT_ONCE + 500
    vectors, owners = vectors_of_three(n)
    groups = condense(vectors, np.ones(n), clustering.MOST_AT_ONCE, clustering.LEFT)
    assert len(groups) <= clustering.LEFT + 3 and sorted(np.concatenate(groups)) == list(range(n))
    people = clustering.find_people(vectors, np.full(n, 1.6), 1, 8)
    assert [len(set(owners[own])) for own in people] == [1, 1, 1]
    assert len(clustering.find_people(vectors, np.full(n, 1.6), 1, 2)) == 2


def test_the_best_path_changes_only_where_it_pays() -> None:
    scores = np.zeros((60, 2))
    scores[:30, 0] = scores[30:, 1] = 1.0
    scores[10, 1] = 5.0
    costs = 20.0 * (1 - np.eye(2))
    assert np.array_equal(best_path(scores, costs), np.repeat([0, 1], 30))
    assert np.array_equal(best_path(scores[:, ::-1], costs), np.repeat([1, 0], 30))
    assert not best_path(0.1 * scores, costs).any() or best_path(0.1 * scores, costs).all()


def test_two_at_once_are_two_people_and_one_stays_on_their_stream() -> None:
    at_once, energy = np.repeat([1, 2], 40), np.ones((2, 80))
    energy[1, :40] = 1e-3
    windows = [
        diarization.Window(stream, *at) for stream, at in ((-1, (0, 40)), (0, (40, 80)), (1, (40, 80)))
    ]
    scores = np.array([[9.0, 0.0], [8.0, 5.0], [8.5, 5.0]])  # both streams are most like the first person
    labels = diarization.assign(at_once, energy, windows, scores)
    assert labels[0].tolist() == [0] * 80 and labels[1].tolist() == [-1] * 40 + [1] * 40


def test_windows_cover_speech_and_end_where_the_speaker_changes() -> None:
    at_once = np.repeat([0, 1, 2, 0], [20, 120, 50, 10])
    windows = diarization.windows_in(at_once, np.array([80]), np.ones((2, 200)))
    alone = [(w.start, w.end) for w in windows if w.stream == diarization.ALL]
    assert alone[0][0] == 20 and alone[-1][1] == 140 and all(end <= 80 or start >= 80 for start, end in alone)
    assert {(w.stream, w.start, w.end) for w in windows if w.stream != diarization.ALL} == {
        (0, 140, 190),
        (1, 140, 190),
    }


def test_it_is_heard_how_many_speak_at_once_and_where_another_begins() -> None:
    first, second = voices()
    n = 4 * RATE
    found = voices_at_once(np.concatenate([first[:n], second[:n], first[:n] + second[:n]]))
    one, two, other = (row.reshape(3, -1) for row in found[:, : 3 * (found.shape[1] // 3)])
    assert (one.mean(axis=1) > 0.6).all() and two[:2].mean() < 0.1 < 0.4 < two[2].mean()
    change = other.ravel()[round(3.5 / FRAME_S) : round(5.5 / FRAME_S)]
    assert change.max() > 0.5 > 0.3 > other.mean()


def test_where_one_person_speaks_all_streams_are_theirs() -> None:
    labels = np.full((2, 40), -1)
    labels[0, 5:30] = 0
    labels[1, 20:35] = 1
    gates = shares(labels, [0, 1])
    assert (gates[:, 0, 8:14] == 1).all() and not gates[:, 1, :12].any()
    assert gates[0, 0, 25] == gates[1, 1, 25] == 1 and (gates.sum(axis=1) <= 1 + 1e-9).all()


def test_short_noises_are_no_speech_and_short_pauses_no_silence() -> None:
    probability = np.zeros(100)
    probability[10:13] = probability[30:50] = probability[55:80] = 0.9
    speech = speech_frames(probability)
    assert not speech[:30].any() and speech[30:80].all() and not speech[80:].any()


def test_rttm_comes_back_as_it_was_written(tmp_path: Path) -> None:
    segments = [Segment("a", 0.5, 1.25), Segment("b c", 1.0, 3.0)]
    write_rttm(tmp_path / "x.rttm", segments, "a talk")
    assert read_rttm(tmp_path / "x.rttm") == [segments[0], Segment("b_c", 1.0, 3.0)]
    (tmp_path / "bad.rttm").write_text("SPEAKER talk 1 zero 1.0 <NA> <NA> a <NA> <NA>\n")
    with pytest.raises(InputError, match=r"bad\.rttm: line 1 is no segment"):
        read_rttm(tmp_path / "bad.rttm")
    with pytest.raises(InputError, match=r"missing\.rttm: cannot be read"):
        read_rttm(tmp_path / "missing.rttm")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations of four speakers, who are the two voices at two speeds, and the recipe of them."""
    pytest.importorskip("torch")
    from unmingle.evaluation.conversation_mixer import read_plans, write_conversations
    from unmingle.training.recipe import read_recipe

    folder = tmp_path_factory.mktemp("mixed")
    rows = []
    for k, voice in enumerate(voices() * 2):
        soundfile.write(folder / f"{k}.wav", voice[:: 1 + k // 2], RATE)
        rows.append({"path": f"{k}.wav", "split": "valid", "speaker": f"s{k}"})
    with (folder / "voices.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    (folder / "list.csv").write_text(
        "recording,people,overlap,seconds,seed\none,2,0,60,1\ntwo,3,0.3,60,2\nagain,3,0.3,60,2\n"
    )
    overrides = [
        f"data.speech={folder / 'voices.csv'}",
        "data.noise=",
        "data.p_noise=0",
        "data.corpora=[]",
        f"data.cache={folder / 'cache'}",
    ]
    data = read_recipe(ROOT / "recipes/libri/conversations.yaml", overrides).data
    write_conversations(data, read_plans(folder / "list.csv"), folder / "out")
    return folder / "out"


def test_a_conversation_is_the_sum_of_its_voices_and_depends_on_its_row_alone(mixed: Path) -> None:
    for name in ("one", "two"):
        parts = [soundfile.read(path)[0] for path in (mixed / name).glob("*.wav") if path.stem != "mixture"]
        assert np.abs(sum(parts) - soundfile.read(mixed / name / "mixture.wav")[0]).max() < 1e-6
    for path in (mixed / "two").glob("*.wav"):
        assert np.array_equal(soundfile.read(path)[0], soundfile.read(mixed / "again" / path.name)[0])


def test_a_conversation_has_the_overlap_that_was_asked_for(mixed: Path) -> None:
    from unmingle.evaluation.conversation_mixer import overlap_share

    assert overlap_share(read_rttm(mixed / "one/speakers.rttm"), 60) == 0
    segments = read_rttm(mixed / "two/speakers.rttm")
    assert overlap_share(segments, 60) == pytest.approx(0.3, abs=0.1)
    assert len({segment.speaker for segment in segments}) == 3
    edges = sorted([(s.start_s, 1) for s in segments] + [(s.end_s, -1) for s in segments])
    assert np.cumsum([step for _, step in edges]).max() <= 3


def test_too_few_voices_and_a_bad_list_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from unmingle.evaluation.conversation_mixer import read_plans

    (tmp_path / "list.csv").write_text("recording,people\none,2\n")
    with pytest.raises(InputError, match="not a list of conversations"):
        read_plans(tmp_path / "list.csv")


def test_measures_of_a_perfect_and_of_a_wrong_separation(mixed: Path) -> None:
    pytest.importorskip("pyannote.metrics")
    from unmingle.evaluation.conversations import Conversation

    known = Conversation.read(mixed / "two")
    perfect = known.measure(known.segments, known.voices)
    assert perfect["der"] == perfect["confusion"] == 0 and perfect["found"] == perfect["people"] == 3
    assert perfect["tracked"] > 0.99 and perfect["overlapped_si_sdri_db"] > 30
    one = [Segment("x", segment.start_s, segment.end_s) for segment in known.segments]
    wrong = known.measure(one, {"x": known.mixture})
    assert wrong["found"] == 1 and wrong["der"] > 0.4 and wrong["tracked"] < 0.7
    assert wrong["leakage_db"] == pytest.approx(0, abs=1e-6)
    late = [Segment(s.speaker, s.start_s + 0.1, s.end_s + 0.1) for s in known.segments]
    row = known.measure(late, known.voices)
    assert row["der_collar"] < row["der"] < 0.3 and row["missed"] > 0 and row["false_alarm"] > 0
