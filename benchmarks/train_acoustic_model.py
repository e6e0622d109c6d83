"""Train the small acoustic model that the term `recogniser` of an objective looks through.

    python benchmarks/train_acoustic_model.py label --speech data --labels LABELS.npz [--transcripts FILE …]
    python benchmarks/train_acoustic_model.py train --speech data --labels LABELS.npz --out ACOUSTIC

Labels are phones, aligned with the frames by pocketsphinx: those of the words that were said where a file of
transcripts names the utterance, else of the words that pocketsphinx hears, right or wrong. The first command
goes on where it was stopped. The second prints how often the network disagrees with the labels of speakers of
whom it heard nothing. Nothing of it ships.
"""

import csv
import re
import time
from itertools import groupby, zip_longest
from pathlib import Path

import frozen_networks
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unmingle.console import say, track
from unmingle.data.corpora import read_mono
from unmingle.metrics.recognition import word_errors
from unmingle.objectives.recogniser import RATE, STRIDE, AcousticModel, save_acoustic_model

TRAIN, HELD_OUT = "librispeech-train-clean-100", "librispeech-test-other"  # where the teacher is asked
PER_SPEAKER, PER_HELD_OUT = 5, 4  # utterances that the teacher is asked about
PER_TRANSCRIBED = 16  # utterances whose words are known
ONE_IN = 10  # speakers of the other corpora is held out
SILENCE = "SIL"
LENGTH_S, BATCH = 3.0, 16  # of the pieces in a step
SNR_DB = (5.0, 40.0)  # of the noise that is added
CHANGE = 2.0  # what another phone than that of the frame before costs [nats]
KEEP_S = 60.0  # how often labels are written

Labelled = list[tuple[np.ndarray, np.ndarray]]  # samples and a phone per 10 ms of each utterance


