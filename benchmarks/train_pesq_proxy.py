"""Train the small network that the term `pesq-proxy` of an objective looks through.

    python benchmarks/train_pesq_proxy.py label --speech data --labels LABELS/
    python benchmarks/train_pesq_proxy.py train --labels LABELS/ --out PROXY.safetensors

The first command scores voices by wide-band PESQ: in noise of −10 to 25 dB; as enhancers and the separator
return them; blended with the mixture or with the clean voice; masked, well and badly; low-passed and
clipped. Voices and noises are those of training, and for a tenth of the labels those of validation. It goes
on where it was stopped. The second prints how well the network predicts the scores of the latter, of whose
speakers and noises it heard nothing. Nothing of it ships.
"""

from collections.abc import Iterator
from pathlib import Path

import frozen_networks
import numpy as np
import report
import soxr
import torch
from scipy import signal, stats
from torch import Tensor

import unmingle
from unmingle.console import say, track
from unmingle.data.mixture import Mixture
from unmingle.data.recipe import DataRecipe
from unmingle.errors import Undefined
from unmingle.metrics.listening import pesq
from unmingle.objectives.pesq_proxy import BEST, RATE, WORST, PESQProxyNetwork, save_pesq_proxy

N_SHARDS = {"train": 72, "valid": 8}
PER_SHARD = 20  # mixtures in a file of labels
LENGTH_S, SNR_DB = 3.0, (-10.0, 25.0)
#: Where the estimate comes from, and how often.
SYSTEMS = {"hush": 0.35, "hush-live": 0.35, "masks": 0.22, "duet": 0.08}
BATCH = 32

Pairs = tuple[Tensor, Tensor, Tensor, Tensor]  # estimates, clean voices, the voice of each estimate, scores


def main() -> None:
    parser = frozen_networks.parser(__doc__, 8.0)
    parser.add_argument("--labels", type=Path, required=True, help="folder of the labels")
    parser.add_argument("--cache", default=".cache", help="folder for decoded samples")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if options.what == "label":
        label(options.speech, options.labels, options.cache)
        return
    network = PESQProxyNetwork()
    sets = {split: read(options.labels, split) for split in N_SHARDS}
    counts = {split: len(pairs[-1]) for split, pairs in sets.items()}
    say(f"{counts['train']} pairs, {sum(p.numel() for p in network.parameters()):,} parameters")
    n_steps = train(network, sets["train"], options.minutes)
    rows = [
        {"pairs": name, "": str(counts[split]), **measured(network, sets[split])}
        for name, split in (("held out", "valid"), ("trained on", "train"))
    ]
    print(report.table(rows))
    print(f"\n{options.minutes:g} minutes of training, {n_steps} steps")
    if options.out:
        training = {"minutes": options.minutes, "steps": n_steps, "pairs": counts["train"]}
        save_pesq_proxy(options.out, network, {**training, "held_out": rows[0]})


def label(speech: Path, out: Path, cache: str) -> None:
    """Write files of `PER_SHARD` mixtures each: loudness of estimates and of voices, which voice an estimate
    is of, and PESQ.
    """
    out.mkdir(parents=True, exist_ok=True)
    network = PESQProxyNetwork()
    shards = [(split, index) for split, count in N_SHARDS.items() for index in range(count)]
    shards.sort(key=lambda shard: shard[1] / N_SHARDS[shard[0]])
    mixers = {
        (split, n_src): DataRecipe(
            speech=str(speech / "utterances.csv"),
            noise=str(speech / "noises.csv"),
            cache=cache,
            n_src=n_src,
            p_noise=1.0,
            p_room=0.15,
            tilt_db=5.0,
            speed=[0.88, 1.12],
            snr_db=list(SNR_DB),
        ).mixer(split, n_items=10**9, length_s=LENGTH_S)
        for split in N_SHARDS
        for n_src in (1, 2)
    }
    for split, index in track(shards, "labelling", len(shards)):
        path = out / f"{split}-{index:03d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([N_SHARDS[split], index])
        estimates, voices, voice_of, scores = [], [], [], []
        for item in range(PER_SHARD * index, PER_SHARD * (index + 1)):
            name = str(rng.choice(list(SYSTEMS), p=list(SYSTEMS.values())))
            mixture = mixers[split, 2 if name == "duet" else 1][item]
            for voice, estimate in zip(mixture.sources, separated(mixture, name, rng), strict=True):
                for degraded in degradations(voice, mixture.mixture[0], estimate, rng):
                    try:
                        scores.append(pesq(degraded, voice, RATE, "wb"))
                    except Undefined:
                        continue
                    estimates.append(degraded)
                    voice_of.append(len(voices))
                voices.append(voice)
        both = (np.stack(each).astype(np.float32) for each in (estimates, voices))
        loud = [network.loudness(torch.from_numpy(each)).half().numpy() for each in both]
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, estimates=loud[0], voices=loud[1], voice_of=voice_of, scores=scores)
        partial.replace(path)
        say(f"{path.name}: {len(scores)} pairs, PESQ {np.mean(scores):.2f} ± {np.std(scores):.2f}")


