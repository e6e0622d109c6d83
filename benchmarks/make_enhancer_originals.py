r"""What published enhancers themselves return for weights that follow a formula, which the tests compare ours
with.

    python benchmarks/make_enhancer_originals.py tests/enhancer_outputs.json --gtcrn FOLDER --dtln FOLDER \
        --deepfilternet DeepFilterNet3_onnx.tar.gz

The folders are a clone of github.com/Xiaobin-Rong/gtcrn, whose gtcrn.py (which needs einops) is run, and
pretrained_model of github.com/breizhn/DTLN, whose two ONNX files are run with other weights. So are those of
the archive in models/ of github.com/Rikorose/DeepFilterNet, with that project's own library of transforms and
features (pip install --no-deps DeepFilterLib==0.5.6). Weights and input are those of
tests/enhancer_checkpoints.py; kept are the names and shapes of the weights and some samples of the output.
"""

import argparse
import importlib
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from enhancer_checkpoints import mixture, weights


def kept(shapes: dict[str, Any], output: np.ndarray) -> dict[str, Any]:
    step = len(output) // 100
    return {"shapes": shapes, "step": step, "outputs": [float(f"{value:.7g}") for value in output[::step]]}


def by_gtcrn(folder: Path) -> dict[str, Any]:
    """Its network on spectra of 512 samples every 256, between roots of a Hann window, zeros around."""
    import torch

    sys.path.append(str(folder))
    network = importlib.import_module("gtcrn").GTCRN().eval()
    state = network.state_dict()
    shapes = {key: list(value.shape) for key, value in state.items()}
    formulas = {key: torch.from_numpy(np.asarray(weights(key, shape))) for key, shape in shapes.items()}
    network.load_state_dict({key: formulas[key].to(value.dtype) for key, value in state.items()})
    samples, window = mixture(), torch.hann_window(512).sqrt()
    padded = torch.from_numpy(np.pad(samples, (256, 1024 - len(samples) % 256)))
    spectrum = torch.stft(padded, 512, 256, 512, window, center=False, return_complex=True)
    with torch.inference_mode():
        estimate = torch.view_as_complex(network(torch.view_as_real(spectrum)[None])[0].contiguous())
    frames = torch.fft.irfft(estimate, dim=0) * window[:, None]
    output = torch.zeros(len(padded))
    for number, frame in enumerate(frames.T):
        output[256 * number :][:512] += frame
    return kept(shapes, output[256:][: len(samples)].numpy())


def with_formula(path: Path) -> tuple[bytes, dict[str, Any]]:
    """An ONNX file with weights by the formula, and their shapes; numbers without a shape stay."""
    import onnx

    model = onnx.load(path)
    shapes = {}
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims:
            shapes[tensor.name] = list(tensor.dims)
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights(tensor.name, tensor.dims), tensor.name))
    return model.SerializeToString(), shapes


def by_dtln(folder: Path) -> dict[str, Any]:
    """Its two files on blocks of 512 samples every 128, zeros around."""
    import onnxruntime

    networks, shapes = [], {}
    for number in (1, 2):
        content, some = with_formula(folder / f"model_{number}.onnx")
        networks.append(onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]))
        shapes |= some
    names = [[each.name for each in network.get_inputs()] for network in networks]
    states = [np.zeros(network.get_inputs()[1].shape, np.float32) for network in networks]

    def run(number: int, values: np.ndarray) -> np.ndarray:
        inputs = [values.astype(np.float32)[None, None], states[number]]
        out, states[number] = networks[number].run(None, dict(zip(names[number], inputs, strict=True)))
        return out[0, 0]

    samples = mixture()
    padded, output = np.pad(samples, (384, 512)), np.zeros(len(samples) + 896)
    for start in range(0, len(samples) + 384, 128):
        spectrum = np.fft.rfft(padded[start : start + 512])
        block = np.fft.irfft(spectrum * run(0, np.abs(spectrum)))
        output[start : start + 512] += run(1, block)
    return kept(shapes, output[384:][: len(samples)])


