"""Pictures: spectrograms of a mixture and its voices, curves of a training. matplotlib is imported only when
one is drawn.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.results.rttm import Segment

WINDOW_S = 0.032
HOP_S = 0.008
TOP_HZ = 8_000
RANGE_DB = 65
MAX_COLUMNS = 2_000
MAX_DOTS = 5_000


def plot_separation(mixture: Path, voices: list[Path], picture: Path) -> None:
    """Draw the spectrograms of a mixture and of its voices below one another, all on one scale of level, and
    beside each voice its mask, as PNG.

    A mask here is what any separator amounts to: the magnitude of the voice over that of the mixture, 1 at
    most, where the mixture is not faint. The files are read block by block; any length takes the same memory.

    Raises:
        InputError: a file cannot be read.
    """
    panels = [("mixture", *spectrogram(mixture)), *((path.stem, *spectrogram(path)) for path in voices)]
    top_db, whole = max(float(levels.max()) for _, levels, _, _ in panels), panels[0][1]
    figure = new_figure(12, 1.8 * len(panels))
    all_axes = figure.subplots(len(panels), 2, sharex=True, squeeze=False)
    for row, (left, right) in enumerate(all_axes):
        title, levels, duration_s, top_hz = panels[row]
        place = {"origin": "lower", "aspect": "auto", "extent": (0, duration_s, 0, top_hz / 1000)}
        drawn = left.imshow(levels, cmap="magma", vmin=top_db - RANGE_DB, vmax=top_db - 10, **place)
        left.set_title(title, loc="left")
        left.set_ylabel("kHz")
        if not row:
            right.set_axis_off()
            continue
        masked = right.imshow(
            magnitude_shares(levels, whole, top_db - RANGE_DB), cmap="viridis", vmin=0, vmax=1, **place
        )
        right.set_title(f"mask of {title}", loc="left")
    for axes in all_axes[-1]:
        axes.set_xlabel("s")
    figure.colorbar(drawn, ax=list(all_axes[:, 0]), label="dB", fraction=0.04, pad=0.01)
    figure.colorbar(masked, ax=list(all_axes[1:, 1]), label="share of the magnitude", fraction=0.04, pad=0.01)
    figure.savefig(picture, dpi=100)


def plot_timeline(segments: list[Segment], names: list[str], duration_s: float, picture: Path) -> None:
    """Draw who speaks when, a line per name in its colour, as PNG."""
    figure = new_figure(12, 0.8 + 0.4 * len(names))
    axes = figure.subplots()
    for line, name in enumerate(names):
        spans = [(s.start_s, s.end_s - s.start_s) for s in segments if s.speaker == name]
        axes.broken_barh(spans, (line - 0.4, 0.8), facecolors=f"C{line}")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, duration_s)
    axes.set_xlabel("s")
    figure.savefig(picture, dpi=100)


def magnitude_shares(levels: np.ndarray, whole: np.ndarray, floor_db: float) -> np.ndarray:
    """Magnitude over that of the mixture, 1 at most, and not a number where the mixture is below the floor.

    `(F, N)`, `(F, N)` → `(F, N)`; where a format padded one of them, what both have.
    """
    n_bins, n_frames = np.minimum(levels.shape, whole.shape)
    levels, whole = levels[:n_bins, :n_frames], whole[:n_bins, :n_frames]
    return np.where(whole > floor_db, 10 ** (np.minimum(levels - whole, 0) / 20), np.nan)


def plot_embeddings(
    embeddings: np.ndarray,
    masks: np.ndarray,
    loud: np.ndarray,
    picture: Path,
    *,
    names: list[str],
    extent: tuple[float, float, float, float],
) -> None:
    """Draw embeddings in the plane in which they differ most, one dot per bin in its cluster's colour, and
    the masks, as PNG.

    Args:
        embeddings: `(E, F, N)`.
        masks: `(S, F, N)`, one per cluster.
        loud: `(F, N)`, the bins to draw; at most `MAX_DOTS` of them are.
        picture: file to write.
        names: of the clusters.
        extent: where the masks begin and end [s, s, kHz, kHz].
    """
    points, owners = embeddings[:, loud].T, masks.argmax(axis=0)[loud]
    step = max(1, -(-len(points) // MAX_DOTS))
    plane, shares = principal_plane(points)
    figure = new_figure(11, 1.8 * max(2, len(masks)))
    left, *right = figure.subplot_mosaic([["dots", "dots", name, name, name] for name in names]).values()
    left.scatter(*plane[::step].T, c=[f"C{owner}" for owner in owners[::step]], s=2, alpha=0.5, linewidths=0)
    left.set_title(f"embeddings, first {extent[1]:.0f} s", loc="left")
    left.set_xlabel(f"first principal component ({100 * shares[0]:.0f} % of the variance)")
    left.set_ylabel(f"second ({100 * shares[1]:.0f} %)")
    for k, (axes, mask) in enumerate(zip(right, masks, strict=True)):
        drawn = axes.imshow(
            np.where(loud, mask, np.nan),
            origin="lower",
            aspect="auto",
            cmap="viridis",
            vmin=0,
            vmax=1,
            extent=extent,
        )
        axes.set_title(f"mask of {names[k]}", loc="left", color=f"C{k}")
        axes.set_ylabel("kHz")
    right[-1].set_xlabel("s")
    figure.colorbar(drawn, ax=right, fraction=0.04, pad=0.01)
    figure.savefig(picture, dpi=100)


def principal_plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points `(M, E)` in the two directions of their largest variance `(M, 2)`, and the shares of the
    variance in them `(2,)`.
    """
    centred = points - points.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    return centred @ directions[:, :-3:-1], variances[:-3:-1] / max(variances.sum(), 1e-12)