def separated(mixture: Mixture, name: str, rng: np.random.Generator) -> np.ndarray:
    """What a system takes out of a mixture, in the order of its sources, `(S, T)`."""
    heard = mixture.mixture[0]
    if name == "masks":
        return np.stack([well_masked(source, heard - source, rng) for source in mixture.sources])
    if name != "duet":
        return unmingle.enhance(heard, RATE, model=name)[None]
    found = unmingle.separate(heard, RATE, model=name)
    straight = sum(float(a @ b) for a, b in zip(found, mixture.sources, strict=True))
    crossed = sum(float(a @ b) for a, b in zip(found[::-1], mixture.sources, strict=True))
    return found if straight > crossed else found[::-1]


def degradations(
    voice: np.ndarray, mixture: np.ndarray, estimate: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Four versions of a voice `(T,)`: the estimate; it and the mixture; it and the voice; one that no
    network made, of either or of the mixture.
    """
    yield estimate
    yield blend(estimate, mixture, rng)
    yield blend(estimate, voice, rng)
    whole = (voice, estimate, mixture)[int(rng.integers(3))]
    change = (low_passed, clipped, badly_masked, None)[int(rng.integers(4))]
    yield mixture if change is None else change(whole, rng)


def blend(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    share = np.float32(rng.random())
    return share * first + (1 - share) * second


def low_passed(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rate = 2 * rng.uniform(1000, 6000)
    low = soxr.resample(soxr.resample(samples, RATE, rate), rate, RATE)
    return np.pad(low[: len(samples)], (0, max(0, len(samples) - len(low))))


def clipped(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    bound = np.quantile(np.abs(samples), 1 - 10 ** rng.uniform(-3, -0.7))
    return samples.clip(-bound, bound)


def badly_masked(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gains that have nothing to do with the sound: blocks of bins and frames are down by up to 30 dB."""
    _, _, spectrum = signal.stft(samples, nperseg=512)
    block = rng.integers(1, 24, 2)
    small = rng.random([n // size + 1 for n, size in zip(spectrum.shape, block, strict=True)])
    down_db = rng.uniform(5, 30) * (small < rng.uniform(0.1, 0.6))
    mask = 10 ** (-np.kron(down_db, np.ones(block)) / 20)
    _, found = signal.istft(spectrum * mask[: spectrum.shape[0], : spectrum.shape[1]], nperseg=512)
    return found[: len(samples)].astype(np.float32)


def well_masked(voice: np.ndarray, rest: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A ratio mask, softer or harder than the ideal one, and with errors of up to 12 dB."""
    (_, _, wanted), (_, _, unwanted) = (signal.stft(each, nperseg=512) for each in (voice, rest))
    errors_db = rng.uniform(0, 12) * rng.standard_normal(wanted.shape)
    power = np.abs(wanted) ** 2 * 10 ** (errors_db / 10)
    mask = (power / (power + np.abs(unwanted) ** 2 + 1e-12)) ** rng.uniform(0.25, 2)
    _, found = signal.istft((wanted + unwanted) * mask, nperseg=512)
    return found[: len(voice)].astype(np.float32)


def read(labels: Path, split: str) -> Pairs:
    """All pairs of a split, loudness in float16."""
    estimates, voices, voice_of, scores = [], [], [], []
    n_voices = 0
    for path in sorted(labels.glob(f"{split}-???.npz")):
        with np.load(path) as file:
            estimates.append(file["estimates"])
            voices.append(file["voices"])
            voice_of.append(file["voice_of"] + n_voices)
            scores.append(file["scores"])
        n_voices += len(voices[-1])
    first, second, third, fourth = map(np.concatenate, (estimates, voices, voice_of, scores))
    scaled = (fourth - WORST) / (BEST - WORST)
    return (
        torch.from_numpy(first),
        torch.from_numpy(second),
        torch.from_numpy(third),
        torch.from_numpy(scaled).float(),
    )


def train(network: PESQProxyNetwork, pairs: Pairs, minutes: float) -> int:
    """Squared error of the scores; the number of steps."""
    estimates, voices, voice_of, scores = pairs
    generator = torch.Generator().manual_seed(0)

    def loss() -> Tensor:
        chosen = torch.randint(len(scores), (BATCH,), generator=generator)
        predicted = network(estimates[chosen].float(), voices[voice_of[chosen]].float())
        return 100 * (predicted - scores[chosen]).square().mean()

    return frozen_networks.minimise(network, loss, minutes)


@torch.no_grad()
def measured(network: PESQProxyNetwork, pairs: Pairs) -> dict[str, str]:
    """Correlation of what is predicted with PESQ, and the error in PESQ's scale."""
    estimates, voices, voice_of, scores = pairs
    predicted = torch.cat(
        [
            network(estimates[chosen].float(), voices[voice_of[chosen]].float())
            for chosen in torch.arange(len(scores)).split(BATCH)
        ]
    )
    error = float((predicted - scores).square().mean().sqrt()) * (BEST - WORST)
    return {
        "Pearson": f"{stats.pearsonr(predicted, scores)[0]:.3f}",
        "Spearman": f"{stats.spearmanr(predicted, scores)[0]:.3f}",
        "RMSE [PESQ]": f"{error:.2f}",
        "deviation of PESQ": f"{float(scores.std()) * (BEST - WORST):.2f}",
    }


if __name__ == "__main__":
    main()
