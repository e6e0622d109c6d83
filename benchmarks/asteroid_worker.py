"""Asteroid's Conv-TasNet in its own virtual environment, driven by inference.py and training.py: a task per line in, its seconds out.

Run as: asteroid_worker.py SAMPLES.npy THREADS. A mixture `(T,)` at 16 kHz is separated (task "separate"). Sources `(B, S, T)` at 8 kHz are mixed
and trained on (task "step": forward, loss, backward, optimiser), or compared with copies of their mixture (task "pit": loss, backward).
The weights are random, which costs the same time.
"""

import sys
import time

import numpy as np
import torch
from asteroid.losses import PITLossWrapper, pairwise_neg_sisdr
from asteroid.models import ConvTasNet

torch.set_num_threads(int(sys.argv[2]))
samples = torch.from_numpy(np.load(sys.argv[1]))
training = samples.ndim == 3
model = ConvTasNet(n_src=samples.shape[1], sample_rate=8000) if training else ConvTasNet(n_src=2, sample_rate=16000).eval()
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
pit = PITLossWrapper(pairwise_neg_sisdr, pit_from="pw_mtx")


def separate() -> None:
    with torch.inference_mode():
        model(samples[None, None])


def step() -> None:
    optimizer.zero_grad()
    pit(model(samples.sum(1, keepdim=True)), samples).backward()
    optimizer.step()


def compare() -> None:
    estimates = samples.sum(1, keepdim=True).repeat(1, samples.shape[1], 1).requires_grad_()
    pit(estimates, samples).backward()


tasks = {"separate": separate, "step": step, "pit": compare}
print(f"Asteroid Conv-TasNet {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M, PyTorch {torch.__version__} eager", flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    tasks[line.strip()]()
    print(time.perf_counter() - began, flush=True)
