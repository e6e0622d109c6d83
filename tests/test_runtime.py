"""load(): a weights file becomes a separator that runs, the same on every runtime, or a message that says why
not.
"""

import ctypes
import hashlib
import os
import socket
import subprocess
import sys
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import soxr
import yaml
from onnx import TensorProto, helper, numpy_helper

from unmingle.catalog import cards
from unmingle.errors import InputError, UsageError
from unmingle.inference.arrays import separate
from unmingle.runtime import loading
from unmingle.runtime.loading import load
from unmingle.runtime.openvino import bf16_pays, tried_in_another_process

FACTS = {"sample_rate": 16_000, "n_src": 2, "n_mics": 1, "order": "free", "chunk": 32_000}
EXAMPLES = Path(__file__).parents[1] / "examples"
SHIPPED = [card.name for card in cards()]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is read from or left in the user's cache folder."""
    cache = tmp_path / "cache"
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(cache))
    return cache


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A convolution that gives two voices: a smoothed mixture and the rest of it; with its card."""
    kernel = np.zeros((2, 1, 5), np.float32)
    kernel[0], kernel[1] = 0.2, -0.2
    kernel[1, 0, 2] += 1
    graph = helper.make_graph(
        [helper.make_node("Conv", ["mixture", "kernel"], ["estimates"], pads=[2, 2])],
        "tiny",
        [helper.make_tensor_value_info("mixture", TensorProto.FLOAT, ["B", 1, "T"])],
        [helper.make_tensor_value_info("estimates", TensorProto.FLOAT, ["B", 2, "T"])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    path = tmp_path / "tiny model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    write_card(path)
    return path


def write_card(path: Path, **changes: object) -> None:
    values = {
        "name": path.stem,
        "model": "tiny",
        "facts": FACTS,
        "parameters": 10,
        "size_bytes": path.stat().st_size,
    }
    values |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **changes}
    path.with_suffix(".yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def noise(n: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((1, n))).astype(np.float32)


def agreement_db(estimates: np.ndarray, reference: np.ndarray) -> float:
    return 10 * np.log10(np.sum(reference**2) / (np.sum((estimates - reference) ** 2) + 1e-30))


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("n", [1, 2, 159, 16_000])
def test_a_weights_file_runs_at_any_length(tiny: Path, backend: str, n: int) -> None:
    mixture = noise(n)
    smoothed = (
        np.convolve(mixture[0], np.full(5, 0.2), "same")
        if n > 4
        else np.convolve(np.pad(mixture[0], 2), np.full(5, 0.2), "valid")
    )
    estimates = load(tiny, backend=backend)(mixture)
    assert estimates.shape == (2, n) and estimates.dtype == np.float32
    assert agreement_db(estimates, np.stack([smoothed, mixture[0] - smoothed])) > 40


def test_estimates_are_not_overwritten_by_the_next_call(tiny: Path) -> None:
    separator = load(tiny)
    first = separator(noise(1000))
    before = first.copy()
    separator(-noise(1000))
    assert np.array_equal(first, before)


def test_a_separator_shows_its_declared_facts(tiny: Path) -> None:
    separator = load(tiny)
    assert (separator.name, separator.sample_rate, separator.n_src, separator.facts.chunk) == (
        "tiny model",
        16_000,
        2,
        32_000,
    )
    with pytest.raises(AttributeError):
        _ = separator.colour


def test_a_loaded_separator_separates(tiny: Path) -> None:
    voices = separate(noise(100_000)[0], 16_000, model=load(tiny))
    assert agreement_db(voices.sum(axis=0), noise(100_000)[0]) > 40


def test_a_path_is_a_model(tiny: Path) -> None:
    assert separate(noise(1000)[0], 16_000, model=str(tiny)).shape == (2, 1000)


def test_damaged_weights_are_refused_by_their_hash(tiny: Path) -> None:
    tiny.write_bytes(tiny.read_bytes()[:-1] + b"\0")
    with pytest.raises(InputError, match=r"tiny model\.onnx: damaged, its SHA-256"):
        load(tiny)


def test_an_onnx_file_that_is_none_is_refused_in_one_line(tiny: Path) -> None:
    tiny.write_bytes(b"no graph")
    write_card(tiny)
    for backend in ("openvino", "onnxruntime"):
        with pytest.raises(InputError, match=f"{backend} cannot run it") as caught:
            load(tiny, backend=backend)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "- a list", "name: x", "{", "name: tiny\nspell: abracadabra", "!!python/object:os.system {}"]
)
def test_a_card_that_is_none_is_refused_by_name(tiny: Path, text: str) -> None:
    tiny.with_suffix(".yaml").write_text(text)
    with pytest.raises(InputError, match=r"tiny model\.yaml: "):
        load(tiny)


def test_weights_without_a_card_are_refused(tiny: Path) -> None:
    tiny.with_suffix(".yaml").unlink()
    with pytest.raises(
        InputError, match=r"tiny model\.yaml: not there, and tiny model\.onnx needs this card"
    ):
        load(tiny)


def test_a_card_with_unknown_facts_is_refused(tiny: Path) -> None:
    write_card(tiny, facts={**FACTS, "colour": "blue"})
    with pytest.raises(InputError, match="colour"):
        load(tiny)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-such-model", "no model 'no-such-model'; there are"),
        ("none.onnx", "no such weights file"),
        ("a.pt", "no model"),
    ],
)
def test_an_unknown_model_is_refused_with_what_exists(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load(name)


def test_an_unknown_backend_is_refused_with_what_exists(tiny: Path) -> None:
    with pytest.raises(UsageError, match="auto, openvino, onnxruntime, torch"):
        load(tiny, backend="abacus")


@pytest.mark.parametrize("speakers", [0, -1, 99])
def test_a_number_of_speakers_that_no_model_has_is_refused(speakers: int) -> None:
    with pytest.raises(UsageError, match=f"no model separates {speakers} speakers; there are: "):
        load(speakers=speakers)


def test_a_model_of_another_number_of_speakers_is_refused(tiny: Path) -> None:
    with pytest.raises(UsageError, match="separates 2 speakers, not 3"):
        load(tiny, speakers=3)


def test_without_any_runtime_the_remedy_is_said(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BACKENDS", ())
    with pytest.raises(InputError, match="pip install openvino"):
        load(tiny)


def test_a_second_start_finds_the_compiled_model_and_the_verdict_on_precision(
    tiny: Path, own_cache: Path
) -> None:
    load(tiny, backend="openvino")
    kept = sorted(path for path in own_cache.rglob("*") if path.is_file())
    load(tiny, backend="openvino")
    assert kept and kept == sorted(path for path in own_cache.rglob("*") if path.is_file())


def test_a_cache_folder_that_cannot_be_made_does_no_harm(tiny: Path, own_cache: Path) -> None:
    own_cache.parent.mkdir(exist_ok=True)
    own_cache.write_text("a file stands where the folder should be")
    assert load(tiny, backend="openvino").backend == "openvino"


@pytest.mark.parametrize("error_db", [30, 36])
def test_bfloat16_needs_agreement(tiny: Path, error_db: float) -> None:
    exact = load(tiny, backend="onnxruntime")

    def slow(mixture: np.ndarray) -> np.ndarray:
        for _ in range(20):
            exact(mixture[0])
        return exact(mixture[0])[None]

    assert bf16_pays(
        slow, lambda mixture: exact(mixture[0])[None] * (1 + 10 ** (-error_db / 20)), exact.facts
    ) == (error_db > 33)


def test_a_trial_of_bfloat16_that_ends_its_process_does_no_harm(tmp_path: Path) -> None:
    assert tried_in_another_process(tmp_path / "there is none.onnx") == "f32"


def test_importing_unmingle_loads_no_runtime() -> None:
    code = (
        "import sys, unmingle; assert unmingle.__version__; print([m for m in ('numpy', 'openvino', 'torch', "
        "'av', 'soxr') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_no_word_is_sent_to_anybody_of_what_is_run(tiny: Path, own_cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        code = (
            "import sys, numpy, unmingle; unmingle.load(sys.argv[1], backend='openvino')(numpy.ones((1, 9)))"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(tiny)],
            env={**os.environ, **dict.fromkeys(names, address)},
            timeout=100,
            check=True,
        )
        proxy.settimeout(1.0)
        with pytest.raises(TimeoutError):  # nobody has called
            proxy.accept()
    assert not (own_cache / "intel").exists()


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, int]:
    """Four seconds of the example, at the level at which chunks are separated, and its sample rate."""
    samples, rate = soundfile.read(EXAMPLES / "two-voices.flac", dtype="float32")
    samples = samples[: 4 * rate]
    return 0.056 * samples / np.sqrt(np.mean(samples**2)), rate


@pytest.mark.processor
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_agree_on_all_runtimes(name: str, speech: tuple[np.ndarray, int]) -> None:
    exact = load(name, backend="onnxruntime")
    mixture = soxr.resample(*speech, exact.sample_rate)[None]
    found = load(name, backend="openvino")
    cues = {
        cue.name: cue.drawn(1, mixture.shape[1], exact.sample_rate, seed=0)[0] for cue in exact.facts.cues
    }
    agreement = agreement_db(found(mixture, cues), exact(mixture, cues))
    assert agreement > (40 if found.backend == "openvino" else 25)


@pytest.mark.parametrize("name", ["upit-blstm", "deep-clustering"])
def test_chunks_taken_together_are_separated_as_one_by_one(name: str) -> None:
    one_by_one, together = (copy(load(name, speakers=2, backend="onnxruntime")) for _ in range(2))
    one_by_one.facts, together.facts = (replace(together.facts, batch=batch) for batch in (1, 3))
    # Voices, since which bin of noise is whose hangs on the last digit. Six chunks.
    samples, rate = soundfile.read(EXAMPLES / "two-voices.flac", dtype="float32")
    mixture = np.resize(soxr.resample(samples, rate, 8_000), 45 * 8_000)
    voices = separate(mixture, 8_000, model=one_by_one)
    assert agreement_db(separate(mixture, 8_000, model=together), voices) > 60


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_cards_say_what_they_must(name: str) -> None:
    card = next(card for card in cards() if card.name == name)
    assert (
        set(card.licence) == {"code", "weights", "data"}
        and card.training
        and asdict(card)["size_bytes"] <= 10e6
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the structure is Linux's")
def test_separators_that_are_loaded_and_dropped_leave_the_stack_for_signals_alone(tiny: Path) -> None:
    class Stack(ctypes.Structure):
        _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))

    def address() -> int | None:
        stack = Stack()
        assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
        return stack.address

    load(tiny, backend="openvino")
    before = address()
    kept = load(tiny, backend="openvino")
    assert address() == before and kept.backend.startswith("openvino")
