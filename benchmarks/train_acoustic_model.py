"""Train the small acoustic model that the term `recogniser` of an objective looks through.

    python benchmarks/train_acoustic_model.py label --speech data --labels LABELS.npz
    python benchmarks/train_acoustic_model.py train --speech data --labels LABELS.npz --out ACOUSTIC

The corpora have no transcripts here, so the teacher is pocketsphinx: the words that it hears, right or wrong,
aligned with the frames as phones. The first command goes on where it was stopped. The second prints how often
the network disagrees with the teacher about speakers of whom it heard nothing. Nothing of it ships.
"""

import argparse
import csv
import time
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from unmingle.console import say
from unmingle.data.corpora import read_mono
from unmingle.metrics.recognition import word_errors
from unmingle.objectives.recogniser import RATE, STRIDE, AcousticModel, save_acoustic_model

TRAIN, HELD_OUT = "librispeech-train-clean-100", "librispeech-test-other"
PER_SPEAKER, PER_HELD_OUT = 5, 4  # utterances
SILENCE = "SIL"
LENGTH_S, BATCH = 3.0, 16  # of the pieces in a step
SNR_DB = (5.0, 40.0)  # of the noise that is added


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["label", "train"])
    parser.add_argument("--speech", type=Path, default=Path("data"), help="folder of utterances.csv")
    parser.add_argument("--labels", type=Path, required=True, help="file of the labels")
    parser.add_argument("--out", type=Path, help="file for the weights")
    parser.add_argument("--minutes", type=float, default=18.0, help="of processor time, for training")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if options.what == "label":
        label(options.speech, options.labels)
        return
    with np.load(options.labels) as file:
        phones = [str(name) for name in file["phones"]]
        labels = {name: file[name] for name in file.files if name != "phones"}
    samples = {name: read_mono(options.speech / name, RATE) for name in labels}
    train_set, held_out = (
        [(samples[name], labels[name]) for name in labels if name.startswith(corpus)]
        for corpus in (TRAIN, HELD_OUT)
    )
    model = AcousticModel(n_phones=len(phones))
    n_minutes = sum(map(len, (each for _, each in train_set))) / 6000
    say(f"{n_minutes:.1f} minutes, {sum(p.numel() for p in model.parameters()):,} parameters")
    n_steps = train(model, train_set, options.minutes)
    found = {"held out": measured(model, held_out), "trained on": measured(model, train_set[:40])}
    print("| speakers | frames that differ from the teacher's | phone error rate against the teacher |")
    print("|---|---|---|")
    for which, (frames, errors) in found.items():
        print(f"| {which} | {frames:.1%} | {errors:.1%} |")
    print(f"\n{n_minutes:.1f} minutes of speech, {options.minutes:g} minutes of training, {n_steps} steps")
    if options.out:
        training = {"minutes": options.minutes, "steps": n_steps, "speech_minutes": n_minutes}
        save_acoustic_model(
            options.out, model, phones, {**training, "phone_error_rate": found["held out"][1]}
        )


