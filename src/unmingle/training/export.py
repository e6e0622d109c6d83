"""`export`: trained weights become NAME.onnx, which runs without PyTorch, with its
card NAME.yaml.
"""

import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml

from unmingle.catalog import WEIGHTS, plain_name
from unmingle.console import stage, track
from unmingle.errors import InputError
from unmingle.facts import Facts
from unmingle.models import build
from unmingle.results.folders import replacing
from unmingle.runtime.onnx import open_onnxruntime
from unmingle.runtime.separator import whole
from unmingle.weights_file import (
    FORMAT,
    float16_state,
    load_state,
    parameter_count,
    read_header,
    save_weights,
)

AGREEMENT_DB = 60.0
LENGTHS = (1_000, 16_001, 56_789)
MICROPHONES = (2, 4, 6)  # on which a model for any number of them is compared
DATA_LICENCES = {
    "esc10": "ESC-10: CC BY 3.0",
    "household": "household noises: CC0 or recorded by us",
    "librispeech": "LibriSpeech: CC BY 4.0",
    "voxceleb2": "VoxCeleb2: CC BY 4.0 as published; rights in the videos stay with their owners",
    "speechocean762": "speechocean762: free for commercial and non-commercial use",
}


def export(
    weights: Path,
    name: str,
    *,
    out: Path | None = None,
    default: bool = False,
    overwrite: bool = False,
    measured: list[dict[str, Any]] | None = None,
) -> Path:
    """Write `name`.onnx and its card `name`.yaml into the package's own weights folder; or into `out`, and
    there also `name`.safetensors, rounded likewise, which PyTorch runs and further trainings begin with.

    The weights are rounded to float16 and computed in float32; the ONNX graph is compared with PyTorch
    holding the same rounded weights.

    Returns:
        The card's path.

    Raises:
        InputError: not a weights file, a summary without SI-SDRi and SNRi, a model of this name is there and
            `overwrite` is not set, or ONNX and PyTorch agree to less than 60 dB at one of three lengths
            and, where it takes any number of microphones, with 2, 4 or 6 of them.
        UsageError: a name that is not plain.
    """
    plain_name(name)
    header, folder = read_header(weights), out or WEIGHTS
    summaries = [summarise(summary, name) for summary in measured or []]
    if (folder / f"{name}.onnx").exists() and not overwrite:
        raise InputError(
            f"{folder / name}.onnx: exists already; choose another name or --out, or add --overwrite"
        )
    state = float16_state(load_state(weights))
    model = build(header["model"], **header["config"])
    model.load_state_dict({key: value.float() for key, value in state.items()})
    # The facts are those of this version; the file's may be of an older one.
    path = write_model(
        model,
        folder / f"{name}.onnx",
        facts=model.facts,
        recipe=header["recipe"],
        source=weights,
        default=default,
        measured=summaries,
        training=describe(header),
        licence=licences(header, out is None),
    )
    if out is not None:  # the package keeps one file per model
        weights_path = folder / f"{name}.safetensors"
        save_weights(weights_path, model, state, recipe=header["recipe"], training=header["training"])
    return path


def write_model(
    model: Any, final: Path, *, facts: Facts, recipe: dict[str, Any], source: Path, **entries: Any
) -> Path:
    """Write a model as ONNX, compared with PyTorch, and its card beside it; both appear, or neither.

    Args:
        model: as `build` makes it.
        final: the ONNX file, called as the model.
        facts: of what is written.
        recipe: by which it was trained.
        source: where the weights are from, for messages.
        entries: further ones of the card.

    Returns:
        The card's path.

    Raises:
        InputError: the two agree to less than 60 dB.
    """
    model.eval()
    path = final.with_suffix(".yaml")
    final.parent.mkdir(parents=True, exist_ok=True)
    # The card is renamed first: a model without one would be an error in the catalogue.
    with replacing(final) as beside, replacing(path) as card_beside:
        stage("exporting to ONNX")
        graph = to_onnx(model, beside)
        header = {
            "format": FORMAT,
            "model": model.name,
            "config": model.config,
            "facts": facts.to_dict(),
            "recipe": recipe,
        }
        onnx.helper.set_model_props(graph, {key: json.dumps(value) for key, value in header.items()})
        onnx.save(graph, beside)
        arrays = (facts.n_mics,) if facts.n_mics else MICROPHONES
        lengths = track(LENGTHS, "Comparing ONNX with PyTorch")
        worst = min(agreement_db(model, beside, length, n) for length in lengths for n in arrays)
        if not worst >= AGREEMENT_DB:  # nor if it is no number
            raise InputError(
                f"{source}: ONNX and PyTorch agree to {worst:.0f} dB only, {AGREEMENT_DB:.0f} dB are asked "
                "for; nothing was written"
            )
        card = {
            "name": final.stem,
            "model": model.name,
            "default": False,
            "facts": facts.to_dict(),
            "config": model.config,
            "parameters": parameter_count(model),
            "size_bytes": beside.stat().st_size,
            "sha256": hashlib.sha256(beside.read_bytes()).hexdigest(),
            **entries,
        }
        card_beside.write_text(
            yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=140), encoding="utf-8"
        )
    return path


