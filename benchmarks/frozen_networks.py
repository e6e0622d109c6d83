"""What the scripts share that train the frozen networks of objectives: two commands, and a loop that
minimises for so much processor time.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from unmingle.console import say

WARM_UP = 50  # steps in which the learning rate rises
CLIP = 1.0  # of the gradient's norm


def parser(description: str, minutes: float) -> argparse.ArgumentParser:
    """A parser with the options of both commands; `minutes` is the default of `--minutes`."""
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("what", choices=["label", "train"])
    found.add_argument("--speech", type=Path, default=Path("data"), help="folder of utterances.csv")
    found.add_argument("--out", type=Path, help="file for the weights")
    found.add_argument("--minutes", type=float, default=minutes, help="of processor time, for training")
    return found


def minimise(model: nn.Module, loss: Callable[[], Tensor], minutes: float, *, lr: float = 2e-3) -> int:
    """Minimise `loss()`, which draws a batch each time, by AdamW; the learning rate rises for 50 steps and
    falls to zero over the whole. Returns the number of steps.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    began, n_steps, mean = time.process_time(), 0, 0.0
    while (share := (time.process_time() - began) / (60 * minutes)) < 1:
        optimizer.param_groups[0]["lr"] = lr * min(1, (n_steps + 1) / WARM_UP) * (1 - share)
        value = loss()
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        n_steps += 1
        mean += (float(value.detach()) - mean) / min(n_steps, 50)
        if n_steps % 50 == 0:
            say(f"step {n_steps}, {share:.0%}: {mean:.4f}")
    return n_steps
