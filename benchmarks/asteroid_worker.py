"""Asteroid's Conv-TasNet in its own virtual environment, driven by inference.py: a line in, one separation, its seconds out.

Run as: asteroid_worker.py MIXTURE.npy THREADS. The weights are random, which costs the same time.
"""

import sys
import time

import numpy as np
import torch
from asteroid.models import ConvTasNet

torch.set_num_threads(int(sys.argv[2]))
mixture = torch.from_numpy(np.load(sys.argv[1]))[None, None]
model = ConvTasNet(n_src=2, sample_rate=16000).eval()
print(f"Asteroid Conv-TasNet {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M, PyTorch {torch.__version__} eager", flush=True)
for _ in sys.stdin:
    began = time.perf_counter()
    with torch.inference_mode():
        model(mixture)
    print(time.perf_counter() - began, flush=True)