def spectrogram(path: Path) -> tuple[np.ndarray, float, float]:
    """Levels of a file by time, its channels averaged, up to 8 kHz.

    Frames beyond `MAX_COLUMNS` are averaged in pairs, again and again, so that an hour takes no more memory
    than a minute.

    Returns:
        Levels `(F, N)` [dB re full scale], duration [s], highest frequency [Hz].
    """
    from unmingle.media.audio import open_audio

    with open_audio(path) as reader:
        rate = reader.sample_rate
        n_fft, hop = round(WINDOW_S * rate), round(HOP_S * rate)
        n_bins = min(n_fft // 2, round(TOP_HZ * n_fft / rate)) + 1
        window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
        columns = Columns(n_bins)
        n_samples, tail = 0, np.zeros(n_fft // 2, np.float32)
        for block in reader.blocks(10 * rate):
            n_samples += block.shape[1]
            tail = np.concatenate([tail, block.mean(axis=0)])
            tail = columns.add_frames(tail, window, hop)
        columns.add_frames(np.pad(tail, (0, n_fft)), window, hop)
    power = columns.joined()[: max(1, round(n_samples / hop / columns.n_frames))].T / window.sum() ** 2 * 4
    return 10 * np.log10(power + 1e-12), n_samples / rate, (n_bins - 1) * rate / n_fft


class Columns:
    """Power spectra by time: the mean of `n_frames` frames in each column, twice as many whenever the columns
    get too many.
    """

    def __init__(self, n_bins: int) -> None:
        self.n_frames, self._n_bins = 1, n_bins
        self._done = np.zeros((0, n_bins), np.float32)
        self._waiting = np.zeros((0, n_bins), np.float32)

    def add_frames(self, samples: np.ndarray, window: np.ndarray, hop: int) -> np.ndarray:
        """Transform the whole frames of `samples` `(T,)`; return the samples that the next
        frame begins with.
        """
        if len(samples) < len(window):
            return samples
        frames = np.lib.stride_tricks.sliding_window_view(samples, len(window))[::hop]
        power = np.square(np.abs(np.fft.rfft(frames * window)[:, : self._n_bins])).astype(np.float32)
        self._waiting = np.concatenate([self._waiting, power])
        self._pool()
        return samples[len(frames) * hop :]

    def _pool(self) -> None:
        n = len(self._waiting) // self.n_frames * self.n_frames
        ready = self._waiting[:n].reshape(-1, self.n_frames, self._n_bins).mean(axis=1)
        self._done, self._waiting = np.concatenate([self._done, ready]), self._waiting[n:]
        while len(self._done) > MAX_COLUMNS:
            if len(self._done) % 2:
                self._waiting = np.concatenate(
                    [np.repeat(self._done[-1:], self.n_frames, axis=0), self._waiting]
                )
            pairs = self._done[: len(self._done) // 2 * 2]
            self._done = pairs.reshape(-1, 2, self._n_bins).mean(axis=1)
            self.n_frames *= 2

    def joined(self) -> np.ndarray:
        """All columns `(N, F)`, the last of them perhaps of fewer frames."""
        return (
            np.concatenate([self._done, self._waiting.mean(axis=0, keepdims=True)])
            if len(self._waiting)
            else self._done
        )


def plot_curves(table: Path, picture: Path) -> None:
    """Draw the columns of a training's CSV over its minutes (over its steps, where it has none) as PNG.

    A column `train_X` shares its axes with `valid_X`, and `order_switches` is drawn beside the loss; whatever
    columns there are, are drawn. Empty cells are left out.
    """
    with Path(table).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0]) if rows else []
    across = next((name for name in ("minutes", "step") if name in names), None)

    def points(name: str) -> list[tuple[float, float]]:
        return [
            (float(row[across]) if across else index, float(row[name]))
            for index, row in enumerate(rows)
            if row[name]
        ]

    groups: dict[str, list[str]] = {}
    for name in names:
        if name not in ("step", "minutes", "hours_of_audio", "order_switches"):
            groups.setdefault(name.removeprefix("train_").removeprefix("valid_"), []).append(name)
    figure = new_figure(7, 2.4 * max(1, len(groups)))
    all_axes = figure.subplots(max(1, len(groups)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, columns) in zip(all_axes, groups.items(), strict=False):
        for name in columns:
            axes.plot(
                *zip(*points(name), strict=True),
                marker=".",
                markersize=3,
                label=name.split("_")[0] if len(columns) > 1 else None,
            )
        if title == "loss" and "order_switches" in names:
            beside = axes.twinx()
            beside.plot(*zip(*points("order_switches"), strict=True), color="0.5", marker=".")
            beside.set_ylabel("share of orders that switched", color="0.5")
            beside.set_ylim(bottom=0)
        axes.set_title(title, loc="left")
        axes.grid(alpha=0.3)
        if len(columns) > 1:
            axes.legend()
    all_axes[-1].set_xlabel(across or "row")
    figure.savefig(picture, dpi=100)


def new_figure(width: float, height: float) -> Any:
    """A figure `width` × `height` [inches] that needs no screen and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