def main() -> None:
    parser = frozen_networks.parser(__doc__, 18.0)
    parser.add_argument("--labels", type=Path, required=True, help="file of the labels")
    parser.add_argument(
        "--transcripts", type=Path, nargs="*", default=[], help="files with lines: utterance's name, words"
    )
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if options.what == "label":
        label(options.speech, options.labels, transcripts(options.transcripts))
        return
    with np.load(options.labels) as file:
        phones = [str(name) for name in file["phones"]]
        labels = {name: file[name] for name in file.files if name != "phones"}
    sets: dict[str, Labelled] = {}
    for name in track(labels, "reading speech", len(labels)):
        labelled = read_mono(options.speech / name, RATE), labels[name]
        sets.setdefault(which_set(name), []).append(labelled)
    model = AcousticModel(n_phones=len(phones))
    n_minutes = minutes_of(sets["trained on"])
    say(f"{n_minutes:.1f} minutes, {sum(p.numel() for p in model.parameters()):,} parameters")
    n_steps = train(model, sets["trained on"], options.minutes)
    sets["trained on"] = sets["trained on"][:: max(1, len(sets["trained on"]) // 40)]
    found = {which: measured(model, utterances) for which, utterances in sorted(sets.items())}
    print("| speakers | minutes | frames that differ from the labels | phone error rate against the labels |")
    print("|---|---|---|---|")
    for which, (frames, errors) in found.items():
        print(f"| {which} | {minutes_of(sets[which]):.1f} | {frames:.1%} | {errors:.1%} |")
    print(f"\n{n_minutes:.1f} minutes of speech, {options.minutes:g} minutes of training, {n_steps} steps")
    if options.out:
        training = {"minutes": options.minutes, "steps": n_steps, "speech_minutes": n_minutes}
        errors = {which: error for which, (_, error) in found.items()}
        save_acoustic_model(options.out, model, phones, {**training, "phone_error_rate": errors})


def minutes_of(utterances: Labelled) -> float:
    return sum(len(labels) for _, labels in utterances) / 6000


def transcripts(paths: list[Path]) -> dict[str, str]:
    """What is said, by the utterance's name: lines `NAME WORDS`, as in LibriSpeech's *.trans.txt and Kaldi's
    `text`.
    """
    lines = [line.split(maxsplit=1) for path in paths for line in path.read_text("utf-8").splitlines()]
    return {name: words.lower() for name, words in lines}


def which_set(name: str) -> str:
    """The set that the utterance with this path belongs to; no speaker is in two."""
    corpus, speaker = name.split("/")[:2]
    if corpus == HELD_OUT:
        return f"held out, {corpus}"
    if corpus != TRAIN and int(re.sub(r"\D", "", speaker)) % ONE_IN == 0:
        return f"held out, {corpus}"
    return "trained on"


def chosen(speech: Path, said: dict[str, str]) -> list[Path]:
    """The first utterances of every speaker of the teacher's corpora, and of those with a transcript, in
    turns.
    """
    by_corpus: dict[str, dict[str, list[Path]]] = {HELD_OUT: {}, "": {}, TRAIN: {}}
    with (speech / "utterances.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            path = speech / row["path"]
            corpus = "" if path.stem in said else row["path"].split("/")[0]
            if corpus in by_corpus:
                by_corpus[corpus].setdefault(row["speaker"], []).append(path)
    counts = {HELD_OUT: PER_HELD_OUT, "": PER_TRANSCRIBED, TRAIN: PER_SPEAKER}
    return [
        path
        for corpus, speakers in by_corpus.items()
        for turn in zip_longest(*(paths[: counts[corpus]] for paths in speakers.values()))
        for path in turn
        if path is not None
    ]


def label(speech: Path, out: Path, said: dict[str, str]) -> None:
    """Phones aligned with the frames by pocketsphinx, of the words in `said` or else of those that it hears:
    per utterance a byte per 10 ms; what cannot be aligned is left out.
    """
    import pocketsphinx

    decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL", maxhmmpf=3000, maxwpf=10)
    phones, found = {SILENCE: 0}, {}
    if out.exists():
        with np.load(out) as file:
            phones = {str(name): number for number, name in enumerate(file["phones"])}
            found = {name: file[name] for name in file.files if name != "phones"}

    def keep() -> None:
        partial = out.with_suffix(".partial.npz")
        np.savez_compressed(partial, phones=np.array(list(phones)), **found)
        partial.replace(out)

    paths, kept = chosen(speech, said), time.monotonic()
    for index, path in enumerate(track(paths, "labelling", len(paths))):
        name = path.relative_to(speech).as_posix()
        if name not in found and (aligned := align(decoder, read_mono(path, RATE), said.get(path.stem))):
            found[name] = np.zeros(decoder.n_frames(), np.uint8)
            for phone, start, duration in aligned:
                found[name][start : start + duration] = phones.setdefault(phone, len(phones))
        if time.monotonic() - kept > KEEP_S:
            keep()
            kept = time.monotonic()
            n_minutes = sum(map(len, found.values())) / 6000
            say(f"{index + 1} of {len(paths)} seen, {len(found)} labelled, {n_minutes:.1f} minutes")
    keep()


def align(
    decoder: "pocketsphinx.Decoder",  # noqa: F821
    samples: np.ndarray,
    said: str | None,
) -> list[tuple[str, int, int]]:
    """Phones of what is said, or else heard, each with its first frame and its number of frames; none where
    that fails.
    """
    pcm = (samples.clip(-1, 1) * 32767).astype("<i2").tobytes()

    def run() -> None:
        decoder.start_utt()
        decoder.process_raw(pcm, no_search=False, full_utt=True)
        decoder.end_utt()

    try:
        if said is None:
            decoder.activate_search()
            run()
            said = decoder.hyp().hypstr if decoder.hyp() else ""
        decoder.set_align_text(said)
        run()
        decoder.set_alignment()  # the second pass, to phones
        run()
    except RuntimeError:
        return []
    entries = decoder.get_alignment().phones()
    return [(SILENCE if p.name.startswith("+") else p.name, p.start, p.duration) for p in entries]


def train(model: AcousticModel, utterances: Labelled, minutes: float) -> int:
    """Cross-entropy of the labels on pieces in white noise; the number of steps."""
    rng, n_frames = np.random.default_rng(0), round(LENGTH_S * 100)
    weights = np.array([len(labels) for _, labels in utterances], float)
    weights /= weights.sum()

    def loss() -> Tensor:
        pieces, targets = [], []
        for index in rng.choice(len(utterances), BATCH, p=weights):
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
        return functional.cross_entropy(scores.mT, target, ignore_index=-100, label_smoothing=0.1)

    return frozen_networks.minimise(model, loss, minutes)


@torch.no_grad()
def measured(model: AcousticModel, utterances: Labelled) -> tuple[float, float]:
    """Share of frames, and of phones in their order (silence left out), that differ from the labels; phones
    are those of the likeliest path on which a change costs `CHANGE`.
    """
    wrong = frames = errors = phones = 0
    for samples, labels in utterances:
        scores = model(torch.from_numpy(samples)[None])[0].log_softmax(-1).numpy()
        heard = scores.argmax(-1)
        said = labels[::STRIDE][: len(heard)]
        wrong, frames = wrong + int((heard[: len(said)] != said).sum()), frames + len(said)
        in_order = [
            [str(phone) for phone, _ in groupby(each) if phone] for each in (likeliest_path(scores), said)
        ]
        errors, phones = errors + word_errors(*in_order), phones + len(in_order[1])
    return wrong / frames, errors / phones


def likeliest_path(scores: np.ndarray) -> np.ndarray:
    """One phone per frame `(N,)` of logarithmic probabilities `(N, P)`, where every change costs `CHANGE`."""
    total, came_from = scores[0], []
    for frame in scores[1:]:
        best = int(total.argmax())
        stays = total >= total[best] - CHANGE
        came_from.append(np.where(stays, np.arange(len(total)), best))
        total = np.where(stays, total, total[best] - CHANGE) + frame
    path = [int(total.argmax())]
    for before in reversed(came_from):
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


if __name__ == "__main__":
    main()
