#!/usr/bin/env bash
# Runs the tests with the lowest versions that pyproject.toml allows, in a virtual environment of its own (needs uv).
#
#     benchmarks/lowest_versions.sh [ENVIRONMENT] [pytest arguments]
#
# Tools of development are the newest. PyTorch's own lowest version is 900 MB with CUDA; TORCH=2.13.0+cpu takes that one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
environment=${1:-.venv-lowest}
uv venv --quiet --clear --python "${PYTHON:-3.11}" "$environment"
export VIRTUAL_ENV=$environment
uv pip install --quiet --resolution lowest-direct '.[train,recognition,plot,web]' ./packages/unmingle-classics ${TORCH:+"torch==$TORCH"}
# The tests' own needs, which may not raise a version that was just chosen.
uv pip freeze | grep -v '^unmingle' >"$environment/lowest.txt"
uv pip install --quiet -c "$environment/lowest.txt" pytest pytest-xdist hypothesis fast_bss_eval playwright httpx
cat "$environment/lowest.txt"
"$environment/bin/python" -m pytest -p no:cacheprovider "${@:2}"
