"""`train`: a recipe becomes weights, with Lightning underneath."""

import csv
import json
import logging
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unmingle.console import say
from unmingle.data.mixer import Mixer
from unmingle.data.segments import SegmentDataset
from unmingle.errors import InputError, UsageError
from unmingle.models import build
from unmingle.objectives import build_objective
from unmingle.results.folders import replacing
from unmingle.training.batches import (
    EpochBatchSampler,
    MixtureDataset,
    ResumableSampler,
    build_mixers,
    build_segments,
    segmented,
)
from unmingle.training.optimizers import MuonAndAdamW
from unmingle.training.recipe import Recipe
from unmingle.weights_file import load_state, read_header, save_weights


class Training(lightning.LightningModule):
    """One model, one objective, and the averaged weights that are evaluated and saved.

    Args:
        recipe: resolved.
        model, objective: as the recipe names them.
        mixers: from `build_mixers` or `build_segments`.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Any,
        objective: nn.Module,
        mixers: tuple[Mixer | SegmentDataset, Mixer | SegmentDataset],
    ) -> None:
        super().__init__()
        self.recipe, self.model, self.objective, self.mixers = recipe, model, objective, mixers
        if recipe.trainer.compile:
            model.compile()
        self.average = {key: value.clone() for key, value in model.state_dict().items()}
        self.minutes_before = 0.0
        self.items_seen, self.hours_heard = 0, 0.0
        self.earlier: list[
            dict[str, Any]
        ] = []  # what the trainings before this one, whose weights it began with, said of themselves
        # Of a fixed set: the order of the voices that every item had when the last epoch ended, and the last
        # one it had; −1 is none yet.
        self.orders = torch.full((2, recipe.data.n_items or 0, recipe.data.n_src), -1)
        self.started = self._now()
        self.compiled = (
            not recipe.trainer.compile
        )  # the first step compiles, which takes about a minute and does not count
        self.since_validation: defaultdict[str, list[float]] = defaultdict(list)

    def _now(self) -> float:
        return time.process_time() if self.recipe.trainer.clock == "cpu" else time.perf_counter()

    @property
    def minutes(self) -> float:
        """Time spent so far, earlier runs of the same training included [min]."""
        return self.minutes_before + (self._now() - self.started) / 60

    @property
    def share_done(self) -> float:
        """Part of the budget that is spent, 0 to 1."""
        trainer = self.recipe.trainer
        by_steps = self.global_step / trainer.steps if trainer.steps else 0.0
        by_time = self.minutes / trainer.minutes if trainer.minutes else 0.0
        return max(by_steps, by_time)

    @property
    def segment_s(self) -> float:
        """Length of what is trained on now [s]: the curriculum's last stage that has begun."""
        begun = [length_s for share, length_s in self.recipe.data.curriculum if share <= self.share_done]
        return begun[-1] if begun else self.recipe.data.length_s

    def configure_optimizers(self) -> Any:
        optimizer = self.recipe.optimizer
        decay = optimizer.weight_decay
        if optimizer.name == "adamw":
            return torch.optim.AdamW(
                self.model.parameters(), optimizer.lr, betas=(0.9, 0.99), weight_decay=decay
            )
        return MuonAndAdamW(self.model, lr=optimizer.lr, muon_lr=optimizer.muon_lr, weight_decay=decay)

    def learning_rate_factor(self) -> float:
        """Warm-up over steps, then flat, then linear decay over the last share of the budget."""
        optimizer = self.recipe.optimizer
        warm = min(1.0, (self.global_step + 1) / max(optimizer.warm_up, 1))
        left = max(0.0, 1 - self.share_done)
        return warm * (min(1.0, left / optimizer.decay) if optimizer.decay else 1.0)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor | None:
        factor = self.learning_rate_factor()
        for group in self.trainer.optimizers[0].param_groups:
            group.setdefault("highest_lr", group["lr"])
            group["lr"] = group["highest_lr"] * factor
        index, n_items, fix_after = (
            batch.pop("index"),
            self.recipe.data.n_items,
            getattr(self.objective, "fix_after", None),
        )
        if n_items and fix_after and self.items_seen >= fix_after * n_items:
            batch["order"] = self.orders[0, index.cpu()].to(index.device)
        heard = segmented(batch, round(self.segment_s * self.recipe.data.sample_rate))
        parts = self.objective(self.model, {**heard, "share_done": self.share_done})
        order = parts.pop("order", None)
        if n_items and order is not None:
            self.orders[1, index.cpu()] = order.cpu()
        self.items_seen += len(batch["mixture"])
        self.hours_heard += len(batch["mixture"]) * self.recipe.data.length_s / 3600
        for key, value in parts.items():
            values = self.since_validation[
                f"train_{key}"
            ]  # made even if it stays empty: the columns of curves.csv keep their order
            if value.isfinite():
                values.append(float(value.detach()))
        self.log_dict({f"train_{key}": value for key, value in parts.items()})
        self.log("hours", self.hours_heard)
        # Without a gradient, the model rests in this step while the objective learns.
        return parts["loss"] if parts["loss"].requires_grad else None

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        # A batch whose gradient is not finite is left out instead of ending the run.
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optimizer.clip)
        if not torch.isfinite(norm):
            optimizer.zero_grad()

    def on_train_batch_end(self, *_: Any) -> None:
        decay = min(self.recipe.trainer.ema, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            for key, value in self.model.state_dict().items():
                mean = self.average[key]
                if mean.device != value.device:
                    mean = self.average[key] = mean.to(value.device)
                if value.is_floating_point():
                    mean.lerp_(value, 1 - decay)
                else:
                    mean.copy_(value)
        if not self.compiled:
            self.compiled, self.started = True, self._now()
        if self.recipe.data.n_items and self.items_seen % self.recipe.data.n_items == 0:
            self._end_epoch()
        if self.share_done >= 1:
            self.trainer.should_stop = True  # Lightning validates once more, then stops.

    def _end_epoch(self) -> None:
        """Log the share of items whose order is another than an epoch ago, if there was one."""
        before, now = self.orders
        if (before >= 0).all():
            switches = float((before != now).any(1).float().mean())
            self.since_validation["order_switches"].append(switches)
            for logger in self.loggers:
                logger.log_metrics({"order_switches": switches}, self.global_step)
        self.orders[0] = now

    def on_validation_start(self) -> None:
        self._live = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)

    def on_validation_epoch_end(self) -> None:
        # Before callbacks write their checkpoints, which must hold the live weights.
        self.model.load_state_dict(self._live)
        del self._live

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        with torch.compiler.set_stance(
            "force_eager"
        ):  # items differ in length, and each length would be compiled anew
            parts = self.objective(self.model, batch)
        parts.pop("order", None)
        self.log_dict(
            {f"valid_{key}": value for key, value in parts.items()}, batch_size=len(batch["mixture"])
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["unmingle"] = {
            "minutes": self.minutes,
            "items_seen": self.items_seen,
            "hours_heard": self.hours_heard,
            "average": self.average,
            "orders": self.orders,
            "earlier": self.earlier,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint["unmingle"]
        self.minutes_before, self.items_seen, self.hours_heard = (
            kept["minutes"],
            kept["items_seen"],
            kept["hours_heard"],
        )
        self.average, self.earlier, orders = kept["average"], kept["earlier"], kept["orders"]
        if orders.shape != self.orders.shape:
            raise UsageError(
                f"data.n_items was {orders.shape[1] or 'not set'}; go on with the same, or start anew with --init"
            )
        self.orders = orders
        self.started = self._now()

    def _loader(self, mixer: Mixer | SegmentDataset, **batches: Any) -> DataLoader:
        workers = self.recipe.trainer.workers
        return DataLoader(
            MixtureDataset(mixer), num_workers=workers, persistent_workers=workers > 0, **batches
        )

    def train_dataloader(self) -> DataLoader:
        data, batch_size = self.recipe.data, self.recipe.trainer.batch_size
        if data.n_items:
            return self._loader(
                self.mixers[0],
                batch_sampler=EpochBatchSampler(self.items_seen, data.n_items, batch_size, data.seed),
            )
        return self._loader(
            self.mixers[0],
            batch_size=batch_size,
            sampler=ResumableSampler(self.items_seen, len(self.mixers[0])),
        )

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.mixers[1], batch_size=self.recipe.trainer.batch_size)


class ProgressBar(Callback):
    """Share of the budget that is spent, time left, and what the objective and the last validation say."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (
            TextColumn("training"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("left {task.description}"),
        )
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal, refresh_per_second=2)

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self.bar.start()
        self.task = self.bar.add_task("", total=1)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        numbers = {
            key.replace("_", " "): float(value)
            for key, value in trainer.callback_metrics.items()
            if key in ("train_loss", "valid_si_sdri")
        }
        said = [f"step {module.global_step}", *(f"{key} {value:.2f}" for key, value in numbers.items())]
        self.bar.update(self.task, completed=module.share_done, description=", ".join(said))

    def teardown(self, trainer: lightning.Trainer, module: Any, stage: str) -> None:
        self.bar.stop()


class CheckpointWriter(Callback):
    """After every validation: a row of `curves.csv`, `last.ckpt` to resume from, averaged weights as
    `last.safetensors` and the best of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = -float("inf")

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        if trainer.sanity_checking:
            return
        score = float(trainer.callback_metrics["valid_si_sdri"])
        training = {
            "steps": module.global_step,
            "hours_of_audio": round(module.hours_heard, 3),
            "minutes": round(module.minutes, 2),
            "clock": module.recipe.trainer.clock,
            "threads": torch.get_num_threads(),
            "held_out_si_sdri_db": round(score, 3),
            "corpora": list(module.mixers[0].corpora),
            **({"earlier": module.earlier} if module.earlier else {}),
        }
        row = {
            "step": module.global_step,
            "minutes": training["minutes"],
            "hours_of_audio": training["hours_of_audio"],
            # Empty where no epoch ended since the last row, so that every row has the same columns.
            **({"order_switches": ""} if (module.orders >= 0).any() else {}),
            **{
                key: round(sum(values) / len(values), 4) if values else ""
                for key, values in module.since_validation.items()
            },
            **{
                key: round(float(value), 4)
                for key, value in trainer.callback_metrics.items()
                if key.startswith("valid_")
            },
        }
        module.since_validation.clear()
        curves = self.folder / "curves.csv"
        with curves.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
        names = ["last"]
        if score > self.best:
            self.best = score
            names.append("best")
        for name in names:
            save_weights(
                self.folder / f"{name}.safetensors",
                module.model,
                module.average,
                recipe=module.recipe.to_dict(),
                training=training,
            )
        with replacing(self.folder / "last.ckpt") as beside:
            trainer.save_checkpoint(beside)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]


