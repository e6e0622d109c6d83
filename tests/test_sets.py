"""The corpora's layouts, each made here in a few hundred milliseconds, and what is said of folders that are
none.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unmingle.cli import main
from unmingle.data.recipe import DataRecipe
from unmingle.data.segments import SegmentDataset
from unmingle.data.sets import read_set, tasks
from unmingle.errors import InputError, UsageError
from unmingle.evaluation.evaluate import print_summary
from unmingle.training.batches import build_segments
from unmingle.training.recipe import read_recipe
from unmingle.training.trainer import train

RATE = 8000
FREQUENCY = {"s1": 200, "s2": 330, "s3": 470, "noise": 1900}


def signal(part: str, item: int, length: int) -> np.ndarray:
    """A tone of its own for every part; item by item softer."""
    name, _, room = part.partition("_")
    tone = np.sin(2 * np.pi * FREQUENCY[name] * np.arange(length) / RATE) / (10 + item)
    return 0.5 * tone if room == "reverb" else tone


def make_set(
    folder: Path, mixtures: dict[str, list[str]], parts: list[str], n: int = 2, length: int = 800
) -> Path:
    """Write `n` mixtures, each the sum of the parts named for it, and the parts, as 16-bit WAV."""
    for item in range(n):
        signals = {part: signal(part, item, length + 100 * item) for part in parts}
        signals |= {
            name: np.sum([signals[part] for part in heard], axis=0) for name, heard in mixtures.items()
        }
        for name, samples in signals.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name / f"0{item}a_{item}_0{item}b_-{item}.wav", samples, RATE)
    return folder


VOICES = ["s1", "s2"]
NOISY = {"mix_clean": VOICES, "mix_both": [*VOICES, "noise"], "mix_single": ["s1", "noise"]}


def wsj0(root: Path) -> Path:
    for n_src in (2, 3):
        for split in ("tr", "cv", "tt"):
            parts = [f"s{k + 1}" for k in range(n_src)]
            make_set(root / f"{n_src}speakers/wav8k/min/{split}", {"mix": parts}, parts)
    return root


def libri2mix(root: Path) -> Path:
    for split in ("train-100", "dev", "test"):
        make_set(root / f"Libri2Mix/wav8k/min/{split}", NOISY, [*VOICES, "noise"])
    (root / "Libri2Mix/wav8k/min/metadata").mkdir()
    return root / "Libri2Mix"


def wham(root: Path) -> Path:
    return make_set(root / "wav8k/min/tt", NOISY, [*VOICES, "noise"])


def whamr(root: Path) -> Path:
    parts = [f"{voice}_{room}" for voice in VOICES for room in ("anechoic", "reverb")]
    mixtures = {}
    for room in ("anechoic", "reverb"):
        voices = [f"{voice}_{room}" for voice in VOICES]
        mixtures |= {
            f"mix_clean_{room}": voices,
            f"mix_both_{room}": [*voices, "noise"],
            f"mix_single_{room}": [voices[0], "noise"],
        }
    return make_set(root / "wav8k/min/tt", mixtures, [*parts, "noise"])


def assert_holds(folder: Path, task: str | None, sources: list[str], rest: list[tuple[float, str]]) -> None:
    """The set yields these sources, and as noise the sum of factor × part."""
    entries = read_set(folder, task=task)
    assert len(entries) == 2
    for number, entry in enumerate(entries):
        item = entry.read()
        length = 800 + 100 * number
        assert item.sample_rate == RATE
        assert (
            np.abs(item.sources - np.stack([signal(part, number, length) for part in sources])).max() < 1e-4
        )
        expected = np.sum(
            [np.zeros(length), *(factor * signal(part, number, length) for factor, part in rest)], axis=0
        )
        assert np.abs(item.noise - expected).max() < 2e-4


def test_wsj0_2mix_and_3mix_are_read(tmp_path: Path) -> None:
    root = wsj0(tmp_path)
    assert_holds(root / "2speakers/wav8k/min/tt", None, ["s1", "s2"], [])
    assert_holds(root / "3speakers/wav8k/min/cv", "mix", ["s1", "s2", "s3"], [])
    assert tasks(root / "2speakers/wav8k/min/tr") == ["mix"]


@pytest.mark.parametrize(
    "layout", [lambda root: libri2mix(root) / "wav8k/min/test", wham], ids=["librimix", "wham"]
)
def test_librimix_and_wham_are_read_clean_noisy_and_single(layout, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = layout(tmp_path)
    assert tasks(folder) == ["mix_clean", "mix_both", "mix_single"]
    assert_holds(folder, None, VOICES, [])
    assert_holds(folder, "mix_both", VOICES, [(1, "noise")])
    assert_holds(folder, "mix_single", ["s1"], [(1, "noise")])


def test_whamr_is_read_against_its_anechoic_voices(tmp_path: Path) -> None:
    folder = whamr(tmp_path)
    assert tasks(folder)[0] == "mix_clean_anechoic"
    assert len(tasks(folder)) == 6
    voices = ["s1_anechoic", "s2_anechoic"]
    assert_holds(folder, None, voices, [])
    assert_holds(folder, "mix_both_anechoic", voices, [(1, "noise")])
    # Reverberation here halves a voice: what the anechoic voices leave over of the mixture is minus the other
    # half.
    assert_holds(folder, "mix_both_reverb", voices, [(1, "noise"), (-0.5, "s1"), (-0.5, "s2")])
    assert_holds(folder, "mix_single_reverb", voices[:1], [(1, "noise"), (-0.5, "s1")])


@pytest.mark.parametrize("moved", [False, True])
def test_librimix_s_own_tables_are_read_also_after_a_move(moved: bool, tmp_path: Path) -> None:
    test = libri2mix(tmp_path / "before") / "wav8k/min/test"
    table = test.parent / "metadata/mixture_test_mix_both.csv"
    rows = ["mixture_ID,mixture_path,source_1_path,source_2_path,noise_path,length"]
    for file in sorted((test / "s1").iterdir()):
        rows.append(
            ",".join(
                [
                    file.stem,
                    *(str(test / part / file.name) for part in ("mix_both", "s1", "s2", "noise")),
                    "800",
                ]
            )
        )
    table.write_text("\n".join(rows) + "\n")
    if moved:
        (tmp_path / "before").rename(tmp_path / "after")
        table = tmp_path / "after" / table.relative_to(tmp_path / "before")
    by_table, by_folder = read_set(table), read_set(table.parents[1] / "test", task="mix_both")
    assert [entry.id for entry in by_table] == [entry.id for entry in by_folder]
    assert np.array_equal(by_table[0].read().sources, by_folder[0].read().sources)
    assert np.array_equal(by_table[0].read().noise, by_folder[0].read().noise)
    with pytest.raises(UsageError, match="whose mixtures are fixed"):
        read_set(table, task="mix_both")


def test_evaluate_says_which_mixtures_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(make_set(tmp_path, NOISY, [*VOICES, "noise"], n=1, length=1000))
    assert main(["evaluate", "duet", folder, "--json", "--backend", "onnxruntime"]) == 0
    printed = capsys.readouterr()
    assert "measuring mix_clean; --task also knows mix_both, mix_single" in printed.err
    summary = json.loads(printed.out)
    assert summary["task"] == "mix_clean"
    print_summary(summary)
    assert "mix_clean (1 mixtures" in " ".join(capsys.readouterr().out.split())


def test_a_corpus_folder_lists_its_sets(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"Libri2Mix: choose one of wav8k/min/dev, wav8k/min/test, wav8k/min/train-100$"
    ):
        read_set(libri2mix(tmp_path))
    with pytest.raises(InputError, match="choose one of Libri2Mix/wav8k/min/dev, "):
        read_set(tmp_path)
    with pytest.raises(
        InputError,
        match=r"choose one of 2speakers/wav8k/min/cv, 2speakers/wav8k/min/tr, .* 3speakers/wav8k/min/tt$",
    ):
        read_set(wsj0(tmp_path / "wsj0-mix"))


def test_a_wrong_folder_is_named_with_what_was_expected_and_found(tmp_path: Path) -> None:
    folder = wham(tmp_path)
    with pytest.raises(InputError, match=r"s1: only a part of the set; give .*tt$"):
        read_set(folder / "s1")
    with pytest.raises(
        UsageError, match=r"--task mix: not in .*tt; choose from mix_clean, mix_both, mix_single"
    ):
        read_set(folder, task="mix")
    (tmp_path / "LibriSpeech/dev-clean").mkdir(parents=True)
    with pytest.raises(
        InputError, match=r"LibriSpeech: expected the folders s1, s2, .*mix_clean.*WHAMR.*; found dev-clean"
    ):
        read_set(tmp_path / "LibriSpeech")
    for voice in VOICES:
        (folder / voice).rename(folder / f"{voice}_elsewhere")
    with pytest.raises(
        InputError, match=r"tt: expected .*; found mix_both, mix_clean, mix_single, noise, s1_elsewhere"
    ):
        read_set(folder)


def test_the_list_of_an_unheard_corpus_is_as_the_other_lists_and_never_mixes_a_speaker_with_himself() -> None:
    folder = Path(__file__).parents[1] / "benchmarks"
    lists = {}
    for name in ("speechocean-2mix", "valid-2mix"):
        with (folder / f"{name}.csv").open(newline="") as file:
            lists[name] = list(csv.DictReader(file))
    rows = lists["speechocean-2mix"]
    assert list(rows[0]) == list(lists["valid-2mix"][0])
    assert len({row["mixture_id"] for row in rows}) == 200
    assert all(Path(row["source_1_path"]).parent != Path(row["source_2_path"]).parent for row in rows)
    assert all(int(row["samples"]) >= 3 * 16_000 for row in rows)


def test_an_incomplete_or_damaged_set_is_named(tmp_path: Path) -> None:
    folder = wham(tmp_path)
    file = sorted((folder / "s2").iterdir())[0]
    soundfile.write(file, np.zeros(10), RATE)
    with pytest.raises(InputError, match=r"s2/00a.*: not as long as .*mix_clean/00a"):
        read_set(folder)[0].read()
    file.unlink()
    with pytest.raises(InputError, match=r"s2/00a.*: not there, though .*mix_clean/00a.* is"):
        read_set(folder)


def test_of_the_first_mixtures_the_files_of_the_others_need_not_be_there(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", NOISY, [*VOICES, "noise"], n=3)
    last = sorted((folder / "s2").iterdir())[-1]
    last.unlink()
    assert len([entry.read() for entry in read_set(folder, first=2)]) == 2
    with pytest.raises(InputError, match="incomplete"):
        read_set(folder)


def test_passages_go_through_the_whole_set_in_every_round_and_depend_on_seed_and_index_alone(
    tmp_path: Path,
) -> None:
    entries = read_set(make_set(tmp_path, {"mix": VOICES}, VOICES, n=5))
    passages = SegmentDataset(entries, seed=1, n_items=12, length=850)
    rounds = [[passages[index].id for index in range(first, first + 5)] for first in (0, 5)]
    assert sorted(rounds[0]) == sorted(rounds[1]) == sorted(entry.id for entry in entries)
    assert rounds[0] != rounds[1]
    again = SegmentDataset(entries, seed=1, n_items=12, length=850)
    for index in reversed(range(12)):
        assert np.array_equal(passages[index].sources, again[index].sources)
        assert passages[index].sources.shape == (2, 850)
    with pytest.raises(IndexError):
        passages[12]


def test_a_recipe_trains_from_sets_on_disk(tmp_path: Path) -> None:
    root = wsj0(tmp_path)
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "model: {name: band-split, n_features: 8, hidden: 8, n_blocks: 1, sample_rate: 8000}\n"
        "objective: {name: waveform-pit}\n"
        f"data: {{set: {root}/2speakers/wav8k/min/tr, valid_set: {root}/2speakers/wav8k/min/cv,\n"
        "       sample_rate: 8000, n_valid: 2, length_s: 0.1, valid_length_s: 0.1}\n"
        "trainer: {steps: 2, batch_size: 2, validate_every: 2, precision: 32-true, device: cpu}\n"
    )
    assert train(read_recipe(recipe), tmp_path / "run", progress=False).is_file()


def test_a_set_that_does_not_fit_the_recipe_is_refused(tmp_path: Path) -> None:
    root = wsj0(tmp_path)
    folder = str(root / "3speakers/wav8k/min/tr")
    with pytest.raises(UsageError, match=r"without data\.valid_set"):
        build_segments(DataRecipe(set=folder))
    with pytest.raises(UsageError, match=r"data.n_src is 2, but 3 in .*3speakers"):
        build_segments(DataRecipe(set=folder, valid_set=folder, sample_rate=8000))
    with pytest.raises(UsageError, match=r"data.sample_rate is 16000, but 8000 in"):
        build_segments(DataRecipe(set=folder, valid_set=folder, n_src=3))


def test_the_set_of_several_microphones_has_sixty_mixtures_of_two_validation_voices_each() -> None:
    with (Path(__file__).parents[1] / "benchmarks/valid-mics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    for row in rows:
        speakers = [Path(row[f"source_{k}_path"]).parent.name for k in (1, 2)]
        assert speakers[0] != speakers[1] and int(row["samples"]) <= 6 * 16_000
        assert all(row[f"mic_{k}_place"] for k in range(1, 7))
