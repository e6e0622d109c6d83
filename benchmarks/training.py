"""One training step of Conv-TasNet at the size of its paper, and losses alone, beside Asteroid's, in one run,
taking turns.

    benchmarks/setup_asteroid.sh && python benchmarks/training.py

A step is forward, loss, backward and optimiser (Adam) on the same batch of two voices at 8 kHz, float32,
PyTorch eager for both; the first row is ours compiled, as `trainer.compile=true` trains. The loss is SI-SDR
over the best order of the voices; the affinity loss compares embeddings of 20 numbers of the bins of as long
a spectrogram, half of which are silent.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import report
import torch
from inference import Asteroid, timed

from unmingle.models import build
from unmingle.objectives import build_objective
from unmingle.objectives.clustering import affinity_loss

SAMPLE_RATE = 8_000
TASKS = {
    "compiled": "a step, ours compiled",
    "step": "a step",
    "pit": "the PIT loss, forward and backward",
    "affinity": "the affinity loss of deep clustering, forward and backward",
}


def tasks(sources: torch.Tensor) -> dict[str, Callable[[], None]]:
    """What unmingle does on sources `(B, S, T)`, under the names by which Asteroid's worker
    knows the same.
    """
    model = build("conv-tasnet", sample_rate=SAMPLE_RATE, kernel_size=16)
    objective = build_objective("waveform-pit")
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    batch = {"mixture": sources.sum(1, keepdim=True), "sources": sources}

    def step() -> None:
        optimizer.zero_grad()
        objective(model, batch)["loss"].backward()
        optimizer.step()

    compiled = build("conv-tasnet", sample_rate=SAMPLE_RATE, kernel_size=16)
    compiled.compile()
    compiled_optimizer = torch.optim.Adam(compiled.parameters(), 1e-3)

    def compiled_step() -> None:
        compiled_optimizer.zero_grad()
        objective(compiled, batch)["loss"].backward()
        compiled_optimizer.step()

    n_bins = 129 * (sources.shape[-1] // 64)
    embeddings = torch.nn.functional.normalize(torch.randn(len(sources), n_bins, 20), dim=-1)
    owners = torch.nn.functional.one_hot(torch.randint(0, 2, (len(sources), n_bins)), 2).float()
    loud = (torch.rand(len(sources), n_bins) > 0.5).float()

    def affinity() -> None:
        affinity_loss(embeddings.clone().requires_grad_(), owners, loud).mean().backward()

    def compare() -> None:
        estimates = batch["mixture"].expand_as(sources).clone().requires_grad_()
        objective(lambda _: estimates, batch)["loss"].backward()

    return {"compiled": compiled_step, "step": step, "pit": compare, "affinity": affinity}


def rounds(
    asteroid: Path, batch_size: int, length_s: float, repeats: int, threads: int
) -> tuple[str, list[dict[str, float]]]:
    """Seconds of every task in every round, ours and theirs one after the other; the first round warms up and
    is left out.
    """
    torch.set_num_threads(threads)
    samples = report.talk(2 * batch_size * length_s, SAMPLE_RATE).reshape(batch_size, 2, -1)
    mine = tasks(torch.from_numpy(samples))
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "sources.npy", samples)
        other = Asteroid(
            asteroid,
            Path(folder) / "sources.npy",
            threads,
            {"class": "ConvTasNet", "n_src": 2, "sample_rate": SAMPLE_RATE},
        )
        turns: dict[str, Callable[[], float]] = {}
        for task, ours in mine.items():
            turns |= {
                f"{task}, unmingle": partial(timed, ours),
                f"{task}, Asteroid": partial(other, "step" if task == "compiled" else task),
            }
        rows = [{name: run() for name, run in turns.items()} for _ in range(1 + repeats)]
        other.close()
    return other.name, rows[1:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4, help="mixtures in a batch")
    report.beside_asteroid(parser, 4, "a mixture", "half a second")
    options = parser.parse_args()
    if options.quick:
        options.batch, options.seconds, options.repeats = 1, 0.5, 2
    before = report.machine()
    name, found = rounds(options.asteroid, options.batch, options.seconds, options.repeats, options.threads)
    rows = []
    for task, text in TASKS.items():
        gains = [turn[f"{task}, Asteroid"] / turn[f"{task}, unmingle"] for turn in found]
        rows.append(
            {
                "what": text,
                **{
                    f"{who} [s]": median(turn[f"{task}, {who}"] for turn in found)
                    for who in ("unmingle", "Asteroid")
                },
                "faster than Asteroid (median of pairs)": f"{median(gains):.2f}",
                "range": f"{min(gains):.2f} to {max(gains):.2f}",
            }
        )
    setting = (
        f"{options.batch} mixtures of {options.seconds:g} s at 8 kHz, {options.repeats} rounds in turns on "
        f"{options.threads} threads"
    )
    report.publish(
        "training",
        [before, f"Training on {setting}, beside {name}:", report.table(rows)],
        keep=not options.quick,
    )
    if not options.quick:
        report.write_rows("training", [{"round": index, **turn} for index, turn in enumerate(found)])


if __name__ == "__main__":
    main()
