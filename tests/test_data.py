"""Corpora, mixer and sets, on made voices."""

import csv
import inspect
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unmingle.data.corpora import Corpus, Utterance, check_splits, read_recordings
from unmingle.data.mixer import Mixer, level_db, stationary
from unmingle.data.recipe import DataRecipe
from unmingle.data.sets import read_set, write_set
from unmingle.errors import InputError
from unmingle.training.batches import build_mixers, hold_out

RATE = 16_000


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of made voices: 2 corpora × 5 speakers × 2 files of modulated harmonics, with a CSV."""
    root = tmp_path_factory.mktemp("voices")
    rng = np.random.default_rng(0)
    rows = []
    for corpus in ("a", "b"):
        for speaker in range(5):
            for file in range(2):
                seconds = 1.5 + file
                time = np.arange(int(seconds * RATE)) / RATE
                pitch = 90 + 30 * speaker + 5 * file
                tone = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in range(1, 12))
                samples = 0.1 * tone * (0.55 + 0.45 * np.sin(2 * np.pi * 3 * time + file))
                path = root / corpus / f"{corpus}{speaker}" / f"{file}.flac"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, RATE)
                rows.append(
                    {
                        "path": path.relative_to(root).as_posix(),
                        "split": "train",
                        "corpus": corpus,
                        "speaker": f"{corpus}{speaker}",
                    }
                )
    with (root / "voices.csv").open("w", newline="") as file_:
        writer = csv.DictWriter(file_, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


@pytest.fixture(scope="module")
def corpus(voices: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(
        read_recordings(voices / "voices.csv"), sample_rate=RATE, cache=tmp_path_factory.mktemp("cache")
    )


def test_decoded_samples_equal_the_file_to_16_bits(corpus: Corpus) -> None:
    expected, _ = soundfile.read(corpus.recordings[3].path, dtype="float32")
    assert np.abs(corpus.read(3) - expected).max() <= 1 / 32767
    assert np.array_equal(corpus.read(3, 100, 200), corpus.read(3)[100:200])


def test_a_second_corpus_of_the_same_files_does_not_decode_again(voices: Path, tmp_path: Path) -> None:
    recordings = read_recordings(voices / "voices.csv")
    Corpus(recordings, sample_rate=RATE, cache=tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    Corpus(recordings, sample_rate=RATE, cache=tmp_path)
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_some_recordings_of_a_corpus_read_as_in_the_whole(corpus: Corpus) -> None:
    part = corpus.only(corpus.recordings[5:2:-1])
    assert len(part) == 3
    assert [part.length(i) for i in range(3)] == [corpus.length(5 - i) for i in range(3)]
    assert np.array_equal(part.read(1, 100, 300), corpus.read(4, 100, 300))


def test_decoding_that_fails_leaves_nothing_behind(voices: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF....WAVE")
    recordings = [*read_recordings(voices / "voices.csv"), Utterance(tmp_path / "broken.wav", "x")]
    with pytest.raises(ValueError, match=r"broken\.wav: cannot be decoded"):
        Corpus(recordings, sample_rate=RATE, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_items_depend_on_seed_and_index_alone(corpus: Corpus) -> None:
    settings = {
        "n_items": 20,
        "length_s": 1.0,
        "p_partial": 0.5,
        "speed": (0.9, 1.1),
        "tilt_db": 3.0,
        "p_room": 0.5,
    }
    first, second = Mixer(corpus, seed=5, **settings), Mixer(corpus, seed=5, **settings)
    backwards = [second[i] for i in reversed(range(20))][::-1]
    assert all(np.array_equal(first[i].sources, backwards[i].sources) for i in range(20))
    assert not np.array_equal(first[0].sources, Mixer(corpus, seed=6, **settings)[0].sources)


def test_sources_and_noise_sum_to_the_mixture(corpus: Corpus) -> None:
    mixer = Mixer(corpus, corpus, seed=1, n_items=10, length_s=1.0, p_noise=1.0, p_room=0.5)
    for i in range(10):
        item = mixer[i]
        assert np.array_equal(item.mixture[0], item.sources.sum(axis=0) + item.noise)
        assert np.abs(item.mixture).max() < 1


def test_levels_are_as_asked(corpus: Corpus) -> None:
    mixer = Mixer(
        corpus,
        corpus,
        seed=1,
        n_items=20,
        length_s=1.0,
        level_db=(-30, -30),
        difference_db=4,
        p_noise=1.0,
        snr_db=(10, 10),
    )
    for i in range(20):
        item = mixer[i]
        assert level_db(item.sources[0]) == pytest.approx(-30, abs=0.01)
        assert -34.01 <= level_db(item.sources[1]) <= -29.99
        assert level_db(item.noise) == pytest.approx(-40, abs=0.01)


def test_altered_noises_are_drawn_by_seed_and_as_loud_as_asked(corpus: Corpus) -> None:
    settings = {"n_items": 12, "length_s": 1.0, "n_src": 1, "p_noise": 1.0, "snr_db": (10, 10)}
    plain, altered = (
        Mixer(corpus, corpus, seed=4, level_db=(-30, -30), p_altered=share, **settings) for share in (0, 1)
    )
    again = Mixer(corpus, corpus, seed=4, level_db=(-30, -30), p_altered=1, **settings)
    for i in range(12):
        assert np.array_equal(altered[i].noise, again[i].noise)
        assert not np.array_equal(altered[i].noise, plain[i].noise)
        assert level_db(altered[i].noise) == pytest.approx(-40, abs=0.01)


def test_stationary_noise_keeps_the_spectrum_and_spreads_what_happens() -> None:
    click = np.zeros(4000, np.float32)
    click[100:110] = 1
    spread = stationary(click, np.random.default_rng(1))
    inner = slice(1, -1)  # the first and last bin have no phase
    assert np.allclose(np.abs(np.fft.rfft(spread))[inner], np.abs(np.fft.rfft(click))[inner], atol=1e-3)
    assert np.abs(spread).max() < 0.3


def test_voices_of_a_mixture_are_two_speakers_of_one_corpus(corpus: Corpus) -> None:
    mixer = Mixer(corpus, seed=1, n_items=50, length_s=0.5)
    pairs = [mixer[i].speakers for i in range(50)]
    assert all(one != other and one[0] == other[0] for one, other in pairs)
    assert {pair[0][0] for pair in pairs} == {"a", "b"}


def test_corpora_are_drawn_by_weight(corpus: Corpus) -> None:
    mixer = Mixer(corpus, seed=1, n_items=400, length_s=0.1, weights={"a": 3, "b": 1})
    assert np.mean([mixer[i].speakers[0][0] == "a" for i in range(400)]) == pytest.approx(0.75, abs=0.06)


def test_a_recipe_can_set_everything_that_a_mixer_draws() -> None:
    given_elsewhere = {"speech", "noise", "seed", "n_items", "length_s"}
    assert set(inspect.signature(Mixer).parameters) - given_elsewhere == set(DataRecipe().drawing())


def test_overlap_is_as_asked(corpus: Corpus) -> None:
    mixer = Mixer(corpus, seed=1, n_items=20, length_s=1.0, p_partial=1.0)
    for i in range(20):
        active = (mixer[i].sources != 0).mean(axis=1)
        assert (active <= 0.81).all()
        assert (active > 0.1).all()


def test_the_share_of_one_voice_items_is_as_asked(corpus: Corpus) -> None:
    mixer = Mixer(corpus, seed=1, n_items=400, length_s=0.2, p_fewer=0.25)
    absent = np.mean([not mixer[i].sources.any(axis=1).all() for i in range(400)])
    assert absent == pytest.approx(0.25, abs=0.06)


def test_of_three_voices_one_or_two_are_absent_and_each_of_them_as_often(corpus: Corpus) -> None:
    there = np.array(
        [
            Mixer(corpus, seed=2, n_items=600, length_s=0.2, n_src=3, p_fewer=2 / 3)[i].sources.any(axis=1)
            for i in range(600)
        ]
    )
    assert np.bincount(there.sum(axis=1), minlength=4)[1:] / 600 == pytest.approx(1 / 3, abs=0.07)
    assert there.mean(axis=0) == pytest.approx(2 / 3, abs=0.07)


def test_how_often_one_and_two_of_three_voices_are_absent_can_be_said(corpus: Corpus) -> None:
    mixer = Mixer(corpus, seed=1, n_items=300, length_s=0.2, n_src=3, p_fewer=[0.6, 0.1])
    there = [mixer[i].sources.any(axis=1).sum() for i in range(300)]
    assert np.bincount(there, minlength=4)[1:] / 300 == pytest.approx([0.1, 0.6, 0.3], abs=0.07)


@pytest.mark.parametrize("shares", [[0.8, 0.3], [0.1, 0.1, 0.1]])
def test_shares_of_absent_voices_that_cannot_be_are_refused(corpus: Corpus, shares: list[float]) -> None:
    with pytest.raises(ValueError, match="p_fewer"):
        Mixer(corpus, seed=1, n_items=1, length_s=0.2, n_src=3, p_fewer=shares)


def test_a_speaker_in_two_splits_is_refused() -> None:
    with pytest.raises(ValueError, match="speaker x is in the splits"):
        check_splits([Utterance(Path("1"), "x", split="train"), Utterance(Path("2"), "x", split="valid")])


def test_held_out_speakers_are_not_trained_on(voices: Path) -> None:
    recordings = read_recordings(voices / "voices.csv")
    train, held = hold_out(recordings, 2)
    assert not {r.speaker for r in train} & {r.speaker for r in held}
    assert len({r.speaker for r in held}) == 4
    assert {r.speaker for r in hold_out([r for r in recordings if r.corpus == "b"], 2)[1]} < {
        r.speaker for r in held
    }


def test_mixers_of_a_recipe_share_no_speaker(voices: Path, tmp_path: Path) -> None:
    recipe = DataRecipe(speech=str(voices / "voices.csv"), cache=str(tmp_path), held_out=2, n_valid=3)
    training, choosing = build_mixers(recipe)
    assert not {r.speaker for r in training.speech.recordings} & {
        r.speaker for r in choosing.speech.recordings
    }


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("path,speaker\nnowhere.flac,x\n")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.flac"):
        read_recordings(tmp_path / "v.csv")


def test_a_folder_of_voices_names_speakers_by_their_folder(voices: Path) -> None:
    assert {r.speaker for r in read_recordings(voices / "a")} == {f"a{k}" for k in range(5)}


def test_a_written_set_reads_back_equal_and_appears_whole(voices: Path, tmp_path: Path) -> None:
    recipe = DataRecipe(speech=str(voices / "voices.csv"), cache=str(tmp_path / "cache"), length_s=0.5)
    write_set(recipe, tmp_path / "set", 3)
    write_set(recipe, tmp_path / "again", 3)
    assert (tmp_path / "set/SHA256SUMS").read_bytes() == (tmp_path / "again/SHA256SUMS").read_bytes()
    items = [entry.read() for entry in read_set(tmp_path / "set")]
    assert len(items) == 3
    for item in items:
        assert np.abs(item.sources.sum(axis=0) - item.mixture).max() < 1e-6
    with pytest.raises(InputError, match="exists already"):
        write_set(recipe, tmp_path / "set", 3)
    assert not list(tmp_path.glob(".*"))


def test_a_csv_finds_its_utterances_by_id_in_the_public_corpus(voices: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus/test/9").mkdir(parents=True)
    for k in (1, 2):
        soundfile.write(tmp_path / f"corpus/test/9/u-{k}.flac", np.full(1000, k / 10), RATE)
    (tmp_path / "set.csv").write_text(
        "mixture_id,source_1_path,source_1_gain,source_2_path,source_2_gain,samples\nm,elsewhere/u-1.flac,2,elsewhere/u-2.flac,0.5,800\n"
    )
    item = read_set(tmp_path / "set.csv", tmp_path / "corpus")[0].read()
    assert item.sources.shape == (2, 800)
    assert np.allclose(item.mixture, 0.2 + 0.1, atol=1e-4)
    with pytest.raises(InputError, match="--speech"):
        read_set(tmp_path / "set.csv", voices)


def test_a_wrong_folder_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    with pytest.raises(InputError, match=r"expected the folders s1, s2.*found noise"):
        read_set(tmp_path)
