"""Rooms with several microphones, simulated by pyroomacoustics (`unmingle[rooms]`) and kept."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from scipy.signal import butter, sosfilt

from unmingle.console import say, track
from unmingle.data.decoded import Kept
from unmingle.errors import UsageError

Point = tuple[float, float, float]  # x, y and z in a room [m]

# What is drawn: sizes of rooms [m], heights of voices and of arrays [m], radii of circles and spreads of ad
# hoc arrays [m], smallest distance of sources from walls, microphones and each other, of arrays' middles from
# walls, of microphones from walls and from each other [m].
SIZES = (3.5, 8.0), (3.0, 7.0), (2.5, 3.6)
HEIGHTS, ARRAY_HEIGHTS = (1.0, 1.9), (0.7, 1.6)
RADII, SPREADS = (0.03, 0.12), (0.03, 1.0)
APART, ARRAY_FROM_WALLS, MIC_FROM_WALLS, MICS_APART = 0.5, 0.7, 0.3, 0.01

SIDES = 1.0, 100.0  # of what can be simulated [m]
LONGEST_S = 0.5  # of a response
DECAY = 0.75  # a response is cut where it has fallen by this share of 60 dB, if that is earlier
LOWEST_HZ = 20.0  # all images being positive, they add up to far too much below it
DENSITY = 32_000  # reflections per second from which on only some are taken


@dataclass(frozen=True)
class Room:
    """A shoebox room in plain numbers; the same numbers give the same responses.

    Attributes:
        size: [m].
        t60_s: reverberation time that is asked for [s].
        sources, mics: where they are [m]; the first microphone is the reference.
        seed: of the late reflections that are taken.

    Raises:
        ValueError: something is not in the room, a microphone is where a source is, or the room or its
            reverberation time is out of range.
    """

    size: Point
    t60_s: float
    sources: tuple[Point, ...]
    mics: tuple[Point, ...]
    seed: int

    def __post_init__(self) -> None:
        if not all(SIDES[0] <= length <= SIDES[1] for length in self.size):
            raise ValueError(f"a room of {self.size} m; expected sides of {SIDES[0]:g} to {SIDES[1]:g} m")
        for place in (*self.sources, *self.mics):
            if not all(0 < value < length for value, length in zip(place, self.size, strict=True)):
                raise ValueError(f"{place} is not in the room, which is {self.size} m large")
        if _closest(np.array(self.sources), np.array(self.mics)) < MICS_APART:
            raise ValueError(f"a source and a microphone are less than {MICS_APART} m apart")
        if not self.t60_s > 0:
            raise ValueError(f"t60_s is {self.t60_s}; expected a time above 0")

    @property
    def absorption(self) -> float:
        """Share of its energy that sound loses at a wall: the mean of Sabine's and Eyring's formulas, since
        with images one gives a shorter, the other a longer reverberation than is asked for.
        """
        x, y, z = self.size
        sabine = 0.161 * x * y * z / (2 * (x * y + y * z + z * x) * self.t60_s)
        return float((min(1.0, sabine) + 1 - np.exp(-sabine)) / 2)


def draw_room(rng: np.random.Generator, *, n_src: int, n_mics: int, t60_s: tuple[float, float]) -> Room:
    """A random room with an array in it, half of the time a circle, else ad hoc: microphones anywhere in a
    cube. Microphones are in random order, numbers are rounded to millimetres and milliseconds.

    Args:
        n_src, n_mics: how many sources and microphones.
        t60_s: range of the reverberation time [s].
    """
    while True:
        size = np.array([rng.uniform(*sides) for sides in SIZES]).round(3)
        middle = _inside(rng, size, ARRAY_FROM_WALLS, ARRAY_HEIGHTS)
        if rng.random() < 0.5:
            angles = 2 * np.pi * (rng.random() + rng.permutation(n_mics) / n_mics)
            circle = np.stack([np.cos(angles), np.sin(angles), np.zeros(n_mics)], axis=1)
            mics = middle + rng.uniform(*RADII) * circle
        else:
            spread = np.exp(rng.uniform(*np.log(SPREADS)))
            mics = middle + spread * rng.uniform(-1, 1, (n_mics, 3))
        sources = np.stack([_inside(rng, size, APART, HEIGHTS) for _ in range(n_src)])
        mics, sources = mics.round(3), sources.round(3)
        from_walls = np.minimum(mics, size - mics).min()
        if (
            from_walls >= MIC_FROM_WALLS
            and _closest(mics, mics) >= MICS_APART
            and _closest(sources, sources) >= APART
            and _closest(sources, mics) >= APART
        ):
            break
    return Room(
        _point(size),
        round(float(rng.uniform(*t60_s)), 3),
        tuple(map(_point, sources)),
        tuple(map(_point, mics)),
        int(rng.integers(2**31)),
    )


def _inside(
    rng: np.random.Generator, size: np.ndarray, margin: float, heights: tuple[float, float]
) -> np.ndarray:
    low, high = np.full(3, margin), size - margin
    low[2], high[2] = max(low[2], heights[0]), min(high[2], heights[1])
    return rng.uniform(low, high)


def _closest(points: np.ndarray, others: np.ndarray) -> float:
    """Smallest distance between points `(P, 3)` and others `(Q, 3)`, of a point from itself left out."""
    distances = np.linalg.norm(points[:, None] - others[None], axis=-1)
    if points is others:
        np.fill_diagonal(distances, np.inf)
    return float(distances.min())


def point(text: str) -> Point:
    """Three numbers [m] in a text; ValueError if that is not what stands there."""
    return _point(text.split())


def _point(values: Iterable[str | float]) -> Point:
    try:
        x, y, z = (float(value) for value in values)
    except ValueError:
        raise ValueError(f"{' '.join(map(str, values))!r}; expected x y z in metres") from None
    return x, y, z


def _pyroomacoustics() -> ModuleType:
    try:
        import pyroomacoustics
    except ImportError as error:
        raise UsageError(
            f"rooms with several microphones need the package pyroomacoustics ({error.name} is missing): "
            "pip install 'unmingle[rooms]'"
        ) from None
    module: ModuleType = pyroomacoustics
    return module


def simulate(room: Room, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The responses of a room, by the image source method; sample 0 is when the sound is made.

    There would be a million late reflections, and none matters by itself. Where there are more than `DENSITY`
    of them a second, some are drawn, the same for all microphones, and are louder in place of the others: the
    energy stays, and so does what microphones have in common.

    Args:
        room: where sources and microphones are.
        sample_rate: [Hz].

    Returns:
        From every source to every microphone `(S, C, T)`, and what of it is the direct path to the first
        microphone `(S, T)`, both float32; the largest value is 1.

    Raises:
        UsageError: pyroomacoustics is not installed.

    References:
        J. B. Allen and D. A. Berkley, "Image method for efficiently simulating small-room acoustics", 1979;
        computed by pyroomacoustics (R. Scheibler et al., 2018).
    """
    pra = _pyroomacoustics()
    speed, delay = pra.constants.get("c"), pra.constants.get("frac_delay_length") // 2
    mics, rng = np.array(room.mics).T, np.random.default_rng(room.seed)
    farthest = np.linalg.norm(np.array(room.sources)[:, None] - np.array(room.mics), axis=-1).max()
    length_s = min(LONGEST_S, DECAY * room.t60_s) + float(farthest) / speed
    # More threads add in another order; its own filter would sound before the sound has arrived.
    wanted = {"num_threads": 1, "rir_hpf_enable": False}
    before = {key: pra.constants.get(key) for key in wanted}
    for key, value in wanted.items():
        pra.constants.set(key, value)
    try:
        box = pra.ShoeBox(room.size, fs=sample_rate, materials=pra.Material(room.absorption), max_order=0)
        for source in room.sources:
            box.add_source(source)
        box.add_microphone_array(mics)
        box.compute_rir()
        paths = [_cut(each, delay, round(length_s * sample_rate)) for each in box.rir[0]]
        for index, source in enumerate(room.sources):
            images, levels = _images(room, source, mics.mean(axis=1), speed, length_s, rng)
            box.sources[index].images, box.sources[index].damping = images, levels[None]
            box.visibility[index] = np.ones((len(room.mics), len(levels)), bool)
        box.compute_rir()
    finally:
        for key, value in before.items():
            pra.constants.set(key, value)
    # By microphones, then sources.
    whole = [[_cut(each, delay, len(paths[0])) for each in responses] for responses in box.rir]
    sections = butter(2, LOWEST_HZ, "highpass", fs=sample_rate, output="sos")
    heard, direct = sosfilt(sections, np.swapaxes(whole, 0, 1)), sosfilt(sections, paths)
    peak = np.abs(heard).max()
    return (heard / peak).astype(np.float32), (direct / peak).astype(np.float32)


