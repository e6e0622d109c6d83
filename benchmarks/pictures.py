"""The pictures of the classics in the documentation: `docs/pictures/*.png`.

python benchmarks/pictures.py                                                   # masks.png and filters.png,
from what ships python benchmarks/pictures.py --switches 'free=runs/free' 'fixed=runs/fixed'    #
switches.png, of trainings, see docs/models/upit.md
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import onnx
import report
import soundfile
import soxr

import unmingle
from unmingle.catalog import cards
from unmingle.evaluation.oracles import HOP_S, ORACLES, OVERLAP
from unmingle.evaluation.plots import plot_filters
from unmingle.metrics.ratios import best_order
from unmingle.results.pictures import magnitude_shares, new_figure
from unmingle.spectrogram import stft

PICTURES = report.HERE.parent / "docs/pictures"
SAMPLE_RATE = 8_000
RANGE_DB = 50
LENGTH_S = 4


def levels_db(spectrum: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.abs(spectrum) + 1e-9)


def spectrum(samples: np.ndarray) -> np.ndarray:
    """As the oracles see it: `(…, T)` → `(…, F, N)`."""
    hop = round(HOP_S * SAMPLE_RATE)
    return stft(samples, OVERLAP * hop, hop)


def mask_panels() -> list[tuple[str, np.ndarray]]:
    """The mixture's level, then the first voice's mask by every kind of oracle and by every shipped model of
    two voices.
    """
    files = [report.EXAMPLE.with_suffix(f".reference-{number}.flac") for number in (1, 2)]
    voices = []
    for file in files:
        samples, rate = soundfile.read(file, dtype="float32")
        voices.append(soxr.resample(samples, rate, SAMPLE_RATE)[: LENGTH_S * SAMPLE_RATE])
    references = np.stack(voices)
    mixture = references.sum(axis=0)
    mixed, parts = spectrum(mixture), spectrum(references)
    whole = levels_db(mixed)
    floor = whole.max() - RANGE_DB
    panels = [("mixture", np.where(whole > floor, (whole - floor) / RANGE_DB, np.nan))]
    for name, masks in ORACLES.items():
        if name != "oracle-cirm":  # it is complex
            panels.append((name, np.where(whole > floor, masks(mixed, parts)[0], np.nan)))
    for card in cards():
        if card.facts.n_src in (None, 2):
            found = unmingle.separate(
                mixture, SAMPLE_RATE, speakers=2, model=unmingle.load(card.name, speakers=2)
            )
            first = found[best_order(found, references)[0]]
            panels.append((card.name, magnitude_shares(levels_db(spectrum(first)), whole, floor)))
    return panels


def draw_masks(picture: Path) -> None:
    """Panels of `mask_panels` in three columns."""
    panels = mask_panels()
    figure = new_figure(13, 1.7 * -(-len(panels) // 3))
    grid = figure.subplots(-(-len(panels) // 3), 3, sharex=True, sharey=True).flatten()
    for axes, (title, values) in zip(grid, panels, strict=False):
        place = (0, LENGTH_S, 0, SAMPLE_RATE / 2000)
        drawn = axes.imshow(
            values,
            origin="lower",
            aspect="auto",
            extent=place,
            cmap="viridis",
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
        axes.set_title(title, loc="left", fontsize=9)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel("s")
    figure.supylabel("kHz")
    figure.colorbar(drawn, ax=list(grid), label="mask of the first voice", fraction=0.02, pad=0.01)
    figure.savefig(picture, dpi=100)


def draw_switches(runs: list[str], picture: Path) -> None:
    """Share of items whose order switched, and the held-out gain, epoch by epoch, of trainings given as
    LABEL=FOLDER.
    """
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    for run in runs:
        label, _, folder = run.partition("=")
        with (Path(folder) / "curves.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        epochs = np.arange(1, len(rows) + 1)
        left.plot(epochs, [100 * float(row["order_switches"] or "nan") for row in rows], label=label)
        right.plot(epochs, [float(row["valid_si_sdri"]) for row in rows], label=label)
    left.set_ylabel("items whose order switched [%]")
    right.set_ylabel("SI-SDRi, held-out speakers [dB]")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--switches", nargs="+", metavar="LABEL=FOLDER", help="trainings with data.n_items")
    options = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    if options.switches:
        draw_switches(options.switches, PICTURES / "switches.png")
        return
    draw_masks(PICTURES / "masks.png")
    graph = onnx.load(next(card.path for card in cards() if card.name == "conv-tasnet")).graph
    stored = next(t for t in graph.initializer if t.name.startswith("filterbank.analysis.weight"))
    filters = onnx.numpy_helper.to_array(stored)[:, 0].astype(np.float32)
    plot_filters(filters, SAMPLE_RATE, PICTURES / "filters.png")


if __name__ == "__main__":
    main()