def read_summary(path: Path) -> dict[str, Any]:
    """What `evaluate --json` printed into a file; InputError if it is something else."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        summarise(summary, "")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "it lacks what that prints"
        raise InputError(
            f"{path}: not a summary ({reason}); write it with: unmingle evaluate MODEL SET --json > "
            f"{path.name}"
        ) from None
    return summary


def origins(header: dict[str, Any]) -> list[str]:
    """What the weights were trained on: the set on disk, or else the corpora of voices and noises, or else
    the one source of voices.
    """
    data, training = header["recipe"]["data"], header["training"]
    if data.get("set"):  # weights of an earlier version know no sets
        return [data["set"]]
    corpora = {name for each in (*training.get("earlier", []), training) for name in each.get("corpora", [])}
    return sorted(corpora) or data["corpora"] or [data["speech"]]


def licences(header: dict[str, Any], ships: bool) -> dict[str, str]:
    """What is known of the licences: of weights that are not ours, and of corpora that we do not know,
    nothing is claimed.
    """
    data = {
        next((text for known, text in DATA_LICENCES.items() if name.startswith(known)), f"{name}: not stated")
        for name in origins(header)
    }
    return {"code": "MIT", "weights": "MIT" if ships else "not stated", "data": "; ".join(sorted(data))}


def summarise(summary: dict[str, Any], name: str) -> dict[str, Any]:
    """What a card keeps of a summary that `evaluate --json` printed; InputError if it has no SI-SDRi and
    SNRi.
    """
    values = {key: (summary.get(key) or {}).get("mean") for key in ("si_sdri_db", "snri_db")}
    means = {key: round(mean, 2) for key, mean in values.items() if mean is not None}
    if means.keys() != values.keys():
        raise InputError(
            f"what was measured on {summary.get('set')} has no SI-SDRi or no SNRi; evaluate with --measures "
            "si-sdr,snr or all"
        )
    which = f" ({summary['task']})" if summary.get("task") else ""
    rate = f" at {summary['sample_rate'] / 1000:g} kHz" if summary.get("sample_rate") else ""
    return {
        "set": Path(summary["set"]).name + which + rate,
        "n": summary["n"],
        **means,
        "command": f"unmingle evaluate {name} {summary['set']}{summary['options']}",
    }


def describe(header: dict[str, Any]) -> str:
    """One sentence on how the weights came about, in one training or in several, each from the weights of the
    one before.
    """
    trainings = [*header["training"].get("earlier", []), header["training"]]
    goes = [
        f"{each['hours_of_audio']:.1f} h of mixtures in {each['steps']} steps and {each['minutes']:.0f} "
        "minutes "
        f"({each['clock']} time, {each['threads']} threads)"
        for each in trainings
    ]
    last = "the last of them drawn" if len(goes) > 1 else "drawn"
    return (
        f"{', then '.join(goes)}, {last} from {', '.join(origins(header))}, by 'unmingle train'; the last "
        "recipe is in the header of the weights"
    )


def to_onnx(model: Any, path: Path) -> onnx.ModelProto:
    """Trace the model for any batch and length, and any number of microphones if it takes that; values that
    are float16 exactly are stored so.

    Inputs are `mixture`, then the model's cues, by their names. One that streams becomes a step of its
    stream: `state` is its last input, outputs are `estimates` and `next_state`.
    """
    facts = model.facts
    length = -(-20_000 // (facts.hop or 1)) * (facts.hop or 1)
    network, inputs = model, [torch.randn(2, facts.n_mics or 3, length) * 0.1]
    axes: dict[str, dict[int, str]] = {"mixture": {0: "B", 2: "T"} | ({} if facts.n_mics else {1: "C"})}
    for cue in facts.cues:
        inputs.append(torch.from_numpy(cue.drawn(2, inputs[0].shape[-1], facts.sample_rate, seed=0)))
        axes[cue.name] = {0: "B"} | {k + 1: "S" for k, size in enumerate(cue.shape) if size is None}
        if cue.rate is not None:
            axes[cue.name][inputs[-1].ndim - 1] = f"N_{cue.name}"
    input_names = list(axes)
    with torch.no_grad():
        last_axis = model(*inputs).ndim - 1  # time, or frames where a network outputs embeddings
    axes["estimates"] = {0: "B", last_axis: "T" if last_axis == 2 else "N"}
    if facts.n_src is None and not facts.head:
        axes["estimates"][1] = "S"
    if facts.state:
        # The exporter puts everything back into the mode that the outermost module was in.
        network, inputs = Step(model).eval(), [*inputs, torch.zeros(2, facts.state)]
        axes |= {"state": {0: "B"}, "next_state": {0: "B"}}
        input_names.append("state")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        # The TorchScript exporter: the newer one spells every slice out and freezes lengths behind recurrent
        # layers.
        torch.onnx.export(
            network,
            tuple(inputs),
            path,
            dynamo=False,
            opset_version=17,
            dynamic_axes=axes,
            input_names=input_names,
            output_names=[name for name in ("estimates", "next_state") if name in axes],
        )
    graph = onnx.load(path)
    once: dict[
        bytes, str
        # the name of each constant by its content: what is there twice, such as an STFT's filters, is written
        # once
    ] = {}
    constants = [node for node in graph.graph.node if node.op_type == "Constant"]
    same = {
        node.output[0]: once.setdefault(node.attribute[0].SerializeToString(), node.output[0])
        for node in constants
    }
    for node in graph.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    nodes = [node for node in graph.graph.node if same.get(node.output[0], node.output[0]) == node.output[0]]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return keep_as_float16(keep_as_cosines(graph))


def keep_as_cosines(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store an STFT's filters as a period of its waves, a window and where in the period each value lies;
    they are unfolded when the model is loaded.
    """
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        values = (
            onnx.numpy_helper.to_array(node.attribute[0].t)
            if node.op_type == "Constant" and node.attribute[0].HasField("t")
            else np.zeros(0)
        )
        parts = cosine_parts(values) if values.ndim == 3 and values.shape[1] == 1 else None
        if parts is None:
            nodes.append(node)
            continue
        name = node.output[0]
        names = {key: f"{name}.{key}" for key in parts}
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(part, names[key]) for key, part in parts.items()
        )
        steps = [
            ("Mul", ("bins", "times"), f"{name}.turns"),
            ("Mod", (f"{name}.turns", "period"), f"{name}.phases"),
            ("Add", (f"{name}.phases", "starts"), f"{name}.places"),
            ("Gather", ("waves", f"{name}.places"), f"{name}.turning"),
            ("Mul", (f"{name}.turning", "window"), name),
        ]
        nodes += [
            onnx.helper.make_node(op, [names.get(key, key) for key in inputs], [output])
            for op, inputs, output in steps
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def cosine_parts(filters: np.ndarray) -> dict[str, np.ndarray] | None:
    """Of filters `(2 F, 1, window)` that are a windowed STFT's, the cosines and then the negative sines: a
    period of both, the window, and what the indices are made of; None of others.
    """
    n_bins, length = len(filters) // 2, filters.shape[-1]
    window = filters[0, 0]
    for n_fft in (2 * n_bins - 2, 2 * n_bins - 1):
        if length > n_fft or n_fft < 16:
            continue
        turn = 2 * np.pi / n_fft * np.arange(n_fft)
        parts = {
            "waves": np.concatenate([np.cos(turn), -np.sin(turn)]).astype(np.float32),
            "window": window,
            "bins": np.tile(np.arange(n_bins, dtype=np.int32), 2)[:, None, None],
            "times": np.arange(length, dtype=np.int32),
            "starts": np.repeat(np.array([0, n_fft], np.int32), n_bins)[:, None, None],
            "period": np.array(n_fft, np.int32),
        }
        unfolded = parts["waves"][parts["bins"] * parts["times"] % n_fft + parts["starts"]] * window
        if np.allclose(unfolded, filters, rtol=0, atol=1e-6 * np.abs(window).max()):
            return parts
    return None


def keep_as_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the values that are float16 exactly so; they are unfolded when the model is loaded."""
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 64:
            continue
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float16)
        if np.array_equal(rounded.astype(np.float32), values):
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, f"{name}.float16"))
            casts.append(
                onnx.helper.make_node("Cast", [f"{name}.float16"], [name], to=onnx.TensorProto.FLOAT)
            )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


class Step(torch.nn.Module):
    """What a step of a stream computes, as a module, which the exporter asks for."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples, cues if it has any, and the state."""
        return self.model.forward_stream(*inputs)


def agreement_db(model: Any, path: Path, length: int, n_mics: int | None = None) -> float:
    """Level of PyTorch's estimates over their difference from ONNX Runtime's, on noise of `length` samples at
    `n_mics` microphones (those that the model takes unless given; 1 if it takes any), and random cues [dB].
    """
    rng = np.random.default_rng(length)
    mixture = (rng.standard_normal((1, n_mics or model.facts.n_mics or 1, length)) * 0.1).astype(np.float32)
    cues = [cue.drawn(1, length, model.facts.sample_rate, seed=length) for cue in model.facts.cues]
    with torch.no_grad():
        expected = model(*map(torch.from_numpy, (mixture, *cues))).numpy()
    actual = whole(open_onnxruntime(path), model.facts)(mixture, *cues)
    if actual.shape != expected.shape:
        return -np.inf
    return float(10 * np.log10(np.square(expected).sum() / max(np.square(expected - actual).sum(), 1e-20)))
