"""Damaged weights: ONNX files whose card vouches for the damage, cards, safetensors, checkpoints of others.

    python benchmarks/fuzz_weights.py
    python benchmarks/fuzz_weights.py --n 100 --of card

As `fuzz.py`, with four kinds of files. An ONNX file is loaded with OpenVINO and with ONNX Runtime, beside a
card that vouches for the damaged file; without that, its SHA-256 refuses it. A card stands beside an ONNX
file that is whole. Safetensors are built by PyTorch. A checkpoint is read and converted as `unmingle import`
does. What is loaded is called once.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import report
from fuzz import fuzz, memory_lines, summary
from fuzz_checks import check
from fuzz_mutations import Mutated, mutate

from unmingle.catalog import resolve
from unmingle.runtime.loading import load

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from asteroid_checkpoints import saved

MODEL = "hush-live"
KINDS = ("onnx", "card", "safetensors", "checkpoint")
N, LIMIT_S = 1000, 120.0


def make_seeds(folder: Path, kinds: tuple[str, ...] = KINDS) -> dict[str, bytes]:
    """The contents of a valid file of each kind."""
    onnx = resolve(MODEL)
    contents: dict[str, Callable[[], bytes]] = {
        "model.onnx": onnx.read_bytes,
        "model.card": onnx.with_suffix(".yaml").read_bytes,
        "model.safetensors": (report.HERE.parent / "trunks/erb-unet.safetensors").read_bytes,
        "model.checkpoint": lambda: saved(folder / "model.pth").read_bytes(),
    }
    return {name: read() for name, read in contents.items() if name.split(".")[1] in kinds}


def called(separator: Any) -> None:
    """Call a separator once; that what is damaged cannot be called is no fault, unless the process ends."""
    with suppress(Exception):
        separator(np.zeros((1, separator.sample_rate), np.float32))


def jobs_of(mutated: Mutated, _: int, path: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is done with damaged weights."""
    kind, onnx = mutated.seed.split(".")[1], path.with_suffix(".onnx")
    whole = resolve(MODEL)
    if kind == "onnx":
        card = whole.with_suffix(".yaml").read_text(encoding="utf-8")
        found = (hashlib.sha256(content).hexdigest() for content in (whole.read_bytes(), mutated.content))
        onnx.write_bytes(mutated.content)
        onnx.with_suffix(".yaml").write_text(card.replace(*found), encoding="utf-8")
        yield "openvino", lambda: called(load(onnx, backend="openvino"))
        yield "onnxruntime", lambda: called(load(onnx, backend="onnxruntime"))
    elif kind == "card":
        onnx.write_bytes(whole.read_bytes())
        onnx.with_suffix(".yaml").write_bytes(mutated.content)
        yield "card", lambda: called(load(onnx))
    elif kind == "safetensors":
        path = path.with_suffix(".safetensors")
        path.write_bytes(mutated.content)
        yield "safetensors", lambda: called(load(path))
    else:
        from unmingle.published.asteroid import convert
        from unmingle.published.checkpoints import read_checkpoint

        yield "checkpoint", lambda: convert(path, read_checkpoint(path)[0], None)


def work(pipe: Connection, seeds: dict[str, bytes], seed: int, folder: Path) -> None:
    """As `fuzz_checks.work`; what is compiled is kept in a folder that goes with the process's."""
    cache = folder.with_name(f"{folder.name}-cache")
    os.environ |= report.cache_in(cache)
    for name, content in seeds.items():
        check(Mutated(name, (), f".{name.split('.')[1]}", content), 0, folder, jobs_of)
    pipe.send(None)
    while (index := pipe.recv()) is not None:
        pipe.send(check(mutate(seeds, seed, index), index, folder, jobs_of))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=N, help="how many files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of", choices=KINDS, nargs="+", default=KINDS, help="kinds of files")
    parser.add_argument(
        "--quick", action="store_true", help="only see that it runs: 12 files; nothing is kept"
    )
    options = parser.parse_args()
    before, n = report.machine(), 12 if options.quick else options.n
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        seeds = make_seeds(Path(name), tuple(options.of))
        found, lives = fuzz(seeds, options.seed, range(n), Path(name), limit_s=LIMIT_S, run=work)
    parts = [before, report.table(summary(found, seeds, options.seed)), *memory_lines(lives)]
    report.publish("fuzz-weights", parts, keep=not options.quick and n == N and len(options.of) == len(KINDS))
    sys.exit(any(each.wrong for each in found))


if __name__ == "__main__":
    main()
