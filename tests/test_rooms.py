"""Several microphones: simulated rooms, mixtures drawn in them, the set of plain numbers."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import yaml
from scipy.signal import butter, sosfilt
from test_data import voices  # noqa: F401
from torch import Tensor, nn

from unmingle.data.array_mixer import ArrayMixer
from unmingle.data.batch import collate
from unmingle.data.recipe import DataRecipe
from unmingle.data.rooms import APART, LOWEST_HZ, Room, Rooms, draw_room, simulate
from unmingle.data.sets import read_set, write_set
from unmingle.errors import InputError, UsageError
from unmingle.facts import Facts
from unmingle.models import MODELS
from unmingle.training.batches import MixtureDataset, build_mixers
from unmingle.training.recipe import read_recipe, recipe_from_dict
from unmingle.training.starting import build_parts
from unmingle.training.trainer import train

pra = pytest.importorskip("pyroomacoustics")

RATE, SPEED = 16_000, 343.0
DRAWN = {"n_src": 3, "n_mics": 4, "t60_s": (0.1, 0.6)}
SMALL = Room((4.0, 3.5, 2.6), 0.2, ((1.0, 1.0, 1.5), (3.0, 2.6, 1.4)), ((2.0, 1.7, 1.0), (2.1, 1.7, 1.0)), 3)


def drawn(index: int) -> Room:
    return draw_room(np.random.default_rng([5, index]), **DRAWN)


def t60_s(response: np.ndarray) -> float:
    """From where the energy that is still to come lies 5 to 25 dB below all of it."""
    decay = 10 * np.log10(np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1] + 1e-20)
    first, last = (int(np.argmax(decay < decay[0] - fallen)) for fallen in (5, 25))
    return 3 * (last - first) / RATE


@pytest.fixture
def data(voices: Path, tmp_path: Path) -> DataRecipe:  # noqa: F811
    return DataRecipe(
        speech=str(voices / "voices.csv"),
        cache=str(tmp_path / "cache"),
        length_s=1.0,
        n_mics=[2, 4],
        rooms=3,
        t60_s=[0.1, 0.15],
        held_out=2,
        n_valid=2,
    )


# Rooms


def test_sources_keep_their_distance_from_walls_and_microphones() -> None:
    for room in map(drawn, range(50)):
        sources, mics, size = (np.array(each) for each in (room.sources, room.mics, room.size))
        assert min(sources.min(), (size - sources).min()) >= APART
        assert np.linalg.norm(sources[:, None] - mics, axis=-1).min() >= APART
        assert mics.min() > 0 and (size - mics).min() > 0


def test_half_of_the_arrays_are_circles() -> None:
    rooms = list(map(drawn, range(100)))
    flat = [np.ptp(np.array(room.mics)[:, 2]) == 0 for room in rooms]
    assert 35 <= sum(flat) <= 65
    for room in (room for room, is_flat in zip(rooms, flat, strict=True) if is_flat):
        mics = np.array(room.mics)
        radii = np.linalg.norm(mics - mics.mean(axis=0), axis=1)
        assert np.ptp(radii) < 0.003  # [m], places being rounded to millimetres


def test_the_same_room_gives_the_same_bytes_whatever_the_threads() -> None:
    first = simulate(SMALL, RATE)
    threads = pra.constants.get("num_threads")
    pra.constants.set("num_threads", 4)
    again = simulate(SMALL, RATE)
    assert pra.constants.get("num_threads") == 4
    pra.constants.set("num_threads", threads)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("index", range(6))
def test_the_direct_path_is_where_the_distance_says(index: int) -> None:
    room = drawn(index)
    responses, paths = simulate(room, RATE)
    for row, source in enumerate(room.sources):
        expected = [np.linalg.norm(np.subtract(source, mic)) / SPEED * RATE for mic in room.mics]
        assert abs(np.abs(paths[row]).argmax() - expected[0]) <= 1
        for mic, at in enumerate(expected):
            # Nothing of weight is earlier than it, and it is there.
            early, there = (
                responses[row, mic, : int(at) - 2],
                responses[row, mic, round(at) - 1 : round(at) + 2],
            )
            assert np.abs(early).max() < 0.3 * np.abs(there).max()


def test_the_reverberation_time_is_roughly_as_asked() -> None:
    ratios = []
    for room in map(drawn, range(12)):
        responses, _ = simulate(room, RATE)
        ratios.append(np.mean([t60_s(response[0]) for response in responses]) / room.t60_s)
    assert 0.85 < np.mean(ratios) < 1.2
    assert min(ratios) > 0.6 and max(ratios) < 1.5


def test_early_reflections_are_those_of_pyroomacoustics_and_late_ones_as_loud() -> None:
    box = pra.ShoeBox(SMALL.size, fs=RATE, materials=pra.Material(SMALL.absorption), max_order=40)
    for source in SMALL.sources:
        box.add_source(source)
    box.add_microphone_array(np.array(SMALL.mics).T)
    pra.constants.set("rir_hpf_enable", False)
    box.compute_rir()
    pra.constants.set("rir_hpf_enable", True)
    sections = butter(2, LOWEST_HZ, "highpass", fs=RATE, output="sos")
    responses, _ = simulate(SMALL, RATE)
    for row, of_source in enumerate(responses):
        for mic, ours in enumerate(of_source):
            theirs = sosfilt(sections, box.rir[mic][row][40 : 40 + len(ours)])
            theirs = theirs * (theirs[:400] @ ours[:400]) / (theirs[:400] @ theirs[:400])
            assert np.square(theirs - ours)[:500].sum() < 1e-4 * np.square(theirs[:500]).sum()
            late = [np.square(each[900:]).sum() for each in (ours, theirs)]
            assert abs(10 * np.log10(late[0] / late[1])) < 1.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ((1.0, 1.0, 2.7),)}, r"\(1\.0, 1\.0, 2\.7\) is not in the room"),
        ({"sources": SMALL.mics[:1]}, "a source and a microphone are less than 0.01 m apart"),
        ({"size": (4.0, 3.5, 0.3)}, "expected sides of 1 to 100 m"),
        ({"t60_s": 0.0}, r"t60_s is 0"),
    ],
)
def test_an_impossible_room_is_an_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Room(**{**vars(SMALL), **change})


def test_a_source_amid_the_microphones_is_simulated() -> None:
    room = Room(SMALL.size, 0.2, ((2.0, 1.7, 1.5),), ((1.5, 1.7, 1.5), (2.5, 1.7, 1.5)), 1)
    responses, _ = simulate(room, RATE)
    assert np.isfinite(responses).all() and (np.abs(responses).max(axis=-1) > 0.5).all()


# Rooms that are kept


def rooms_in(folder: Path, seed: int = 1) -> Rooms:
    return Rooms(3, seed=seed, n_src=2, n_mics=2, t60_s=(0.1, 0.15), sample_rate=RATE, cache=folder)


def test_a_second_run_reads_what_the_first_one_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rooms_in(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pyroomacoustics", None)
    again = rooms_in(tmp_path)
    assert np.array_equal(first.read(2, 2)[0], again.read(2, 2)[0])


def test_the_same_seed_gives_the_same_file_anywhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rooms_in(tmp_path / name)
    one, other = (next((tmp_path / name).glob("*.rooms")) for name in ("a", "b"))
    assert one.name == other.name and one.read_bytes() == other.read_bytes()
    rooms_in(tmp_path / "a", seed=2)
    assert len({path.read_bytes() for path in (tmp_path / "a").glob("*.rooms")}) == 2


def test_what_is_kept_is_what_was_simulated_to_16_bits(tmp_path: Path) -> None:
    rooms = rooms_in(tmp_path)
    for kept, made in zip(rooms.read(1, 2), simulate(rooms.plans[1], RATE), strict=True):
        assert np.allclose(kept, made, rtol=1e-3, atol=1e-7)


def test_without_pyroomacoustics_one_line_names_the_command(
    data: DataRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyroomacoustics", None)
    with pytest.raises(UsageError, match=r"pip install 'unmingle\[rooms\]'"):
        data.mixer("train", n_items=1)
    assert not list(Path(data.cache).glob("*.rooms*"))


# Mixtures


def test_sources_and_noise_are_the_mixture_at_the_first_microphone(data: DataRecipe) -> None:
    data.p_noise, data.kinds = 1.0, ["tone"]
    item = data.mixer("train", n_items=4)[2]
    assert item.mixture.shape == (4, RATE) and item.sources.shape == (2, RATE)
    assert np.allclose(item.sources.sum(axis=0) + item.noise, item.mixture[0], atol=1e-6)
    assert item.noise.any() and not np.allclose(item.mixture[0], item.mixture[1])


def test_without_noise_the_voices_in_the_room_are_all_there_is(data: DataRecipe) -> None:
    assert not data.mixer("train", n_items=1)[0].noise.any()


def test_with_dry_the_reference_is_the_direct_path(data: DataRecipe) -> None:
    images = data.mixer("train", n_items=4)[1]
    data.dry = True
    paths = data.mixer("train", n_items=4)[1]
    assert np.allclose(images.mixture, paths.mixture, atol=1e-6)
    assert np.allclose(paths.sources.sum(axis=0) + paths.noise, paths.mixture[0], atol=1e-6)
    assert paths.noise.any() and not images.noise.any()


def test_a_batch_has_one_number_of_microphones_that_its_first_item_decides(data: DataRecipe) -> None:
    items = MixtureDataset(data.mixer("train", n_items=100))
    numbers = []
    for start in range(0, 40, 2):
        batch = collate(items.__getitems__([start, start + 1]))
        again = collate(items.__getitems__([start, start + 1]))
        assert np.array_equal(batch.mixture, again.mixture)
        numbers.append(batch.mixture.shape[1])
    assert set(numbers) == {2, 3, 4}


def test_fewer_microphones_are_the_first_ones(data: DataRecipe) -> None:
    data.p_fewer = 0.5
    mixer = data.mixer("train", n_items=100)
    assert isinstance(mixer, ArrayMixer)
    for indices in ([0], [1], [2], [3]):
        few, all_of_them = mixer.batch(indices)[0], mixer[indices[0]]
        scale = np.abs(few.mixture).max() / np.abs(all_of_them.mixture[: len(few.mixture)]).max()
        assert np.allclose(few.mixture, scale * all_of_them.mixture[: len(few.mixture)], atol=1e-5)


def test_held_out_mixtures_have_the_most_microphones(data: DataRecipe) -> None:
    _, choosing = build_mixers(data)
    assert {len(item.mixture) for start in range(2) for item in choosing.batch([start])} == {4}


def test_what_mix_writes_is_read_back(data: DataRecipe, tmp_path: Path) -> None:
    write_set(data, tmp_path / "set", 3)
    mixer = data.mixer("train", n_items=3)
    for entry, item in zip(read_set(tmp_path / "set"), (mixer[k] for k in range(3)), strict=True):
        found = entry.read()
        assert np.array_equal(found.mixture, item.mixture) and np.array_equal(found.sources, item.sources)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.n_mics=[6,2]", r"data\.n_mics is \[6, 2\]; expected the lower number first"),
        ("data.n_mics=[2,17]", r"data\.n_mics is \[2, 17\]; expected less than or equal to 16"),
        ("data.n_mics=4", r"data\.n_mics is 4; expected a valid array"),
        ("data.rooms=0", r"data\.rooms is 0; expected greater than or equal to 1"),
    ],
)
def test_a_bad_value_in_a_recipe_is_named(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        yaml.safe_dump(
            {"model": {"name": "conv-tasnet"}, "objective": {"name": "waveform-pit"}, "trainer": {"steps": 1}}
        )
    )
    with pytest.raises(UsageError, match=rf"r\.yaml: {message}"):
        read_recipe(path, [override])


def test_a_model_of_one_microphone_is_not_trained_on_mixtures_of_several(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        yaml.safe_dump(
            {"model": {"name": "conv-tasnet"}, "objective": {"name": "waveform-pit"}, "trainer": {"steps": 1}}
        )
    )
    with pytest.raises(UsageError, match=r"takes 1 microphone, .* drawn at 2 to 4; leave data\.n_mics out"):
        build_parts(read_recipe(path, ["data.n_mics=[2,4]", "model.sample_rate=16000"]))


class Mean(nn.Module):
    """Any number of microphones; notes how many it was given."""

    seen: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.facts = Facts(RATE, n_src=2, n_mics=None)
        self.gains = nn.Parameter(torch.ones(2, 1))

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, C, T)` → `(B, 2, T)`."""
        self.seen.append(mixture.shape[1])
        return mixture.mean(dim=1, keepdim=True) * self.gains


