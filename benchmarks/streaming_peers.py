"""Published enhancers that stream, beside `hush-live`: quality on valid-noisy.csv and processor time.

    python benchmarks/streaming_peers.py --speech data --gtcrn gtcrn.onnx --dtln model_1.onnx model_2.onnx

Their files are their authors' own: stream/onnx_models/gtcrn.onnx of github.com/Xiaobin-Rong/gtcrn, and those
in pretrained_model/ of github.com/breizhn/DTLN. Each is fed hop by hop, as from a microphone, ours too, in
turns on one thread, and what comes out is aligned with what went in. Processor time holds transforms and
Python's loop. Theirs run by ONNX Runtime; their parameters are all numbers that the files keep.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import report

from unmingle.console import track
from unmingle.data.mixture import Mixture
from unmingle.data.sets import read_set
from unmingle.errors import UnmingleError
from unmingle.evaluation.evaluate import measured_rows
from unmingle.evaluation.report import cell, quality
from unmingle.evaluation.systems import System
from unmingle.inference.streaming import Stream
from unmingle.metrics import choose
from unmingle.runtime.loading import load

OURS, RATE = "hush-live", 16_000
Peer = tuple[Callable[[np.ndarray], np.ndarray], int]  # a voice from a mixture `(T,)`; its parameters
COLUMNS = {
    "SI-SDRi [dB]": ("si_sdri_db", "{:.2f}"),
    "PESQ wb": ("pesq_wb", "{:.2f}"),
    "STOI": ("stoi", "{:.3f}"),
}


class Network:
    """An ONNX file of others: a block of the given shape and states become a block and the next states."""

    def __init__(self, path: Path, shape: list[int]) -> None:
        import onnx
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            weights = onnx.load(path).graph.initializer
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each of both has its own kinds, without a common base
            reason = "no such file" if not path.is_file() else f"no ONNX file ({str(error).splitlines()[0]})"
            sys.exit(f"{path}: {reason}; take it from the repository that --help names")
        first, *states = self.session.get_inputs()
        returned = [each.shape for each in self.session.get_outputs()]
        self.names, self.shapes = (
            [first.name, *(each.name for each in states)],
            [each.shape for each in states],
        )
        if [shape, shape, *self.shapes] != [first.shape, *returned]:
            sys.exit(f"{path}: not {shape} and states in and out, but {first.shape} in; is it another file?")
        self.parameters = sum(int(np.prod(each.dims)) for each in weights)
        self.begin()

    def begin(self) -> None:
        self.states = [np.zeros(shape, np.float32) for shape in self.shapes]

    def __call__(self, block: np.ndarray) -> np.ndarray:
        inputs = [block.astype(np.float32), *self.states]
        out, *self.states = self.session.run(None, dict(zip(self.names, inputs, strict=True)))
        return out


def by_blocks(
    networks: list[Network], hop: int, window: np.ndarray, run: Callable[[np.ndarray], np.ndarray]
) -> Peer:
    """Blocks as long as the window, through `run`, added where they came from: a hop is done when the block
    that ends `len(window) - hop` samples behind it was heard.
    """
    size = len(window)

    def enhance(samples: np.ndarray) -> np.ndarray:
        for network in networks:
            network.begin()
        padded = np.pad(samples, (size - hop, size))
        out = np.zeros(len(padded))
        for start in range(0, len(samples) + size - hop, hop):
            out[start : start + size] += window * run(window * padded[start : start + size])
        return out[size - hop :][: len(samples)]

    return enhance, sum(network.parameters for network in networks)


def gtcrn(path: Path) -> Peer:
    """Complex spectra of 512 samples every 256, between the roots of a periodic Hann window."""
    network = Network(path, [1, 257, 1, 2])

    def run(block: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(block)
        out = network(np.stack([spectrum.real, spectrum.imag], axis=-1)[None, :, None])[0, :, 0]
        return np.fft.irfft(out[:, 0] + 1j * out[:, 1])

    return by_blocks([network], 256, np.sin(np.pi * np.arange(512) / 512), run)


def dtln(paths: list[Path]) -> Peer:
    """A mask of magnitudes, then a network on samples; blocks of 512 every 128, without a window."""
    masks, samples = Network(paths[0], [1, 1, 257]), Network(paths[1], [1, 1, 512])

    def run(block: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(block)
        masked = spectrum * masks(np.abs(spectrum)[None, None])[0, 0]
        return samples(np.fft.irfft(masked)[None, None])[0, 0]

    return by_blocks([masks, samples], 128, np.ones(512), run)


def ours() -> Peer:
    """Our model, as `unmingle live` runs it."""
    stream = Stream(OURS, sample_rate=RATE)

    def enhance(samples: np.ndarray) -> np.ndarray:
        hops = [stream.feed(samples[at : at + stream.hop]) for at in range(0, len(samples), stream.hop)]
        return np.concatenate([*hops, stream.flush()], axis=1)[0]

    return enhance, load(OURS).card.parameters


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, default=Path("data"), help="folder the set's paths start in")
    parser.add_argument("--gtcrn", type=Path, help="its streaming ONNX file")
    parser.add_argument("--dtln", type=Path, nargs=2, metavar=("MODEL_1", "MODEL_2"), help="its ONNX files")
    parser.add_argument("--first", type=int, help="only so many mixtures; the result is kept of all only")
    options = parser.parse_args()
    before, measures = report.machine(), choose("si-sdr,pesq,stoi")
    if hasattr(os, "sched_setaffinity"):  # OpenVINO takes one thread per core that it sees
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    entries = read_set(report.HERE / "valid-noisy.csv", options.speech, first=options.first)
    peers = {OURS: ours()}
    if options.gtcrn:
        peers["GTCRN"] = gtcrn(options.gtcrn)
    if options.dtln:
        peers["DTLN"] = dtln(options.dtln)
    spent, rows = dict.fromkeys(peers, 0.0), {name: list[dict[str, Any]]() for name in peers}

    def timed(name: str) -> Callable[[Mixture], np.ndarray]:
        def run(item: Mixture) -> np.ndarray:
            began = time.process_time()
            voice = peers[name][0](item.mixture[0])
            spent[name] += time.process_time() - began
            return voice[None]

        return run

    systems = [System(name, timed(name)) for name in peers]
    for entry in track(entries, "measuring", len(entries)):
        mixtures: dict[str, Any] = {}
        for system in systems:
            rows[system.name] += measured_rows(system, [entry], measures, RATE, mixtures)
    seconds = sum(row["seconds"] for row in rows[OURS])
    table = [
        {
            "": name,
            "parameters [M]": f"{n_parameters / 1e6:.3f}",
            **{title: cell(quality(rows[name]), *column) for title, column in COLUMNS.items()},
            "processor time per second [ms]": 1000 * spent[name] / seconds,
            f"times {OURS}'s": f"{spent[name] / spent[OURS]:.2f}",
        }
        for name, (_, n_parameters) in peers.items()
    ]
    heading = (
        f"{len(entries)} mixtures of valid-noisy.csv, streamed on one core; {OURS} by {load(OURS).backend}:"
    )
    whole = options.first is None and len(peers) == 3
    report.publish("streaming_peers", [before, heading, report.table(table)], keep=whole)


if __name__ == "__main__":
    try:
        main()
    except UnmingleError as error:
        sys.exit(str(error))
