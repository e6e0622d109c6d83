"""Pictures of comparisons and of learned filters. matplotlib is imported only when one is drawn."""

from pathlib import Path
from typing import Any

import numpy as np

from unmingle.results.pictures import new_figure


def plot_comparison(table: list[dict[str, Any]], picture: Path) -> None:
    """Draw SI-SDRi over speed as PNG: a dot per model, as large as it has parameters, and a line for what has
    no speed, such as an oracle.

    Args:
        table: rows of `model`, `si_sdri_db`, `real_time_factor` and `parameters_m`, each but the first
            perhaps None.
    """
    measured = [row for row in table if row["si_sdri_db"] is not None]
    figure = new_figure(8, 5)
    axes = figure.subplots()
    names = []
    for number, row in enumerate(measured):
        if row["real_time_factor"] is None:
            axes.axhline(row["si_sdri_db"], color="0.6", linestyle=":", zorder=0)
            at = 0.18 + 0.2 * (number % 5), row["si_sdri_db"]  # beside one another: lines may lie close
            axes.annotate(
                row["model"],
                at,
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                color="0.4",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},  # the lines stop at a name
            )
        else:
            at = 1 / row["real_time_factor"], row["si_sdri_db"]
            axes.scatter(*at, s=100 * row["parameters_m"], alpha=0.5)
            names.append(axes.annotate(row["model"], at, xytext=(4, 4), textcoords="offset points"))
    if any(row["real_time_factor"] for row in measured):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("× real time (area of a dot: parameters)")
    axes.set_ylabel("SI-SDRi [dB]")
    axes.grid(alpha=0.3)
    figure.draw_without_rendering()
    lift_apart(names)
    figure.savefig(picture, dpi=100)


def lift_apart(names: list[Any]) -> None:
    """Lift annotations, the lowest first, until none lies on another."""
    placed: list[Any] = []
    for name in sorted(names, key=lambda name: name.get_window_extent().y0):
        while any(name.get_window_extent().overlaps(other) for other in placed):
            x, y = name.get_position()
            name.set_position((x, y + 2))
        placed.append(name.get_window_extent())


def plot_filters(filters: np.ndarray, sample_rate: int, picture: Path) -> None:
    """Draw the basis signals of a learned filterbank and their spectra, each as loud as its peak, from the
    lowest to the highest, as PNG.

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
    left.imshow(
        relative_to_peak(filters),
        extent=(0, 1000 * filters.shape[1] / sample_rate, 0, len(filters)),
        cmap="RdBu",
        vmin=-1,
        vmax=1,
        **kept,
    )
    right.imshow(
        relative_to_peak(spectra),
        extent=(0, sample_rate / 2000, 0, len(filters)),
        cmap="magma",
        vmin=0,
        vmax=1,
        **kept,
    )
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
