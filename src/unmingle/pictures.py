"""Pictures: spectrograms of a mixture and its voices, curves of a training. matplotlib is imported only when one is drawn."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

WINDOW_S = 0.032
HOP_S = 0.008
TOP_HZ = 8_000
RANGE_DB = 65
MAX_COLUMNS = 2_000


def plot_separation(mixture: Path, voices: list[Path], picture: Path) -> None:
    """Draw the spectrograms of a mixture and of its voices below one another, all on one scale of level, as PNG.

    The files are read block by block; any length takes the same memory.

    Raises:
        InputError: a file cannot be read.
    """
    panels = [("mixture", *spectrogram(mixture)), *((path.stem, *spectrogram(path)) for path in voices)]
    top_db = max(float(levels.max()) for _, levels, _, _ in panels)
    figure = new_figure(8, 1.8 * len(panels))
    all_axes = figure.subplots(len(panels), 1, sharex=True)
    for axes, (title, levels, duration_s, top_hz) in zip(all_axes, panels, strict=True):
        extent = (0, duration_s, 0, top_hz / 1000)
        drawn = axes.imshow(levels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top_db - RANGE_DB, vmax=top_db - 10)
        axes.set_title(title, loc="left")
        axes.set_ylabel("kHz")
    axes.set_xlabel("s")
    figure.colorbar(drawn, ax=list(all_axes), label="dB", fraction=0.03, pad=0.01)
    figure.savefig(picture, dpi=100)


def spectrogram(path: Path) -> tuple[np.ndarray, float, float]:
    """Levels of a file by time, its channels averaged, up to 8 kHz.

    Frames beyond `MAX_COLUMNS` are averaged in pairs, again and again, so that an hour takes no more memory than a minute.

    Returns:
        Levels `(F, N)` [dB re full scale], duration [s], highest frequency [Hz].
    """
    from unmingle.media import open_audio

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
    """Power spectra by time: the mean of `n_frames` frames in each column, twice as many whenever the columns get too many."""

    def __init__(self, n_bins: int) -> None:
        self.n_frames, self._n_bins = 1, n_bins
        self._done = np.zeros((0, n_bins), np.float32)
        self._waiting = np.zeros((0, n_bins), np.float32)

    def add_frames(self, samples: np.ndarray, window: np.ndarray, hop: int) -> np.ndarray:
        """Transform the whole frames of `samples` `(T,)`; return the samples that the next frame begins with."""
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
                self._waiting = np.concatenate([np.repeat(self._done[-1:], self.n_frames, axis=0), self._waiting])
            pairs = self._done[: len(self._done) // 2 * 2]
            self._done = pairs.reshape(-1, 2, self._n_bins).mean(axis=1)
            self.n_frames *= 2

    def joined(self) -> np.ndarray:
        """All columns `(N, F)`, the last of them perhaps of fewer frames."""
        return np.concatenate([self._done, self._waiting.mean(axis=0, keepdims=True)]) if len(self._waiting) else self._done


def plot_curves(table: Path, picture: Path) -> None:
    """Draw the columns of a training's CSV over its minutes (over its steps, where it has none) as PNG.

    A column `train_X` shares its axes with `valid_X`; whatever columns there are, are drawn. Empty cells are left out.
    """
    with Path(table).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0]) if rows else []
    across = next((name for name in ("minutes", "step") if name in names), None)
    groups: dict[str, list[str]] = {}
    for name in names:
        if name not in ("step", "minutes", "hours_of_audio"):
            groups.setdefault(name.removeprefix("train_").removeprefix("valid_"), []).append(name)
    figure = new_figure(7, 2.4 * max(1, len(groups)))
    all_axes = figure.subplots(max(1, len(groups)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, columns) in zip(all_axes, groups.items(), strict=False):
        for name in columns:
            filled = [(float(row[across]) if across else index, float(row[name])) for index, row in enumerate(rows) if row[name]]
            axes.plot(*zip(*filled, strict=True), label=name.split("_")[0] if len(columns) > 1 else None)
        axes.set_title(title, loc="left")
        axes.grid(alpha=0.3)
        if len(columns) > 1:
            axes.legend()
    all_axes[-1].set_xlabel(across or "row")
    figure.savefig(picture, dpi=100)


def plot_filters(filters: np.ndarray, sample_rate: int, picture: Path) -> None:
    """Draw the basis signals of a learned filterbank and their spectra, each as loud as its peak, from the lowest to the highest, as PNG.

    Args:
        filters: `(F, L)`, such as `filterbank.analysis.weight[:, 0]` of a Conv-TasNet.
        sample_rate: [Hz].
        picture: file to write.
    """
    filters = filters[np.argsort(centre_frequencies(filters, sample_rate))]
    spectra = np.abs(np.fft.rfft(filters, max(256, filters.shape[1])))
    figure = new_figure(9, 5)
    left, right = figure.subplots(1, 2, sharey=True)
    kept = {"origin": "lower", "aspect": "auto"}
    left.imshow(relative_to_peak(filters), extent=(0, 1000 * filters.shape[1] / sample_rate, 0, len(filters)), cmap="RdBu", vmin=-1, vmax=1, **kept)
    right.imshow(relative_to_peak(spectra), extent=(0, sample_rate / 2000, 0, len(filters)), cmap="magma", vmin=0, vmax=1, **kept)
    left.set_ylabel("basis signal, by centre frequency")
    left.set_xlabel("ms")
    right.set_xlabel("kHz")
    figure.savefig(picture, dpi=100)


def centre_frequencies(filters: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mean frequency of each filter `(F, L)`, weighted by its power: `(F,)` [Hz]."""
    power = np.square(np.abs(np.fft.rfft(filters, max(256, filters.shape[1]))))
    return power @ np.linspace(0, sample_rate / 2, power.shape[1]) / np.maximum(power.sum(axis=1), 1e-30)


def relative_to_peak(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-30)


def new_figure(width: float, height: float) -> Any:
    """A figure `width` × `height` [inches] that needs no screen and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