def _images(
    room: Room, source: Point, middle: np.ndarray, speed: float, length_s: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Images of a source: where those are whose sound, at `speed` [m/s], reaches the array's `middle` in
    time, `(3, I)`, and how loud each is without the distance, `(I,)`; of the late ones some.
    """
    reach = speed * length_s
    squares, places, bounces = [], [], []
    for axis, (length, place) in enumerate(zip(room.size, source, strict=True)):
        walls = np.arange(-int(reach / length) - 2, int(reach / length) + 3)
        places.append(walls * length + np.where(walls % 2, length - place, place))
        squares.append(np.square(places[-1] - middle[axis]))
        bounces.append(np.abs(walls))
    square = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    density = 4 * np.pi * speed * square / np.prod(room.size)  # of the arrivals, per second
    taken = DENSITY / np.maximum(density, DENSITY)
    chosen = np.nonzero((rng.random(square.shape) < taken) & (square < (reach + 1) ** 2))
    order = sum(counts[index] for counts, index in zip(bounces, chosen, strict=True))
    levels = (1 - room.absorption) ** (order / 2) / np.sqrt(taken[chosen])
    return np.stack([axis[index] for axis, index in zip(places, chosen, strict=True)]), levels


def _cut(response: np.ndarray, start: int, length: int) -> np.ndarray:
    """So many samples from `start` on, zeros where there are none."""
    response = response[start : start + length]
    return np.pad(response, (0, length - len(response)))


class Rooms(Kept):
    """Random rooms, simulated once and kept as 16-bit floats: of every room its responses.

    Args:
        n_rooms: how many.
        seed: room `i` depends on `(seed, i)` alone.
        n_src, n_mics, t60_s: of every room; see `draw_room`.
        sample_rate: of the responses [Hz].
        cache: folder for the file; see `Kept`.

    Raises:
        UsageError: pyroomacoustics is not installed, and the rooms are not there yet.
    """

    suffix = ".rooms"

    def __init__(
        self,
        n_rooms: int,
        *,
        seed: int,
        n_src: int,
        n_mics: int,
        t60_s: tuple[float, float],
        sample_rate: int,
        cache: str | Path,
    ) -> None:
        self.n_src, self.n_mics, self.sample_rate, self._cache = n_src, n_mics, sample_rate, cache
        self.plans = [
            draw_room(np.random.default_rng([seed, index]), n_src=n_src, n_mics=n_mics, t60_s=t60_s)
            for index in range(n_rooms)
        ]
        settings = [sample_rate, LONGEST_S, DECAY, LOWEST_HZ, DENSITY]
        super().__init__(cache, ["rooms", settings, [asdict(plan) for plan in self.plans]])

    def _open(self, path: Path) -> np.ndarray:
        return np.memmap(path, "<f2", "r").reshape(-1, self.n_src, self.n_mics + 1)

    def _decode(self) -> Iterator[np.ndarray]:
        _pyroomacoustics()
        say(f"simulating {len(self.plans)} rooms into {self._cache}, once")
        with ProcessPoolExecutor(min(os.cpu_count() or 1, len(self.plans))) as pool:
            made = pool.map(partial(_rows, sample_rate=self.sample_rate), self.plans, chunksize=4)
            yield from track(made, "simulating rooms", len(self.plans))

    def read(self, index: int, n_mics: int) -> tuple[np.ndarray, np.ndarray]:
        """What `simulate` returns of one room, at its first `n_mics` microphones: `(S, C, T)`, `(S, T)`."""
        rows = np.ascontiguousarray(self.rows(index).transpose(1, 2, 0), np.float32)
        return rows[:, :n_mics], rows[:, -1]


def _rows(room: Room, sample_rate: int) -> np.ndarray:
    """A room as it is kept: 16-bit floats `(T, S, C + 1)`, the direct path after the microphones."""
    responses, paths = simulate(room, sample_rate)
    return np.concatenate([responses, paths[:, None]], axis=1).transpose(2, 0, 1).astype("<f2")