def of_deepfilternet(content: bytes, graph: str, shapes: dict[str, Any]) -> bytes:
    """One of its ONNX files with weights by the formula, named by operations, whose shapes are added."""
    import onnx

    model = onnx.load_from_string(content)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Einsum", "GRU"):
            continue
        for number, name in enumerate(node.input):
            if name in tensors:
                key = f"{graph}{node.output[0].removesuffix('_output_0')}.{number}"
                shapes[key] = list(tensors[name].dims)
                values = weights(key, shapes[key])
                tensors[name].CopyFrom(onnx.numpy_helper.from_array(values, tensors[name].name))
    return model.SerializeToString()


def run_deepfilternet(graphs: dict[str, bytes], samples: np.ndarray) -> np.ndarray:
    """Its three networks on what its own library makes of 48 kHz samples and of silence after them."""
    import libdf
    import onnxruntime

    enc, erb_dec, df_dec = (
        onnxruntime.InferenceSession(graphs[name], providers=["CPUExecutionProvider"])
        for name in ("enc", "erb_dec", "df_dec")
    )
    library = libdf.DF(sr=48_000, fft_size=960, hop_size=480, nb_bands=32, min_nb_erb_freqs=2)
    widths = library.erb_widths().astype(int)
    spectrum = library.analysis(np.pad(samples, (0, 2_400))[None].astype(np.float32))
    bands = libdf.erb_norm(libdf.erb(spectrum, library.erb_widths()), 0.99)
    bins = libdf.unit_norm(spectrum[..., :96], 0.99)
    features = [bands[:, None], np.stack([bins.real, bins.imag], axis=1)]
    later = [np.pad(each[:, :, 2:], ((0, 0), (0, 0), (0, 2), (0, 0))).astype(np.float32) for each in features]
    names = [each.name for each in enc.get_outputs()]
    found = dict(
        zip(names, enc.run(None, dict(zip(("feat_erb", "feat_spec"), later, strict=True))), strict=True)
    )
    gains = erb_dec.run(None, {name: found[name] for name in ("emb", "e3", "e2", "e1", "e0")})[0][0, 0]
    filters = df_dec.run(None, {name: found[name] for name in ("emb", "c0")})[0][0].reshape(-1, 96, 5, 2)
    output = spectrum[0] * np.repeat(gains, widths, axis=1)
    padded = np.pad(spectrum[0, :, :96], ((2, 2), (0, 0)))
    frames = [padded[number:][: len(output)] for number in range(5)]
    output[:, :96] = sum(
        frame * (filters[:, :, k, 0] + 1j * filters[:, :, k, 1]) for k, frame in enumerate(frames)
    )
    return library.synthesis(output[None].astype(np.complex64))[0, 480:][: len(samples)]


def deepfilternet_files(path: Path) -> dict[str, bytes]:
    """The files of its archive, by their names without an ending."""
    with tarfile.open(path) as archive:
        return {
            Path(entry.name).stem: content.read()
            for entry in archive.getmembers()
            if (content := archive.extractfile(entry))
        }


def by_deepfilternet(path: Path) -> dict[str, Any]:
    files, shapes = deepfilternet_files(path), dict[str, Any]()
    graphs = {name: of_deepfilternet(files[name], name, shapes) for name in ("enc", "erb_dec", "df_dec")}
    config = files["config"].decode()
    return {**kept(shapes, run_deepfilternet(graphs, mixture())), "config": config}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--gtcrn", type=Path, required=True)
    parser.add_argument("--dtln", type=Path, required=True)
    parser.add_argument("--deepfilternet", type=Path, required=True)
    options = parser.parse_args()
    found = {
        "deepfilternet": by_deepfilternet(options.deepfilternet),
        "gtcrn": by_gtcrn(options.gtcrn),
        "dtln": by_dtln(options.dtln),
    }
    options.out.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
