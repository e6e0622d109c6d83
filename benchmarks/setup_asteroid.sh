#!/bin/sh
# A virtual environment with Asteroid, for inference.py and training.py: benchmarks/setup_asteroid.sh [FOLDER] (.cache/asteroid unless given).
# Asteroid 0.7.0 asks for packages from before torch 2 (torchmetrics <= 0.11.4) and for torchaudio, so only what its models import is installed.
set -eu
venv=${1:-.cache/asteroid}
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet "torch==2.13.0" numpy scipy scikit-learn soundfile requests huggingface-hub packaging
"$venv/bin/pip" install --quiet --no-deps asteroid==0.7.0 asteroid-filterbanks==0.4.0
"$venv/bin/python" - <<'PYTHON'
import torch
from asteroid.models import ConvTasNet

model = ConvTasNet(n_src=2, sample_rate=16000).eval()
with torch.inference_mode():
    estimates = model(torch.zeros(1, 1, 16000))
assert estimates.shape == (1, 2, 16000), estimates.shape
print(f"torch {torch.__version__}, Conv-TasNet of {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters runs")
PYTHON
