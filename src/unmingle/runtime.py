"""A name or a weights file becomes a Separator that runs: OpenVINO, ONNX Runtime or PyTorch behind one call."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import MISSING, dataclass, field, fields, replace
from difflib import get_close_matches
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from unmingle.errors import InputError, UsageError
from unmingle.facts import Facts, Job
from unmingle.heads import COUNTING, HEADS, MOST_SPEAKERS, Infer
from unmingle.output import replacing

WEIGHTS = Path(__file__).parent / "weights"
BACKENDS = ("openvino", "onnxruntime", "torch")
BF16_AGREEMENT_DB = 33.0  # of estimates
BF16_SPEED_UP = 1.1

Speakers = int | Literal["auto"]
Run = Callable[..., Sequence[np.ndarray]]  # a network's inputs to its outputs: (1, C, T), and the state (1, n) of one that streams


@dataclass(frozen=True)
class Card:
    """What stands beside a weights file: what it does, how well, and under which licence.

    Attributes:
        name: what `load` calls it.
        model: name in MODELS.
        job: "separate" or "enhance", see `Facts.job`.
        facts: see `Facts`.
        parameters: number of trained values.
        size_bytes: of the ONNX file.
        sha256: of the ONNX file; None for weights in training, which have no fixed one.
        measured: rows of set, si_sdri_db, snri_db, n and the command that measured them.
        training: on what, for how long, by which command.
        licence: of code, weights and training data.
        default: whether `load` chooses it for its job and number of speakers.
        config: constructor arguments of the model.
    """

    name: str
    model: str
    facts: dict[str, Any]
    parameters: int
    size_bytes: int
    sha256: str | None
    job: Job = "separate"
    measured: list[dict[str, Any]] = field(default_factory=list)
    training: Any = ""
    licence: dict[str, str] = field(default_factory=dict)
    default: bool = False
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Card":
        """Read a YAML card; InputError names the file and what is missing or unknown."""
        import yaml

        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: not there, and {path.stem}.onnx needs this card beside it; 'unmingle export' writes both") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())
            raise InputError(f"{path}: cannot read this card ({reason:.100}); 'unmingle export' writes it beside the .onnx") from None
        known = {entry.name: entry for entry in fields(cls)}
        needed = {name for name, entry in known.items() if entry.default is MISSING and entry.default_factory is MISSING}
        wrong = needed ^ (needed & set(values)) | (set(values) - set(known)) if isinstance(values, dict) else needed
        if wrong:
            raise InputError(f"{path}: card entries missing or unknown: {', '.join(sorted(wrong))}; 'unmingle export' writes a whole card")
        try:
            facts = Facts.from_dict(values["facts"])
            if facts.head not in HEADS:
                raise ValueError(f"unknown head {facts.head!r}")
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: {error}; export it again, or use the version of unmingle that wrote it") from None
        return cls(**values)


class Separator:
    """A separator that runs, with the facts that it declares.

    Attributes:
        name: of the weights.
        facts: what it declares; each fact is also an attribute, such as `sample_rate`.
        card: see `Card`.
        backend: "openvino", "openvino-bf16", "onnxruntime" or "torch".
    """

    def __init__(self, run: Run, *, card: Card, backend: str) -> None:
        self.name, self.card, self.backend = card.name, card, backend
        self.facts = Facts.from_dict(card.facts)
        self._run, self._infer, self._lock = run, whole(run, self.facts), Lock()

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        """Turn a mixture `(C, T)` at `sample_rate` into estimates `(S, T)`; float32. Threads take turns.

        Where `n_src` is None it returns as many voices as it counts, or two if it does not count; `for_speakers` fixes the number.
        """
        with self._lock:
            return HEADS[self.facts.head](self._infer, np.ascontiguousarray(mixture, np.float32), self.facts.n_src)

    def together(self, mixtures: np.ndarray) -> np.ndarray:
        """Turn `(B, C, T)` into estimates `(B, S, T)`: as one mixture after the other, but where `batch` says so in one pass of the network."""
        if self.facts.batch == 1:
            return np.stack([self(mixture) for mixture in mixtures])
        head = HEADS[self.facts.head]
        with self._lock:
            said = self._infer(np.ascontiguousarray(mixtures, np.float32))
        parts = zip(np.split(said, len(said)), mixtures, strict=True)
        return np.stack([head(partial(lambda own, _: own, own), mixture, self.facts.n_src) for own, mixture in parts])

    def outputs(self, mixture: np.ndarray) -> np.ndarray:
        """What the network itself says of a mixture `(C, T)`, before its head."""
        with self._lock:
            return self._infer(np.ascontiguousarray(mixture, np.float32)[None])[0]

    def for_speakers(self, speakers: Speakers) -> "Separator":
        """The same separator, returning `speakers` voices; with "auto", as many as it counts.

        Raises:
            UsageError: it has another number, or does not count; the message names what to choose instead.
        """
        if not fits(self.facts, speakers):
            if speakers == "auto":
                raise UsageError(f"model {self.name} does not count speakers; give their number, or choose from: {offered('auto')}")
            own = count_text(self.facts)
            raise UsageError(f"model {self.name} separates {own} speakers, not {speakers}; ask for {own} speakers, or choose from: {offered()}")
        if speakers == "auto" or speakers == self.facts.n_src:
            return self
        bound = copy(self)
        bound.facts = replace(self.facts, n_src=speakers)
        return bound

    def step(self, samples: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Go on with a stream: `(C, t)`, `t` a multiple of `hop`, and a state `(n,)`, zeros at first → estimates `(S, t)`, late by `delay`, and
        the next state. `Stream` does the bookkeeping."""
        with self._lock:
            estimates, state = self._run(samples[None], state[None])
            return estimates[0], state[0]

    def __getattr__(self, name: str) -> Any:
        if name != "facts" and name in Facts.__dataclass_fields__:
            return getattr(self.facts, name)
        raise AttributeError(f"Separator has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"Separator({self.name!r}, backend={self.backend!r}, {self.facts})"


@lru_cache
def cards() -> list[Card]:
    """The cards of all weights in the package, sorted by name."""
    return [Card.read(path) for path in sorted(WEIGHTS.glob("*.yaml"))]


def fits(facts: Facts, speakers: Speakers | None) -> bool:
    """Whether a separator returns that many voices, counts them ("auto"), or any will do (None)."""
    if speakers is None or facts.n_src is not None:
        return speakers in (None, facts.n_src)
    return facts.head in COUNTING if speakers == "auto" else 1 <= speakers <= MOST_SPEAKERS


def count_text(facts: Facts) -> str:
    """How many voices a separator returns, in words."""
    return str(facts.n_src or f"1 to {MOST_SPEAKERS}")


def offered(speakers: Speakers | None = None, job: Job | None = None) -> str:
    """The shipped weights that fit, for messages."""
    facts = {card.name: Facts.from_dict(card.facts) for card in cards()}
    names = [
        name if its.job == "enhance" else f"{name} ({count_text(its)} speakers)"
        for name, its in facts.items()
        if fits(its, speakers) and job in (None, its.job)
    ]
    return ", ".join(names) or "none in this package"


def check_job(separator: Separator, job: Job) -> None:
    """UsageError if a separator is for the other job; the message says what to choose."""
    if separator.facts.job != job:
        does = "takes one voice out of noise" if job == "separate" else "tells voices apart"
        raise UsageError(f"model {separator.name} {does}, it does not {job}; choose from: {offered(job=job)}")


def load(name: str | Path | None = None, *, job: Job | None = None, speakers: Speakers | None = None, backend: str = "auto") -> Separator:
    """Make a separator ready to run.

    Args:
        name: of shipped weights (`unmingle models`), or the path of an `.onnx` with its `.yaml` card beside it, or of a `.safetensors` from
            training; the default weights for that job and number of speakers unless given.
        job: "separate" voices or "enhance" one, which the model must do; any unless given, and to separate where no name is given either.
        speakers: how many voices it must return, "auto" for as many as it counts; any unless given.
        backend: "openvino", "onnxruntime" or "torch"; "auto" takes the first of them that is installed.

    Raises:
        UsageError: no such weights, backend, or number of speakers, or they are for another job; the message lists what exists.
        InputError: the weights file is damaged, or nothing that could run it is installed.
    """
    if backend not in ("auto", *BACKENDS):
        raise UsageError(f"no backend {backend!r}; choose auto, {', '.join(BACKENDS)}")
    shipped = {card.name: card for card in cards()}
    if name is None:
        fitting = [card for card in shipped.values() if card.job == (job or "separate") and fits(Facts.from_dict(card.facts), speakers)]
        if not fitting:
            wish = "enhances" if job == "enhance" else "counts speakers" if speakers == "auto" else f"separates {speakers} speakers"
            raise UsageError(f"no model {wish}; there are: {offered(job=job)}")
        name = max(fitting, key=lambda card: (card.default, card.facts["n_src"] is not None)).name
    if str(name) in shipped:
        separator = _shipped(str(name), backend)
    else:
        path = Path(name)
        if path.suffix not in (".onnx", ".safetensors"):
            meant = "".join(f"did you mean {like}? " for like in get_close_matches(str(name).lower(), shipped, 1, 0.7))
            raise UsageError(f"no model {str(name)!r}; {meant}there are: {offered(job=job)}; or give the path of an .onnx or .safetensors file")
        if not path.is_file():
            raise UsageError(f"{path}: no such weights file; shipped are: {offered(job=job)}")
        separator = _open(path, backend)
    if job:
        check_job(separator, job)
    return separator if speakers is None else separator.for_speakers(speakers)


@lru_cache(maxsize=4)
def _shipped(name: str, backend: str) -> Separator:
    return _open(WEIGHTS / f"{name}.onnx", backend)


def _open(path: Path, backend: str) -> Separator:
    if path.suffix == ".safetensors":
        if backend not in ("auto", "torch"):
            raise UsageError(f"{path}: {backend} runs .onnx files; export this one first ('unmingle export'), or use the torch backend")
        return _open_torch(path)
    card = Card.read(path.with_suffix(".yaml"))
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot read these weights ({error.strerror}); install unmingle again") from None
    if found != card.sha256:
        raise InputError(f"{path}: damaged, its SHA-256 is not the one in its card; install unmingle or export the weights again")
    if backend == "auto":
        installed = [each for each in BACKENDS if find_spec(each) and (each != "torch" or path.with_suffix(".safetensors").is_file())]
        if not installed:
            raise InputError(f"{path}: nothing that runs it is installed; install one with 'pip install openvino' or 'pip install onnxruntime'")
        backend = installed[0]
    elif not find_spec(backend):
        raise UsageError(f"backend {backend} is not installed; 'pip install {backend}', or leave the choice to unmingle")
    if backend == "torch":
        return _open_torch(path.with_suffix(".safetensors"), card)
    try:
        if backend == "onnxruntime":
            return Separator(run_onnxruntime(path), card=card, backend=backend)
        run, precision = _openvino(path, card)
        return Separator(run, card=card, backend="openvino" if precision == "f32" else "openvino-bf16")
    except Exception as error:  # each runtime has its own kinds, without a common base
        raise InputError(f"{path}: {backend} cannot run it ({str(error).splitlines()[0]:.200}); try another backend, or export it again") from None


def _open_torch(path: Path, card: Card | None = None) -> Separator:
    if not path.is_file():
        raise UsageError(f"{path}: PyTorch needs these weights, which only the repository holds; use the openvino or onnxruntime backend")
    if not find_spec("torch"):
        raise UsageError(f"{path}: needs PyTorch; pip install 'unmingle[train]', or use an exported .onnx")
    import torch

    from unmingle.training.weights import load_model

    model: Any = load_model(path)
    if card is None:
        n = sum(parameter.numel() for parameter in model.parameters())
        card = Card(path.stem, model.name, model.facts.to_dict(), n, path.stat().st_size, None, job=model.facts.job, config=model.config)

    network = model.forward_stream if model.facts.state else model

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            outputs = network(*map(torch.from_numpy, inputs))
        return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return Separator(run, card=card, backend="torch")


def whole(run: Run, facts: Facts) -> Infer:
    """How a whole mixture goes through a network: one that streams starts from a state of zeros, and what it says late is put in step again."""
    if not facts.state:
        return lambda mixture: run(mixture)[0]

    def infer(mixture: np.ndarray) -> np.ndarray:
        n_batch, _, length = mixture.shape
        padded = np.pad(mixture, ((0, 0), (0, 0), (0, facts.behind(length))))
        return run(padded, np.zeros((n_batch, facts.state), np.float32))[0][..., facts.delay : facts.delay + length]

    return infer


def run_onnxruntime(path: Path) -> Run:
    """Open an ONNX file with ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False  # an arena keeps the largest buffers of every length ever seen
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def _openvino(path: Path, card: Card) -> tuple[Run, str]:
    """Compile with one thread per physical core; return how to run it and its precision, "f32" or "bf16"."""
    import openvino

    core = openvino.Core()
    cache = cache_folder()
    if cache is not None:
        core.set_property({"CACHE_DIR": str(cache / "openvino")})

    def compiled(precision: str) -> Run:
        options = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_HYPER_THREADING": False, "INFERENCE_PRECISION_HINT": precision}
        request = core.compile_model(str(path), "CPU", options).create_infer_request()
        # The request's own buffers are written again by the next call, so that the caller gets copies.
        return lambda *inputs: [output.copy() for output in request.infer(inputs, share_inputs=True, share_outputs=True).values()]

    # What a stream keeps would lose its precision from call to call.
    facts = Facts.from_dict(card.facts)
    if cache is None or facts.state or "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return compiled("f32"), "f32"
    identity = json.dumps([card.sha256, openvino.__version__, core.get_property("CPU", "FULL_DEVICE_NAME"), os.cpu_count()])
    verdict = cache / f"precision-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.txt"
    precision = verdict.read_text() if verdict.is_file() else ""
    if precision not in ("f32", "bf16"):
        precision = "bf16" if bf16_pays(whole(compiled("f32"), facts), whole(compiled("bf16"), facts), facts) else "f32"
        with replacing(verdict) as beside:
            beside.write_text(precision)
    return compiled(precision), precision


def bf16_pays(exact: Infer, short: Infer, facts: Facts) -> bool:
    """Whether bfloat16 agrees with float32 to `BF16_AGREEMENT_DB` and is faster (where a processor only imitates it, it is not).

    The test signal is fixed: two seconds of two gliding harmonic tones and noise at the level at which chunks are separated.
    """
    t = np.arange(2 * facts.sample_rate) / facts.sample_rate
    tones = sum(np.sin(2 * np.pi * k * (f0 * t + 15 * t**2)) / k for f0 in (110, 205) for k in range(1, 15))
    signal = (0.04 * tones + 0.004 * np.random.default_rng(0).standard_normal(len(t))).astype(np.float32)
    mixture = np.tile(signal, (facts.n_mics or 1, 1))

    def fastest(infer: Infer) -> tuple[float, np.ndarray]:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            estimates = HEADS[facts.head](infer, mixture, facts.n_src or 2)
            times.append(time.perf_counter() - start)
        return min(times[1:]), estimates

    (exact_s, reference), (short_s, estimates) = fastest(exact), fastest(short)
    error = np.sum((estimates - reference) ** 2)
    return bool(exact_s > BF16_SPEED_UP * short_s and np.sum(reference**2) > 10 ** (BF16_AGREEMENT_DB / 10) * error)


def cache_folder() -> Path | None:
    """Where compiled models are kept: the user's cache folder; None if it cannot be written."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local")
    elif sys.platform == "darwin":
        base = home / "Library/Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    folder = base / "unmingle"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return None
    return folder
