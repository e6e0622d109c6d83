"""Store the large matrices of exported models as 8-bit integers with scales, and say what that costs.

    python benchmarks/narrow_weights.py packages/unmingle-classics/src/unmingle_classics/upit-*.onnx

Networks are half as large afterwards. They are computed in float32 as before; runtimes
unfold the integers when they load them. A file is left as it is where its outputs agree to less than 25 dB
with those before, on the synthetic example.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
import report
import yaml
from onnx import TensorProto, helper, numpy_helper

from unmingle.facts import Facts
from unmingle.runtime.onnx import open_onnxruntime
from unmingle.runtime.separator import whole as whole_mixture

LARGE = 2_000  # values
WIDE = 16  # of a row
LEAST_DB = 25.0


def narrow(path: Path) -> onnx.ModelProto:
    """The model of a file whose large matrices are 8-bit integers and float32 scales."""
    model = onnx.load(path)
    graph, kept, added, gone = model.graph, [], [], set()
    casts = {node.input[0]: node for node in graph.node if node.op_type == "Cast"}
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        large = values.dtype in (np.float16, np.float32) and values.size >= LARGE and values.ndim >= 2
        if not large or (values.dtype == np.float16 and tensor.name not in casts):
            kept.append(tensor)
            continue
        name = tensor.name
        if values.dtype == np.float16:
            name = casts[tensor.name].output[0]
            gone.add(name)
        whole = values.astype(np.float32)
        # A row of a matrix, or all that a convolution computes one channel of.
        axes = -1 if values.shape[-1] >= WIDE else tuple(range(1, values.ndim))
        scale = np.abs(whole).max(axis=axes, keepdims=True).clip(1e-8) / 127
        kept += [
            numpy_helper.from_array(np.round(whole / scale).astype(np.int8), f"{name}.int8"),
            numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"),
        ]
        added += [
            helper.make_node("Cast", [f"{name}.int8"], [f"{name}.whole"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [name]),
        ]
    nodes = [node for node in graph.node if node.output[0] not in gone]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*added, *nodes])
    onnx.checker.check_model(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+")
    for path in parser.parse_args().files:
        beside = path.with_name(f".{path.name}.part")
        onnx.save(narrow(path), beside)
        card = yaml.safe_load(path.with_suffix(".yaml").read_text(encoding="utf-8"))
        facts = Facts.from_dict(card["facts"])
        mixture = report.talk(4, facts.sample_rate)[None, None]
        cues = [cue.drawn(1, mixture.shape[-1], facts.sample_rate, seed=0) for cue in facts.cues]
        before, after = (
            whole_mixture(open_onnxruntime(file), facts)(mixture, *cues) for file in (path, beside)
        )
        agreement_db = 10 * np.log10(np.sum(before**2) / max(np.sum((after - before) ** 2), 1e-20))
        sizes = f"{path.stat().st_size / 1e6:.2f} → {beside.stat().st_size / 1e6:.2f} MB"
        if agreement_db < LEAST_DB:
            beside.unlink()
            print(f"{path.stem}: {agreement_db:.1f} dB; left as it is")
            continue
        beside.replace(path)
        data = path.read_bytes()
        text = path.with_suffix(".yaml").read_text(encoding="utf-8")
        for key, value in (("size_bytes", len(data)), ("sha256", hashlib.sha256(data).hexdigest())):
            text = text.replace(f"{key}: {card[key]}", f"{key}: {value}")
        path.with_suffix(".yaml").write_text(text, encoding="utf-8")
        print(f"{path.stem}: {sizes}, outputs agree to {agreement_db:.1f} dB")


if __name__ == "__main__":
    main()