def test_a_model_of_any_number_of_microphones_is_trained_on_several_numbers(
    data: DataRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "mean", Mean)
    monkeypatch.setattr(Mean, "seen", [])
    trainer = {"steps": 12, "batch_size": 2, "validate_every": 12, "device": "cpu", "precision": "32-true"}
    recipe = recipe_from_dict(
        {
            "model": {"name": "mean"},
            "objective": {"name": "waveform-pit"},
            "data": asdict(data),
            "trainer": trainer,
        },
        "made",
    )
    train(recipe, tmp_path / "run", progress=False)
    assert set(Mean.seen[:12]) == {2, 3, 4} and set(Mean.seen[12:]) == {4}


def test_faces_and_several_microphones_exclude_each_other(data: DataRecipe) -> None:
    data.faces = "faces.csv"
    with pytest.raises(ValueError, match=r"data\.faces and data\.n_mics"):
        data.mixer("train", n_items=1)


# The set of plain numbers


@pytest.fixture
def table(voices: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A set of one mixture, of two voices and a tone at three microphones."""
    row = {
        "mixture_id": "one",
        "samples": RATE,
        "source_1_path": "a/a0/0.flac",
        "source_1_gain": 0.5,
        "source_2_path": "a/a3/0.flac",
        "source_2_gain": 0.3,
        "noise_path": "tone:1000",
        "noise_gain": 0.01,
        "room_size": "4 3.5 2.6",
        "t60_s": 0.2,
        "room_seed": 3,
        "source_1_place": "1 1 1.5",
        "source_2_place": "3 2.6 1.4",
        "noise_place": "0.6 2.8 1",
        "mic_1_place": "2 1.7 1",
        "mic_2_place": "2.1 1.7 1",
        "mic_3_place": "2 1.8 1",
    }
    path = tmp_path / "set.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return path


def test_a_set_of_plain_numbers_is_simulated_when_it_is_read(table: Path, voices: Path) -> None:  # noqa: F811
    first, again = (read_set(table, voices)[0].read() for _ in range(2))
    assert first.mixture.shape == (3, RATE) and first.sources.shape == (2, RATE)
    assert np.array_equal(first.mixture, again.mixture)
    assert np.allclose(first.sources.sum(axis=0) + first.noise, first.mixture[0], atol=1e-6)
    assert first.noise.any()
    # The first voice, which begins with sample 0, is 1.3 m away.
    energy = np.square(first.sources[0])
    assert energy[:55].sum() < 0.02 * energy[60:115].sum()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("room_size", "4 3.5", r"'4 3\.5'; expected x y z in metres"),
        ("mic_2_place", "9 1 1", r"\(9\.0, 1\.0, 1\.0\) is not in the room"),
        ("t60_s", "", r"t60_s is 0"),
    ],
)
def test_a_row_that_is_no_room_is_named(
    table: Path,
    voices: Path,  # noqa: F811
    column: str,
    value: str,
    message: str,
) -> None:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0][column] = value
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(InputError, match=rf"set\.csv: one: .*{message}"):
        read_set(table, voices)
