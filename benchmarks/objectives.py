"""The same network trained for a waveform, for a listener and for a machine, in the same processor time.

    python benchmarks/objectives.py --speech data --acoustic ACOUSTIC --proxy PROXY --runs runs/objectives

Three branches from the same trunk hear the same mixtures while their learning rate falls: for SI-SDR and SNR
alone; with STOI and the PESQ proxy besides; with the acoustic model's features besides. The weight of what is
added is such that its gradient is as long as that of the waveform, at the trunk. A branch whose folder is
there already is only measured. The two networks are made by train_acoustic_model.py and train_pesq_proxy.py.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import report
import torch

from unmingle.console import say, track
from unmingle.data.batch import collate
from unmingle.data.sets import MixtureEntry, read_set
from unmingle.evaluation.evaluate import measured_rows, n_speakers, statistics
from unmingle.evaluation.systems import MIXTURE, System, system
from unmingle.metrics.ratios import best_order
from unmingle.metrics.recognisers import DEFAULT_RECOGNISER, recogniser
from unmingle.metrics.recognition import word_errors
from unmingle.objectives import build_objective
from unmingle.objectives.loss_inputs import LossInputs
from unmingle.training.batches import build_mixers
from unmingle.training.recipe import Recipe, read_recipe
from unmingle.training.starting import build_parts, initialise_from
from unmingle.training.trainer import train

ROOT = report.HERE.parent
#: recipe, trunk, validation mixtures
NETWORKS = {
    "enhancer": ("recipes/noisy/erb-unet.yaml", "trunks/erb-unet.safetensors", "valid-noisy.csv"),
    "separator": ("recipes/libri/duet.yaml", "trunks/duet.safetensors", "valid-2mix.csv"),
}
BRANCHES = {"waveform": (), "listener": ("stoi", "pesq-proxy"), "machine": ("recogniser",)}
DATA = {"speech": "utterances.csv", "noise": "noises.csv"}
FIRST = 40  # mixtures that are measured
N_DRAWN = 10_000  # times that voices are drawn anew for an interval
N_WEIGHED = 8  # batches in which gradients are compared
COLUMNS = {
    "si_sdri": ("si-sdr", "SI-SDRi [dB]", 2),
    "stoi": ("stoi", "STOI", 3),
    "pesq_wb": ("pesq", "PESQ", 2),
    "dnsmos_ovrl": ("dnsmos", "DNSMOS", 2),
    "wer": ("wer", "WER to the clean voice's words [%]", 1),
}
CLEAN = "clean"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, default=Path("data"), help="folder of utterances.csv")
    parser.add_argument("--cache", default=".cache", help="folder for decoded samples")
    parser.add_argument("--acoustic", type=Path, required=True, help="weights of the acoustic model")
    parser.add_argument("--proxy", type=Path, required=True, help="weights of the PESQ proxy")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--minutes", type=float, default=5.0, help="of processor time, for each branch")
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=["enhancer"])
    parser.add_argument("--only", choices=list(BRANCHES), help="train this branch, and measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = {"recogniser": str(options.acoustic), "pesq-proxy": str(options.proxy)}
    parts = [report.machine()]
    for network in options.networks:
        recipe_file, trunk, _ = NETWORKS[network]
        recipe = read_recipe(
            ROOT / recipe_file,
            [
                *(f"data.{what}={options.speech / file}" for what, file in DATA.items()),
                f"data.cache={options.cache}",
                "optimizer.decay=1",
                f"trainer.minutes={options.minutes}",
                "trainer.clock=cpu",
                "trainer.threads=1",
                "trainer.validate_every=100000",
            ],
        )
        weights = balanced(recipe, ROOT / trunk, files)
        say(f"{network}: weights {weights}")
        for branch in [options.only] if options.only else BRANCHES:
            out = options.runs / f"{network}-{branch}"
            recipe.objective = {
                "name": "sum",
                "terms": [{"name": "waveform"}, *terms(BRANCHES[branch], files, weights)],
            }
            if not (out / "last.safetensors").exists():
                train(recipe, out, init=ROOT / trunk)
        if not options.only:
            parts.append(table(network, options.runs, options.speech))
            given = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
            parts.append(f"{options.minutes:g} minutes of processor time each. Weights: waveform 1, {given}.")
    if not options.only:
        report.publish("objectives", parts, keep=True)


def terms(
    names: tuple[str, ...], files: dict[str, str], weights: dict[str, float]
) -> Iterator[dict[str, Any]]:
    """Terms of an objective as a recipe has them."""
    for name in names:
        yield {"name": name, "weight": weights[name], **({"weights": files[name]} if name in files else {})}


def balanced(recipe: Recipe, trunk: Path, files: dict[str, str]) -> dict[str, float]:
    """The weights with which what a branch adds has about as long a gradient at the trunk as the waveform."""
    model, _ = build_parts(recipe)
    initialise_from(model, trunk)
    model.train()
    names = [name for added in BRANCHES.values() for name in added]
    ones = dict.fromkeys(names, 1.0)
    objectives = {
        "waveform": build_objective("waveform"),
        **{name: build_objective("sum", terms=list(terms((name,), files, ones))) for name in names},
    }
    lengths = dict.fromkeys(objectives, 0.0)
    mixer, size = build_mixers(recipe.data)[0], recipe.trainer.batch_size
    for step in range(N_WEIGHED):
        batch = collate(list(enumerate(mixer.batch(range(size * step, size * (step + 1))))))
        for name, objective in objectives.items():
            model.zero_grad()
            objective.compare(LossInputs(model, batch))["loss"].backward()
            squares = [p.grad.square().sum() for p in model.parameters() if p.grad is not None]
            lengths[name] += float(torch.stack(squares).sum().sqrt()) / N_WEIGHED
    return {
        name: float(f"{lengths['waveform'] / lengths[name] / len(added):.2g}")
        for added in BRANCHES.values()
        for name in added
    }


def table(network: str, runs: Path, speech: Path) -> str:
    """Both sides of the mixture, the trunk and its branches, a row each; the best branch of a column is bold.

    What a system reaches is kept beside the trainings, and not measured again.
    """
    _, trunk, csv = NETWORKS[network]
    entries = read_set(report.HERE / csv, speech, first=FIRST)
    models = {CLEAN: CLEAN, MIXTURE: MIXTURE, "trunk": str(ROOT / trunk)}
    models |= {branch: str(runs / f"{network}-{branch}" / "last.safetensors") for branch in BRANCHES}
    found = {}
    for name, model in models.items():
        path = runs / f"{network}-{name}.json"
        if not path.exists():
            path.write_text(json.dumps(measured(model, entries)), encoding="utf-8")
        found[name] = json.loads(path.read_text(encoding="utf-8"))
    said = found.pop(CLEAN)["words"]
    counts = np.array([len(words) for words in said])
    errors = {
        name: np.array([word_errors(*pair) for pair in zip(each["words"], said, strict=True)])
        for name, each in found.items()
    }
    for name, each in found.items():
        each["wer"] = 100 * errors[name].sum() / counts.sum()
    rows = []
    for name, values in found.items():
        row = {network: name}
        for column, (_, title, digits) in COLUMNS.items():
            pick = min if column == "wer" else max
            best = name in BRANCHES and values[column] == pick(found[branch][column] for branch in BRANCHES)
            text = f"{values[column]:.{digits}f}"
            row[title] = f"**{text}**" if best else text
        rows.append(row)
    drawn = np.random.default_rng(0).integers(len(counts), size=(N_DRAWN, len(counts)))
    compared = []
    for other in ("waveform", "listener", MIXTURE):
        points = 100 * (errors["machine"] - errors[other])[drawn].sum(1) / counts[drawn].sum(1)
        low, middle, high = np.percentile(points, [2.5, 50, 97.5])
        compared.append(f"{other} {middle:+.1f} ({low:+.1f} to {high:+.1f})")
    return "\n\n".join(
        [
            f"The first {FIRST} of {csv}, {counts.sum()} words in the clean voices; the best branch in bold:",
            report.table(rows),
            f"WER of machine less that of {', '.join(compared)}, with 95 % intervals over voices.",
        ]
    )


def measured(model: str, entries: list[MixtureEntry]) -> dict[str, Any]:
    """Means of a system's scores, and the words that a recogniser hears in every voice that it returns."""
    speakers = n_speakers(entries)
    chosen = System(CLEAN, lambda item: item.sources) if model == CLEAN else system(model, speakers)
    scores = {}
    if model != CLEAN:
        measures = tuple(measure for measure, _, _ in COLUMNS.values() if measure != "wer")
        rows = measured_rows(chosen, entries, measures, None, {})
        rows = list(track(rows, f"measuring {model}", len(entries)))
        scores = {column: statistics(rows, column)["mean"] for column in COLUMNS if column != "wer"}
    recognise, words = recogniser(DEFAULT_RECOGNISER), []
    for entry in track(entries, f"recognising {model}", len(entries)):
        item = entry.read()
        estimates = chosen.run(item)
        order = best_order(estimates, item.sources)
        words += [recognise(estimates[index], item.sample_rate).words for index in order]
    return {**scores, "words": words}


if __name__ == "__main__":
    main()
