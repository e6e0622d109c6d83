"""What happens beside a training: a progress bar, and the files of its folder."""

import csv
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from unmingle.results.folders import replacing
from unmingle.training.optimizers import optimizer_tensors
from unmingle.weights_file import float16_state, save_weights

REFRESH_EVERY = 20  # steps between two looks at figures that lie on the device
SI_SDRI = "si_sdri"


class ProgressBar(Callback):
    """Share of the budget that is spent, time left, and the latest loss and validation."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self.bar = Progress(
            *columns,
            TextColumn("left {task.description}"),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=2,
        )

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self.bar.start()
        self.task = self.bar.add_task("", total=1)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        if module.global_step % REFRESH_EVERY and not self.bar.disable:
            return
        shown = [f"step {module.global_step}"]
        if not self.bar.disable:
            for key in ("train_loss", f"valid_{chosen_by(module)}"):
                if key in trainer.callback_metrics:
                    shown.append(f"{key.replace('_', ' ')} {float(trainer.callback_metrics[key]):.2f}")
        self.bar.update(self.task, completed=module.share_done, description=", ".join(shown))

    def teardown(self, trainer: lightning.Trainer, module: Any, stage: str) -> None:
        self.bar.stop()


def chosen_by(module: Any) -> str:
    """The part of the objective by which the best weights are chosen; a higher one is better."""
    return getattr(module.objective, "chosen_by", SI_SDRI)


class CheckpointWriter(Callback):
    """After every validation: a row of `curves.csv`, `last.ckpt` to resume from, and weights.

    `best.safetensors` holds the averaged weights of the best validation, `last.safetensors` those of the
    latest. Of a trunk, whose learning rate does not fall, it holds the live weights and the state of the
    optimizer instead, from which a training goes on anywhere.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = -float("inf")

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        if trainer.sanity_checking:
            return
        measure = chosen_by(module)
        score = float(trainer.callback_metrics[f"valid_{measure}"])
        training = {
            "steps": module.global_step,
            "hours_of_audio": round(module.hours_of_audio, 3),
            "minutes": round(module.minutes, 2),
            "clock": module.recipe.trainer.clock,
            "threads": torch.get_num_threads(),
            f"held_out_{measure}{'_db' if measure == SI_SDRI else ''}": round(score, 3),
            "corpora": list(module.mixers[0].corpora),
            "items_seen": module.items_seen,
            **({"earlier": module.earlier} if module.earlier else {}),
        }
        row = {
            "step": module.global_step,
            "minutes": training["minutes"],
            "hours_of_audio": training["hours_of_audio"],
            "total_hours": round(module.hours_of_audio + module.hours_before, 3),
            # Empty where no epoch ended since the last row, so that every row has the same columns.
            **({"order_switches": ""} if (module.orders >= 0).any() else {}),
            **module.means_since_validation(),
            **{
                key: round(float(value), 4)
                for key, value in trainer.callback_metrics.items()
                if key.startswith("valid_")
            },
        }
        curves = self.folder / "curves.csv"
        with curves.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
        average = module.average.module.state_dict()
        weights = {"last": average}
        if module.is_trunk:
            weights["last"] = float16_state(module.model.state_dict())
            weights["last"] |= optimizer_tensors(trainer.optimizers[0])
        if score > self.best:
            self.best = score
            weights["best"] = average
        recipe = module.recipe.to_dict()
        for name, state in weights.items():
            path = self.folder / f"{name}.safetensors"
            save_weights(path, module.model, state, recipe=recipe, training=training)
        with replacing(self.folder / "last.ckpt") as beside:
            trainer.save_checkpoint(beside)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
