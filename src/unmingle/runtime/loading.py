"""`load()`: a name or a weights file becomes a Separator that runs."""

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from unmingle.catalog import WEIGHTS, Card, cards, check, resolve, user_folder
from unmingle.errors import InputError, UsageError
from unmingle.facts import Task
from unmingle.runtime.onnx import open_onnxruntime
from unmingle.runtime.openvino import compile_openvino, open_openvino
from unmingle.runtime.separator import Run, Separator
from unmingle.runtime.torch import open_torch

BACKENDS = ("openvino", "onnxruntime", "torch")


def load(
    name: str | Path | None = None,
    *,
    task: Task | None = None,
    speakers: int | None = None,
    streaming: bool = False,
    cue: str | None = None,
    several_mics: bool = False,
    backend: str = "auto",
) -> Separator:
    """Make a separator ready to run.

    Args:
        name, task, speakers, streaming, cue, several_mics: see `unmingle.catalog.resolve`, which chooses.
        backend: "openvino", "onnxruntime" or "torch"; "auto" takes the first of them that is installed.

    Raises:
        UsageError: no such weights, backend, or number of speakers, or they are for another task; the message
            lists what exists.
        InputError: the weights file is damaged, or nothing that could run it is installed.
    """
    if backend not in ("auto", *BACKENDS):
        raise UsageError(f"no backend {backend!r}; choose auto, {', '.join(BACKENDS)}")
    wanted: Any = {"task": task, "streaming": streaming, "several_mics": several_mics}
    path = resolve(name, **wanted, speakers=speakers, cue=cue)
    card = next((card for card in cards() if card.path == path), None)
    separator = _catalogued(path, card.sha256, backend) if card else _open(path, backend)
    check(separator.facts, separator.name, **wanted)
    return separator if speakers is None else separator.for_speakers(speakers)


@lru_cache(maxsize=4)
def _catalogued(path: Path, sha256: str | None, backend: str) -> Separator:
    # The hash is part of the key: a model of the user may be removed, and another come under its name.
    return _open(path, backend)


def _open(path: Path, backend: str) -> Separator:
    if path.suffix == ".safetensors":
        if backend not in ("auto", "torch"):
            raise UsageError(
                f"{path}: {backend} runs .onnx files; export this one first ('unmingle export'), or use the "
                "torch backend"
            )
        return open_torch(path)
    card = Card.read(path.with_suffix(".yaml"))
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"{path}: cannot read these weights ({error.strerror}); install unmingle again"
        ) from None
    if found != card.sha256:
        remedy = "install unmingle or export the weights again"
        if path.parent == user_folder():
            remedy = f"unmingle remove {path.stem}, and import or get it again"
        raise InputError(f"{path}: damaged, its SHA-256 is not the one in its card; {remedy}")
    if backend == "auto":
        installed = [
            each
            for each in BACKENDS
            if find_spec(each) and (each != "torch" or path.with_suffix(".safetensors").is_file())
        ]
        if not installed:
            raise InputError(
                f"{path}: nothing that runs it is installed; install one with 'pip install openvino' or "
                "'pip install onnxruntime'"
            )
        backend = installed[0]
    elif not find_spec(backend):
        raise UsageError(
            f"backend {backend} is not installed; 'pip install {backend}', or leave the choice to unmingle"
        )
    if backend == "torch":
        return open_torch(path.with_suffix(".safetensors"), card)
    try:
        if backend == "onnxruntime":
            return Separator(open_onnxruntime(path), card=card, backend=backend)
        run, precision = open_openvino(path, card)
        return Separator(run, card=card, backend="openvino" if precision == "f32" else "openvino-bf16")
    except Exception as error:  # each runtime has its own kinds, without a common base
        raise InputError(
            f"{path}: {backend} cannot run it ({str(error).splitlines()[0]:.200}); try another backend, or "
            "export it again"
        ) from None


@lru_cache
def load_other(name: str, n_threads: int | None = None) -> Run:
    """A network of others that a pipeline needs beside a separator, in `weights/others`: called with its
    inputs, it returns its outputs. One that takes a millisecond is best run by one thread: waiting for one
    another takes longer. UsageError if nothing that runs it is installed.
    """
    path = WEIGHTS / "others" / f"{name}.onnx"
    path = path if path.is_file() else path.with_suffix(".tflite")
    if path.suffix == ".tflite" and not find_spec("openvino"):
        raise UsageError(f"{name} is run by OpenVINO only; install it with 'pip install openvino'")
    # What OpenVINO 2026.4 takes from its cache confuses the rows of a batch in LSTMs of any batch.
    run = (
        compile_openvino(path, cached=False, n_threads=n_threads)
        if find_spec("openvino")
        else open_onnxruntime(path)
    )
    in_use = Lock()

    def one_at_a_time(*inputs: Any) -> Any:
        with in_use:
            return run(*inputs)

    return one_at_a_time
