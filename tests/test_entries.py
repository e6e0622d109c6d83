"""Mixtures on disk go to other processes: pickled by paths and numbers, read in a spawned worker."""

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_data import corpus, voices  # noqa: F401
from test_sets import RATE, VOICES, make_set
from test_training import recipe_path  # noqa: F401
from torch.utils.data import DataLoader

from unmingle.data.batch import collate
from unmingle.data.corpora import Corpus
from unmingle.data.entries import MixtureEntry
from unmingle.data.mixer import Mixer
from unmingle.data.mixture import Mixture
from unmingle.data.sets import read_plain, read_set, write_mixtures
from unmingle.errors import InputError
from unmingle.training.batches import MixtureDataset
from unmingle.training.recipe import read_recipe
from unmingle.training.trainer import train


def listed(root: Path) -> list[MixtureEntry]:
    """One entry of a CSV with gains, noise and a room."""
    for name in ("a/x", "b/y", "noise"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / f"{name}.wav", 0.1 * np.random.default_rng(0).standard_normal(900), RATE)
    (root / "set.csv").write_text(
        "mixture_id,samples,source_1_path,source_1_gain,source_2_path,source_2_gain,"
        "noise_path,noise_gain,noise_start,t60_s,room_seed\n"
        "m,800,a/x.wav,0.5,b/y.wav,2,noise.wav,0.1,30,0.1,7\n"
    )
    return read_set(root / "set.csv")


def of_librimix(root: Path) -> list[MixtureEntry]:
    """The entries of a table that LibriMix wrote."""
    make_set(root / "test", {"mix_clean": VOICES}, VOICES, n=1)
    (name,) = (file.name for file in (root / "test/s1").iterdir())
    (root / "metadata").mkdir()
    table = root / "metadata/mixture_test_mix_clean.csv"
    paths = ",".join(str(root / "test" / part / name) for part in ("mix_clean", *VOICES))
    table.write_text(f"mixture_ID,mixture_path,source_1_path,source_2_path,length\nm,{paths},800\n")
    return read_set(table)


def of_folder(root: Path) -> list[MixtureEntry]:
    """The entries of a folder, one with a cue."""
    cue = {"keep": np.float32([0, 1, 0])}
    source, noise = np.full((1, 800), 0.1, np.float32), np.full(800, 0.2, np.float32)
    mixture = np.stack([source[0] + noise, source[0]])
    write_mixtures([Mixture(mixture, source, noise, RATE, "m", cues=cue)], root / "set", noisy=True)
    return read_set(root / "set")


def plain(root: Path) -> list[MixtureEntry]:
    """A recording of which nothing is known."""
    soundfile.write(root / "talk.wav", 0.1 * np.ones((800, 2)), RATE)
    return read_plain(root)


@pytest.mark.parametrize("kind", [listed, of_librimix, of_folder, plain])
def test_an_entry_of_every_kind_is_read_alike_in_a_spawned_process(kind, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (entry,) = kind(tmp_path)
    here = entry.read()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(entry.read)
    assert (there.id, there.sample_rate, there.speakers) == (here.id, here.sample_rate, here.speakers)
    for name in ("mixture", "sources", "noise"):
        assert np.array_equal(getattr(there, name), getattr(here, name))
    assert there.cues.keys() == here.cues.keys()


def test_a_mixture_of_several_microphones_and_its_cue_are_read_as_they_were_written(tmp_path: Path) -> None:
    (entry,) = of_folder(tmp_path)
    item = entry.read()
    assert item.mixture.shape == (2, 800)
    assert np.allclose(item.mixture[0], item.sources.sum(axis=0) + item.noise)
    assert item.cues["keep"].tolist() == [0, 1, 0]


@pytest.mark.parametrize("cue", [np.array([{}], dtype=object), np.array(["left"]), None])
def test_a_file_that_is_no_cue_is_named(cue: np.ndarray | None, tmp_path: Path) -> None:
    (entry,) = of_folder(tmp_path)
    path = entry.cues["keep"]
    if cue is None:
        path.write_bytes(b"")
    else:
        np.save(path, cue, allow_pickle=True)
    with pytest.raises(InputError, match=r"m\.npy: not a cue"):
        entry.read()


def test_a_corpus_is_pickled_by_the_path_of_its_samples(corpus: Corpus) -> None:  # noqa: F811
    pickled = pickle.dumps(corpus)
    assert len(pickled) < 20_000 < 2 * sum(corpus.length(index) for index in range(len(corpus)))
    assert np.array_equal(pickle.loads(pickled).read(3), corpus.read(3))


def test_spawned_workers_yield_the_batches_of_a_single_process(corpus: Corpus) -> None:  # noqa: F811
    dataset = MixtureDataset(Mixer(corpus, seed=1, n_items=4, length_s=0.1))
    single = list(DataLoader(dataset, batch_size=2, collate_fn=collate))
    spawned = list(
        DataLoader(dataset, batch_size=2, collate_fn=collate, num_workers=2, multiprocessing_context="spawn")
    )
    assert len(spawned) == 2
    for one, other in zip(single, spawned, strict=True):
        assert one.mixture.equal(other.mixture)
        assert one.speakers == other.speakers


def test_a_training_with_two_workers_learns_what_one_without_learns(
    recipe_path: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    curves = []
    for workers in (0, 2):
        out = tmp_path / f"{workers}"
        changes = [f"trainer.workers={workers}", "trainer.steps=3", "optimizer.decay=0"]
        train(read_recipe(recipe_path, changes), out, progress=False)
        rows = (out / "curves.csv").read_text().splitlines()
        columns = rows[0].split(",")
        curves.append(rows[-1].split(",")[columns.index("valid_loss")])
    assert curves[0] == curves[1]