def chosen(speech: Path, corpus: str, per_speaker: int) -> list[Path]:
    """The first utterances of every speaker of a corpus."""
    taken: dict[str, list[Path]] = {}
    with (speech / "utterances.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["path"].startswith(corpus):
                taken.setdefault(row["speaker"], []).append(speech / row["path"])
    return [path for paths in taken.values() for path in paths[:per_speaker]]


def label(speech: Path, out: Path) -> None:
    """Words by pocketsphinx, and the phones of these words aligned with the frames by it: per utterance a
    byte per 10 ms; what cannot be aligned is left out.
    """
    import pocketsphinx

    decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL", maxhmmpf=3000, maxwpf=10)
    phones, found = {SILENCE: 0}, {}
    if out.exists():
        with np.load(out) as file:
            phones = {str(name): number for number, name in enumerate(file["phones"])}
            found = {name: file[name] for name in file.files if name != "phones"}

    def keep() -> None:
        np.savez_compressed(out, phones=np.array(list(phones)), **found)

    paths = [*chosen(speech, HELD_OUT, PER_HELD_OUT), *chosen(speech, TRAIN, PER_SPEAKER)]
    for path in paths:
        name = path.relative_to(speech).as_posix()
        if name not in found and (aligned := align(decoder, read_mono(path, RATE))):
            found[name] = np.zeros(decoder.n_frames(), np.uint8)
            for phone, start, duration in aligned:
                found[name][start : start + duration] = phones.setdefault(phone, len(phones))
            n_minutes = sum(map(len, found.values())) / 6000
            say(f"{path.name}: {len(found)} of {len(paths)}, {n_minutes:.1f} minutes")
            if len(found) % 5 == 0:
                keep()
    keep()


def align(decoder: "pocketsphinx.Decoder", samples: np.ndarray) -> list[tuple[str, int, int]]:  # noqa: F821
    """Phones of what is heard, each with its first frame and its number of frames; none where that fails."""
    pcm = (samples.clip(-1, 1) * 32767).astype("<i2").tobytes()

    def run() -> None:
        decoder.start_utt()
        decoder.process_raw(pcm, no_search=False, full_utt=True)
        decoder.end_utt()

    try:
        decoder.activate_search()
        run()
        decoder.set_align_text(decoder.hyp().hypstr if decoder.hyp() else "")
        run()
        decoder.set_alignment()  # the second pass, to phones
        run()
    except RuntimeError:
        return []
    entries = decoder.get_alignment().phones()
    return [(SILENCE if p.name.startswith("+") else p.name, p.start, p.duration) for p in entries]


def train(model: AcousticModel, utterances: list[tuple[np.ndarray, np.ndarray]], minutes: float) -> int:
    """Cross-entropy of the teacher's phones on pieces in white noise; the number of steps."""
    rng, n_frames = np.random.default_rng(0), round(LENGTH_S * 100)
    weights = np.array([len(labels) for _, labels in utterances], float)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    began, n_steps, mean = time.process_time(), 0, 0.0
    while (share := (time.process_time() - began) / (60 * minutes)) < 1:
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (n_steps + 1) / 50) * (1 - share)
        pieces, targets = [], []
        for index in rng.choice(len(utterances), BATCH, p=weights / weights.sum()):
            samples, labels = utterances[index]
            start = int(rng.integers(max(1, len(labels) - n_frames)))
            piece = samples[160 * start : 160 * (start + n_frames) + 240]
            noise = rng.standard_normal(len(piece)) * np.sqrt(np.mean(piece**2) + 1e-12)
            piece = piece + 10 ** (-rng.uniform(*SNR_DB) / 20) * noise
            pieces.append(np.pad(piece, (0, 160 * n_frames + 240 - len(piece))))
            whole = labels[start : start + n_frames].astype(np.int64)
            targets.append(np.pad(whole, (0, n_frames - len(whole)), constant_values=-100)[::STRIDE])
        scores = model(torch.from_numpy(np.stack(pieces)).float())
        target = torch.from_numpy(np.stack(targets))[:, : scores.shape[1]]
        loss = functional.cross_entropy(scores.mT, target, ignore_index=-100, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        n_steps += 1
        mean += (float(loss.detach()) - mean) / min(n_steps, 50)
        if n_steps % 50 == 0:
            say(f"step {n_steps}, {share:.0%}: {mean:.3f}")
    return n_steps


@torch.no_grad()
def measured(model: AcousticModel, utterances: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Share of frames, and of phones in their order (silence left out), that differ from the teacher's."""
    wrong = frames = errors = phones = 0
    for samples, labels in utterances:
        heard = model(torch.from_numpy(samples)[None]).argmax(-1)[0].numpy()
        said = labels[::STRIDE][: len(heard)]
        wrong, frames = wrong + int((heard[: len(said)] != said).sum()), frames + len(said)
        in_order = [[str(phone) for phone, _ in groupby(each) if phone] for each in (heard, said)]
        errors, phones = errors + word_errors(*in_order), phones + len(in_order[1])
    return wrong / frames, errors / phones


if __name__ == "__main__":
    main()
