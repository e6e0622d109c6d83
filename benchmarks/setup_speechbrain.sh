#!/bin/sh
# A virtual environment with SpeechBrain, for make_speechbrain_originals.py: benchmarks/setup_speechbrain.sh [FOLDER] (.cache/speechbrain unless given).
# torchaudio has no wheel for this PyTorch without CUDA; of its wheel only models/conv_tasnet.py is unpacked, which needs PyTorch alone.
set -eu
venv=${1:-.cache/speechbrain}
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet "torch==2.13.0" numpy scipy soundfile requests huggingface-hub packaging tqdm joblib sentencepiece "ruamel.yaml<0.19"
"$venv/bin/pip" install --quiet --no-deps speechbrain==1.1.2 hyperpyyaml==1.2.3
"$venv/bin/pip" download --quiet --no-deps --dest "$venv" torchaudio==2.11.1
"$venv/bin/python" -m zipfile -e "$venv"/torchaudio-*.whl "$venv/wheel"
mkdir -p "$venv/torchaudio/models"
cp "$venv/wheel/torchaudio/models/conv_tasnet.py" "$venv/torchaudio/models/"
rm -r "$venv/wheel"
