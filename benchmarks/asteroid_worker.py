"""Asteroid in its own virtual environment, driven by inference.py and training.py: a task per line in, its
seconds out.

Run as: asteroid_worker.py SAMPLES.npy THREADS NETWORK, the network as JSON: a class of asteroid.models with
its arguments, or "Spectrogram", below.
A mixture `(T,)` is separated (task "separate"). Sources `(B, S, T)` are mixed and trained on (task "step":
forward, loss, backward, optimiser), or compared: copies of their mixture with them (task "pit": loss,
backward), embeddings with the voice that owns each bin (task "affinity"). The weights are random, which costs
the same time.
"""

import json
import sys
import time

import asteroid.models
import numpy as np
import torch
from asteroid.losses import PITLossWrapper, deep_clustering_loss, pairwise_neg_sisdr
from asteroid.masknn.recurrent import SingleRNN
from asteroid_filterbanks import make_enc_dec
from asteroid_filterbanks.transforms import apply_mag_mask, mag
from torch import nn


class Spectrogram(nn.Module):
    """Log magnitudes, recurrent layers, then a mask for each voice or an embedding for each bin, which are
    clustered; as in Asteroid's recipes.
    """

    def __init__(
        self,
        *,
        n_src: int,
        sample_rate: int,
        n_fft: int,
        hop: int,
        hidden: int,
        n_layers: int,
        bidirectional: bool,
        n_embedding: int,
    ) -> None:
        super().__init__()
        self.n_src, self.n_embedding = n_src, n_embedding
        self.encoder, self.decoder = make_enc_dec(
            "stft", n_filters=n_fft, kernel_size=n_fft, stride=hop, sample_rate=sample_rate
        )
        self.recurrent = SingleRNN(
            "lstm", n_fft // 2 + 1, hidden, n_layers=n_layers, bidirectional=bidirectional
        )
        self.last = nn.Linear(self.recurrent.output_size, (n_fft // 2 + 1) * (n_embedding or n_src))

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        spectrum = self.encoder(mixture)
        features = (mag(spectrum) + 1e-8).log().transpose(1, 2)
        said = self.last(self.recurrent(features))
        if self.n_embedding:
            masks = self._clustered(
                torch.nn.functional.normalize(said[0].unflatten(1, (-1, self.n_embedding)), dim=-1),
                features[0],
            )[None]
        else:
            masks = torch.relu(said).unflatten(2, (self.n_src, -1)).permute(0, 2, 3, 1)
        return self.decoder(apply_mag_mask(spectrum[:, None], masks))

    def _clustered(self, embeddings: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        from sklearn.cluster import KMeans

        loud = levels > levels.max() - np.log(100)  # 40 dB
        owner = torch.full(loud.shape, -1)
        owner[loud] = torch.as_tensor(
            KMeans(n_clusters=self.n_src).fit_predict(embeddings[loud].numpy())
        ).long()
        return torch.stack([(owner == source).float().T for source in range(self.n_src)])


torch.set_num_threads(int(sys.argv[2]))
samples = torch.from_numpy(np.load(sys.argv[1]))
arguments = json.loads(sys.argv[3])
name, passes = arguments.pop("class"), arguments.pop("passes", 1)
model = (Spectrogram if name == "Spectrogram" else getattr(asteroid.models, name))(**arguments).train(
    samples.ndim == 3
)
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
pit = PITLossWrapper(pairwise_neg_sisdr, pit_from="pw_mtx")


def separate() -> None:
    with torch.inference_mode():
        for _ in range(passes):
            model(samples[None, None])


def step() -> None:
    optimizer.zero_grad()
    pit(model(samples.sum(1, keepdim=True)), samples).backward()
    optimizer.step()


def compare() -> None:
    estimates = samples.sum(1, keepdim=True).repeat(1, samples.shape[1], 1).requires_grad_()
    pit(estimates, samples).backward()


def affinity() -> None:
    deep_clustering_loss(embeddings.clone().requires_grad_(), owners, loud).mean().backward()


if samples.ndim == 3:
    size = (len(samples), 129, samples.shape[-1] // 64)
    embeddings = torch.nn.functional.normalize(torch.randn(size[0], size[1] * size[2], 20), dim=-1)
    owners, loud = torch.randint(0, 2, size), torch.rand(size) > 0.5
tasks = {"separate": separate, "step": step, "pit": compare, "affinity": affinity}
print(
    f"Asteroid {name} {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M, PyTorch "
    f"{torch.__version__} eager",
    flush=True,
)
for line in sys.stdin:
    began = time.perf_counter()
    tasks[line.strip()]()
    print(time.perf_counter() - began, flush=True)
