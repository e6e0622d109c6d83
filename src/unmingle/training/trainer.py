"""`train`: a recipe becomes weights, with Lightning underneath."""

import json
import logging
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from unmingle.data.batch import Batch, collate
from unmingle.data.mixer import Mixer
from unmingle.data.segments import SegmentDataset
from unmingle.errors import UsageError
from unmingle.training.batches import (
    EpochBatchSampler,
    MixtureDataset,
    ResumableSampler,
    build_mixers,
    build_segments,
)
from unmingle.training.callbacks import CheckpointWriter, ProgressBar
from unmingle.training.optimizers import MuonAndAdamW, restore_optimizer
from unmingle.training.precision import choose_precision
from unmingle.training.recipe import Recipe
from unmingle.training.starting import build_parts, initialise_from
from unmingle.weights_file import load_optimizer, read_header

LOG_EVERY = 50  # steps between two looks at what lies on the device
LOSS_SCALE = 1024.0  # where recurrent layers compute in float16, in which small gradients would vanish


class Training(lightning.LightningModule):
    """One model, one objective, and the averaged weights that are evaluated and saved.

    Nothing in a step waits for the device: figures stay there until a validation, or every `LOG_EVERY` steps.

    Args:
        recipe: resolved.
        model, objective: as the recipe names them.
        mixers: from `build_mixers` or `build_segments`.

    Attributes:
        earlier: the headers' `training` of the trainings whose weights this one began with.
        optimizer_state: of the trunk that it goes on with.
        warm: the optimizer has a state from before, so that the learning rate needs no warm-up.
    """

    average: Any
    loss_scale = 1.0

    def __init__(
        self,
        recipe: Recipe,
        model: Any,
        objective: nn.Module,
        mixers: tuple[Mixer | SegmentDataset, Mixer | SegmentDataset],
    ) -> None:
        super().__init__()
        self.recipe, self.model, self.objective, self.mixers = recipe, model, objective, mixers
        # Not one of the training's modules: it is neither trained nor put into training mode.
        average = AveragedModel(model, multi_avg_fn=self._update_average, use_buffers=True).eval()
        self.__dict__["average"] = average.requires_grad_(False)
        if recipe.trainer.compile:
            model.compile()
        self.minutes_before = 0.0
        self.items_seen, self.hours_of_audio = 0, 0.0
        self.earlier: list[dict[str, Any]] = []
        self.optimizer_state: dict[str, Tensor] = {}
        self.warm = False
        # Of a fixed set: the order of the sources that every item had when the last epoch ended, and the last
        # one it had; −1 is none yet.
        self.orders = torch.full((2, recipe.data.n_items or 0, recipe.data.n_src), -1)
        self.started = self._now()
        # The first step compiles, which takes about a minute and does not count.
        self.compiled = not recipe.trainer.compile
        self.since_validation: defaultdict[str, list[Tensor]] = defaultdict(list)

    def _now(self) -> float:
        return time.process_time() if self.recipe.trainer.clock == "cpu" else time.perf_counter()

    @property
    def is_trunk(self) -> bool:
        """Whether the learning rate stays, so that other trainings go on from here."""
        return self.recipe.optimizer.decay == 0

    @property
    def hours_before(self) -> float:
        """Audio of the trainings whose weights it began with [h]."""
        return sum(training["hours_of_audio"] for training in self.earlier)

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

    def on_fit_start(self) -> None:
        self.average.module.to(self.device)
        # Under autocast, cuDNN's recurrent layers are in float16, whichever type is asked for.
        if self.device.type == "cuda" and "mixed" in self.trainer.precision:
            self.loss_scale = LOSS_SCALE

    def on_train_start(self) -> None:
        if self.optimizer_state:
            restore_optimizer(self.trainer.optimizers[0], self.optimizer_state)

    def learning_rate_factor(self) -> float:
        """Warm-up over steps unless the optimizer is warm, then flat, then linear decay to 0 over the last
        share of the budget.
        """
        optimizer = self.recipe.optimizer
        warm = 1.0 if self.warm else min(1.0, (self.global_step + 1) / max(optimizer.warm_up, 1))
        left = max(0.0, 1 - self.share_done)
        return warm * (min(1.0, left / optimizer.decay) if optimizer.decay else 1.0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        factor = self.learning_rate_factor()
        for group in self.trainer.optimizers[0].param_groups:
            group.setdefault("highest_lr", group["lr"])
            group["lr"] = group["highest_lr"] * factor
        data, fix_after = self.recipe.data, getattr(self.objective, "fix_after", None)
        index = batch.index.cpu() if data.n_items and batch.index is not None else None
        n_items = len(batch)
        if index is not None and fix_after and self.items_seen >= fix_after * len(self.orders[0]):
            batch.order = self.orders[0, index].to(batch.mixture.device)
        batch = batch.segmented(round(self.segment_s * data.sample_rate))
        batch.share_done = self.share_done
        parts = self.objective(self.model, batch)
        order = parts.pop("order", None)
        if index is not None and order is not None:
            self.orders[1, index] = order.cpu()
        self.items_seen += n_items
        self.hours_of_audio += n_items * data.length_s / 3600
        for key, value in parts.items():
            self.since_validation[f"train_{key}"].append(value.detach())
        if self.global_step % LOG_EVERY == 0:
            self.log_dict({f"train_{key}": value for key, value in parts.items()})
            self.log("hours", self.hours_of_audio)
        # Without a gradient, the model rests in this step while the objective learns.
        return self.loss_scale * parts["loss"] if parts["loss"].requires_grad else None

    def means_since_validation(self) -> dict[str, float | str]:
        """Means of the steps' figures since the last validation, without those that are not finite."""
        means: dict[str, float | str] = {}
        for key, values in self.since_validation.items():
            figures = torch.stack(values).float() if values else torch.zeros(0)
            finite = figures[figures.isfinite()]
            means[key] = round(float(finite.mean()), 4) if len(finite) else ""
            values.clear()  # the key stays, so that the columns of curves.csv keep their order
        return means

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        # A batch whose gradient is not finite is left out instead of ending the run.
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        if not gradients:
            return
        torch._foreach_div_(gradients, self.loss_scale)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optimizer.clip)
        for gradient in gradients:
            gradient.copy_(torch.where(norm.isfinite(), gradient, 0.0))

    def _update_average(self, averages: Any, values: Any, n_averaged: Any) -> None:
        """Move the averages towards the values, faster at the beginning."""
        keep = min(self.recipe.trainer.ema, (1 + self.global_step) / (10 + self.global_step))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - keep)
        else:
            torch._foreach_copy_(averages, values)

    def on_train_batch_end(self, *_: Any) -> None:
        self.average.update_parameters(self.model)
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
            switches = (before != now).any(1).float().mean()
            self.since_validation["order_switches"].append(switches)
            for logger in self.loggers:
                logger.log_metrics({"order_switches": float(switches)}, self.global_step)
        self.orders[0] = now

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        parts = self.objective(self.average.module, batch)
        parts.pop("order", None)
        self.log_dict({f"valid_{key}": value for key, value in parts.items()}, batch_size=len(batch))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["unmingle"] = {
            "minutes": self.minutes,
            "items_seen": self.items_seen,
            "hours_of_audio": self.hours_of_audio,
            "average": self.average.state_dict(),
            "orders": self.orders,
            "earlier": self.earlier,
            "warm": self.warm,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint["unmingle"]
        self.minutes_before, self.items_seen = kept["minutes"], kept["items_seen"]
        self.hours_of_audio, self.earlier, orders = kept["hours_of_audio"], kept["earlier"], kept["orders"]
        self.average.load_state_dict(kept["average"])
        self.warm, self.optimizer_state = kept["warm"], {}
        if orders.shape != self.orders.shape:
            before = f"data.n_items was {orders.shape[1] or 'not set'}"
            raise UsageError(f"{before}; go on with the same, or start anew with --init")
        self.orders = orders
        self.started = self._now()

    def _loader(self, mixer: Mixer | SegmentDataset, **batches: Any) -> DataLoader:
        workers = self.recipe.trainer.workers
        return DataLoader(
            MixtureDataset(mixer),
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            **batches,
        )

    def train_dataloader(self) -> DataLoader:
        data, batch_size = self.recipe.data, self.recipe.trainer.batch_size
        if data.n_items:
            sampler = EpochBatchSampler(self.items_seen, data.n_items, batch_size, data.seed)
            return self._loader(self.mixers[0], batch_sampler=sampler)
        following = ResumableSampler(self.items_seen, len(self.mixers[0]))
        return self._loader(self.mixers[0], batch_size=batch_size, sampler=following)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.mixers[1], batch_size=self.recipe.trainer.batch_size)


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
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # frozen parts
    if torch.cuda.is_available():  # TF32
        torch.set_float32_matmul_precision("high")
    model, objective = build_parts(recipe)
    whole = init is not None and initialise_from(model, init)
    mixers = build_segments(recipe.data, model.facts) if recipe.data.set else build_mixers(recipe.data)
    module = Training(recipe, model, objective, mixers)
    if init is not None:
        header = read_header(init)
        before = header["training"]
        module.earlier = [*before.pop("earlier", []), before]
        module.optimizer_state = load_optimizer(init) if whole else {}
        module.warm = bool(module.optimizer_state)
        if module.warm and header["recipe"]["data"]["seed"] == recipe.data.seed and not recipe.data.n_items:
            module.items_seen = before.get("items_seen", 0)  # a trunk uses no mixture twice
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(json.dumps(recipe.to_dict(), indent=1), encoding="utf-8")
    trainer = lightning.Trainer(
        accelerator=settings.device,
        devices=1,
        precision=choose_precision(settings.precision),  # type: ignore[arg-type]
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