def computes_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 faster than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def initialise_from(model: Any, init: Path) -> None:
    """Load weights of the same model, or of a network that is part of it, as Conv-TasNet is of one-and-rest;
    InputError if they are neither.

    Of the same model with other arguments (another number of voices, or a causal one) those that fit are
    taken, if they are most of it, which is said.
    """
    state = load_state(init)
    shapes = {key: value.shape for key, value in state.items()}
    for part in (model, *model.children()):
        if {key: value.shape for key, value in part.state_dict().items()} == shapes:
            part.load_state_dict(state)
            return
    theirs = read_header(init)
    differ = ", ".join(
        key for key in model.config if theirs["config"].get(key, model.config[key]) != model.config[key]
    )
    own = model.state_dict()
    fitting = {key: state[key] for key, value in own.items() if shapes.get(key) == value.shape}
    if theirs["model"] == model.name and 2 * sum(map(torch.numel, fitting.values())) > sum(
        map(torch.numel, own.values())
    ):
        model.load_state_dict(fitting, strict=False)
        say(f"{init}: differs in {differ}; {len(own) - len(fitting)} of {len(own)} tensors begin anew")
        return
    what = f"they differ in {differ}" if theirs["model"] == model.name else f"they are of {theirs['model']}"
    raise InputError(f"{init}: weights of another model than the recipe's {model.name}: {what}")


def train(
    recipe: Recipe, out: Path, *, resume: bool = False, init: Path | None = None, progress: bool = True
) -> Path:
    """Train what the recipe says into the folder `out`, and return the best weights there.

    Args:
        resume: go on from `out/last.ckpt`, to the step.
        init: start from these weights instead of random ones; see `initialise_from`.

    Raises:
        UsageError: `out` holds a training already and `resume` is not set, or there is nothing to resume.
        InputError: data or weights that cannot be read, or weights of another model.
    """
    checkpoint = out / "last.ckpt"
    if resume and not checkpoint.is_file():
        raise UsageError(f"{checkpoint}: nothing to resume; leave out --resume to start")
    if not resume and checkpoint.exists():
        raise UsageError(
            f"{out}: holds a training already; add --resume to go on with it or choose another --out"
        )
    settings = recipe.trainer
    if settings.threads:
        torch.set_num_threads(settings.threads)
    lightning.seed_everything(settings.seed, verbose=False)
    # Lightning announces the hardware and what it might sell; its warnings stay.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # The sampler goes on with the next item itself, which Lightning cannot know.
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*`training_step` returned `None`.*")
    try:
        arguments = {key: value for key, value in recipe.model.items() if key != "name"}
        model = build(recipe.model["name"], **arguments)
        objective = build_objective(
            recipe.objective["name"],
            **{key: value for key, value in recipe.objective.items() if key != "name"},
        )
    except (ValueError, TypeError) as error:
        raise UsageError(f"recipe: {error}") from None
    fix_after = getattr(objective, "fix_after", None)
    if recipe.data.n_items and recipe.data.curriculum:
        raise UsageError(
            "recipe: data.curriculum cuts items into several, so that data.n_items cannot count them; leave one of the two out"
        )
    if fix_after is not None and not (recipe.data.n_items and isinstance(fix_after, int) and fix_after > 0):
        raise UsageError(
            f"recipe: objective.fix_after ({fix_after}) is a number of epochs, at least 1, of a fixed set; set data.n_items too"
        )
    if model.facts.sample_rate != recipe.data.sample_rate:
        raise UsageError(
            f"recipe: the model works at {model.facts.sample_rate} Hz, data.sample_rate is {recipe.data.sample_rate}; make them equal"
        )
    if init is not None:
        initialise_from(model, init)
    mixers = build_segments(recipe.data) if recipe.data.set else build_mixers(recipe.data)
    module = Training(recipe, model, objective, mixers)
    if init is not None:
        before = read_header(init)["training"]
        module.earlier = [*before.pop("earlier", []), before]
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(json.dumps(recipe.to_dict(), indent=1), encoding="utf-8")
    precision = (
        settings.precision
        if settings.precision != "auto"
        else ("bf16-mixed" if computes_bfloat16() else "32-true")
    )
    trainer = lightning.Trainer(
        accelerator=settings.device,
        devices=1,
        precision=precision,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        val_check_interval=settings.validate_every,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        callbacks=[CheckpointWriter(out)] + ([ProgressBar()] if progress else []),
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(module, ckpt_path=checkpoint if resume else None, weights_only=True)
    if trainer.interrupted:
        return out / "last.safetensors"
    return out / "best.safetensors"
