"""Measures against independent libraries and closed forms; what is undefined is missing; the ideal masks."""

import sys
from types import ModuleType, SimpleNamespace

import fast_bss_eval
import numpy as np
import pytest
import soxr
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from unmingle.errors import Undefined, UsageError
from unmingle.evaluation.oracles import ORACLES, oracle
from unmingle.metrics import ALL, MEASURES, Measure, Score, Signals, Value, choose, measure, of_mixture
from unmingle.metrics.listening import dnsmos, pesq, stoi
from unmingle.metrics.ratios import best_order, sdr_sir_sar, si_sdr, snr
from unmingle.spectrogram import inverse_stft, stft

RATE = 16_000


def talk(n_src: int = 2, duration_s: float = 1.0, sample_rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Voices made of gliding harmonics under syllables of their own, and a little noise: `(S, T)` float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(duration_s * sample_rate)) / sample_rate
    voices = []
    for source in range(n_src):
        f0 = 110 * 1.37**source
        harmonics = sum(
            np.sin(2 * np.pi * k * (f0 * t + 15 * t**2) + rng.uniform(0, 6)) / k
            for k in range(1, 20)
            if k * f0 * 1.3 < sample_rate / 2
        )
        syllables = 0.5 + 0.5 * np.sin(2 * np.pi * (3 + source) * t + rng.uniform(0, 6))
        voices.append(0.1 * syllables**2 * harmonics + 0.001 * rng.standard_normal(len(t)))
    return np.array(voices, np.float32)


def smeared(references: np.ndarray, seed: int = 1) -> np.ndarray:
    """Estimates with some of the other voices and some noise in them."""
    noise = np.random.default_rng(seed).standard_normal(references.shape)
    return (references + 0.2 * np.roll(references, 1, axis=0) + 0.01 * noise).astype(np.float32)


def test_si_sdr_and_snr_equal_torchmetrics() -> None:
    references = talk()
    estimates = smeared(references)
    pair = torch.from_numpy(estimates).double(), torch.from_numpy(references).double()
    expected = scale_invariant_signal_distortion_ratio(*pair, zero_mean=True)
    assert [si_sdr(e, r) for e, r in zip(estimates, references, strict=True)] == pytest.approx(
        expected.tolist(), abs=1e-3
    )
    assert [snr(e, r) for e, r in zip(estimates, references, strict=True)] == pytest.approx(
        signal_noise_ratio(*pair).tolist(), abs=1e-3
    )


@pytest.mark.parametrize("n_src", [1, 2, 3])
def test_sdr_sir_and_sar_equal_fast_bss_eval(n_src: int) -> None:
    references = talk(n_src)
    estimates = smeared(references) if n_src > 1 else references + smeared(talk(1, seed=3)) / 10
    pair = torch.from_numpy(references).double(), torch.from_numpy(estimates).double()
    expected = [values.numpy() for values in fast_bss_eval.bss_eval_sources(*pair, compute_permutation=False)]
    ratios = sdr_sir_sar(estimates, references)
    for index in (0, 1, 2) if n_src > 1 else (0, 2):
        assert ratios[index] == pytest.approx(expected[index], abs=1e-3)


def test_noise_at_a_tenth_of_the_amplitude_is_20_db() -> None:
    reference, noise = np.sin(np.arange(8_000) / 5), np.cos(np.arange(8_000) / 5)
    assert snr(reference + 0.1 * noise, reference) == pytest.approx(20, abs=0.01)
    assert si_sdr(3 * (reference + 0.1 * noise), reference) == pytest.approx(20, abs=0.01)


def test_pesq_and_stoi_are_best_for_the_reference_itself_and_fall_with_noise() -> None:
    reference = talk(1, 2.0)[0]
    noise = np.random.default_rng(0).standard_normal(len(reference)).astype(np.float32)
    for function, best in (
        (lambda e: pesq(e, reference, RATE, "nb"), 4.549),
        (lambda e: pesq(e, reference, RATE, "wb"), 4.644),
        (lambda e: stoi(e, reference, RATE), 1.0),
        (lambda e: stoi(e, reference, RATE, extended=True), 1.0),
    ):
        assert function(reference) == pytest.approx(best, abs=1e-3)
        assert function(reference + 0.01 * noise) > function(reference + 0.1 * noise)


def test_the_order_is_resolved_and_every_measure_has_its_columns() -> None:
    references = talk(2, 1.5)
    row = measure(smeared(references)[::-1], references, references.sum(axis=0), RATE, ALL)
    assert list(row) == [*(column for name in ALL for column in MEASURES[name].columns), "missing"]
    assert row["missing"] == ""
    straight = measure(smeared(references), references, references.sum(axis=0), RATE, ALL)
    assert row == pytest.approx({**straight, "missing": ""}, abs=1e-3)
    assert 10 < row["si_sdri"] < row["si_sdr"] + 5


def test_an_improvement_is_what_is_gained_over_the_mixture() -> None:
    references = talk()
    mixture = references.sum(axis=0)
    row = measure(smeared(references), references, mixture, RATE, ("si-sdr", "snr", "sdr"))
    before = of_mixture(mixture, references, RATE, ("si-sdr", "snr", "sdr"))
    for gain, column in (("si_sdri", "si_sdr"), ("snri", "snr"), ("sdri", "sdr")):
        assert row[gain] == pytest.approx(row[column] - before[column])
    idle = measure(np.stack([mixture] * 2), references, mixture, RATE, ("si-sdr", "snr", "sdr"))
    assert [idle[gain] for gain in ("si_sdri", "snri", "sdri")] == [0, 0, 0]


def test_a_silent_reference_makes_its_measures_missing_with_the_reason() -> None:
    references = talk(2)
    references[1] = 0
    row = measure(smeared(references), references, references.sum(axis=0), RATE, ALL)
    assert [row[column] for group in MEASURES.values() if group.needs for column in group.columns] == [
        None
    ] * 12
    assert "voice 2 has a silent reference" in row["missing"]


def test_a_silent_estimate_makes_all_but_snr_missing() -> None:
    references = talk(2)
    row = measure(
        0 * references,
        references,
        references.sum(axis=0),
        RATE,
        [name for name in ALL if name != "dnsmos"],
    )
    assert [column for column, value in row.items() if value is not None] == ["snr", "snri", "missing"]
    assert row["snr"] == pytest.approx(0)
    assert "has a silent estimate" in row["missing"]


@pytest.mark.parametrize("duration_s", [0.7, 11.2])
def test_dnsmos_equals_speechmos(duration_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its wrapper computes a fourth score from librosa's mel spectrogram, which is not taken here: zeros stand
    # for it.
    librosa = ModuleType("librosa")
    librosa.feature = SimpleNamespace(melspectrogram=lambda **_: np.zeros((120, 900)))  # type: ignore[attr-defined]
    librosa.power_to_db = lambda spectrum, ref: spectrum  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "librosa", librosa)
    library = pytest.importorskip("speechmos.dnsmos")
    voice = talk(1, duration_s)[0]
    expected = library.run(voice, RATE)
    assert dnsmos(voice, RATE) == pytest.approx(
        {part: expected[f"{part}_mos"] for part in ("sig", "bak", "ovrl")}, abs=1e-6
    )


def test_dnsmos_needs_no_references_and_says_how_the_mixture_was() -> None:
    voice = talk(1, 1.0)
    mixture = voice[0] + 0.05 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    row = measure(voice, voice[:0], mixture, RATE, ("dnsmos",))
    assert row["dnsmos_bak"] > row["dnsmos_bak_before"] + 0.1
    assert row["dnsmos_ovrl_before"] == pytest.approx(dnsmos(mixture, RATE)["ovrl"])
    silent = measure(0 * voice, voice[:0], mixture, RATE, ("dnsmos",))
    assert silent["dnsmos_sig"] is None
    assert silent["missing"] == "dnsmos_sig, dnsmos_bak, dnsmos_ovrl: is silent"


def test_dnsmos_of_another_sample_rate_is_that_of_the_resampled_voice() -> None:
    high = talk(1, 1.0, sample_rate=48_000)[0]
    assert dnsmos(high, 48_000) == pytest.approx(dnsmos(soxr.resample(high, 48_000, RATE), RATE))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda s: pesq(s, s, 8_000, "wb"), "needs 16000 Hz, not 8000"),
        (lambda s: pesq(s, s, 44_100, "nb"), "needs 8000 or 16000 Hz, not 44100"),
        (lambda s: pesq(s[:3_000], s[:3_000], RATE, "wb"), "1/4 of a second"),
        (lambda s: pesq(np.tile(s, 21), np.tile(s, 21), RATE, "wb"), "longer than 20 s"),
        (lambda s: pesq(s, 0 * s, RATE, "wb"), "silent reference"),
        (lambda s: pesq(s, np.where(np.arange(len(s)) > 15_500, s, 0), RATE, "nb"), "no utterances"),
        (lambda s: stoi(s[:5_000], s[:5_000], RATE), "less than 0.4 s of speech"),
        (lambda s: stoi(s, np.where(np.arange(len(s)) < 4_000, s, 0), RATE), "less than 0.4 s of speech"),
        (lambda s: stoi(s[:10], s[:10], RATE), "less than 0.4 s of speech"),
        (lambda s: dnsmos(s[:7_000], RATE), "shorter than 0.5 s"),
        (lambda s: dnsmos(0 * s, RATE), "is silent"),
        (lambda s: sdr_sir_sar(s[None, :500], s[None, :500]), "shorter than the 512 taps"),
        (lambda s: sdr_sir_sar(np.stack([s, s]), np.stack([0 * s, s])), "silent reference"),
        (lambda s: si_sdr(s, s), "beyond 100 dB"),
        (lambda s: snr(s, s), "beyond 100 dB"),
    ],
)
def test_what_is_undefined_says_why(call, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Undefined, match=reason):
        call(talk(1)[0])


def test_silent_voices_do_not_disturb_the_order_of_the_others() -> None:
    references = talk(3)
    references[0] = 0
    estimates = np.stack([references[2], 0 * references[2], references[1]])
    assert best_order(estimates, references).tolist() == [1, 2, 0]


def test_measures_are_chosen_by_name() -> None:
    assert choose(None) == ("si-sdr", "snr")
    assert choose("all") == tuple(MEASURES)[:-1]  # but not wer, which takes longer than all others
    assert choose("stoi,sdr,stoi") == ("stoi", "sdr")
    for wrong in ("loudness", "", "si-sdr,"):
        with pytest.raises(UsageError, match="choose from si-sdr, snr, sdr, pesq, stoi, dnsmos, wer, or all"):
            choose(wrong)


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("length", [1, 127, 1_000, 4_321])
def test_the_inverse_transform_gives_any_length_back(sample_rate: int, length: int) -> None:
    samples = np.random.default_rng(0).standard_normal((2, length))
    hop = round(0.008 * sample_rate)
    assert np.abs(inverse_stft(stft(samples, 4 * hop, hop), hop, length) - samples).max() < 1e-6


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_complex_ratio_mask_reconstructs_nearly_exactly(noise: float) -> None:
    references = talk(3)
    mixture = references.sum(axis=0) + noise * np.random.default_rng(0).standard_normal(RATE).astype(
        np.float32
    )
    estimates = oracle("oracle-cirm", mixture, references, RATE)
    assert np.abs(estimates - references).max() < 1e-6


@pytest.mark.parametrize("n_src", [2, 3])
@pytest.mark.parametrize("sample_rate", [8_000, 16_000])
def test_the_more_a_mask_knows_the_better_it_separates(n_src: int, sample_rate: int) -> None:
    references = talk(n_src, sample_rate=sample_rate)
    mixture = references.sum(axis=0)
    reached = {
        name: measure(oracle(name, mixture, references, sample_rate), references, mixture, sample_rate)[
            "snri"
        ]
        for name in list(ORACLES)[:4]
    }
    assert 5 < reached["oracle-irm"] < reached["oracle-wiener"] < reached["oracle-psm"]
    assert 5 < reached["oracle-ibm"] < reached["oracle-psm"]


@pytest.mark.parametrize("name", ["oracle-ibm", "oracle-irm", "oracle-wiener", "oracle-psm", "oracle-cirm"])
def test_an_oracles_estimates_of_voices_alone_add_up_to_the_mixture(name: str) -> None:
    references = talk(2, 0.5)
    mixture = references.sum(axis=0)
    assert np.abs(oracle(name, mixture, references, RATE).sum(axis=0) - mixture).max() < 1e-4


@pytest.mark.parametrize("name", ORACLES)
def test_an_oracle_leaves_a_silent_voice_silent_and_keeps_noise_out(name: str) -> None:
    references = talk(2, 0.5)
    references[1] = 0
    noise = 0.05 * np.random.default_rng(0).standard_normal(references.shape[1]).astype(np.float32)
    estimates = oracle(name, references[0] + noise, references, RATE)
    assert not estimates[1].any() if name != "oracle-ibm" else np.abs(estimates[1]).max() < 1e-6
    assert np.square(estimates[0] - references[0]).sum() < 0.8 * np.square(noise).sum()


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        # Noise that is a multiple of the voice has the same multiple of it in every bin, so that every mask
        # is one number.
        (
            0.5,
            {
                "oracle-ibm": 1.5,
                "oracle-irm": 1.0,
                "oracle-wiener": 1.2,
                "oracle-psm": 1.0,
                "oracle-cirm": 1.0,
            },
        ),
        (
            -0.5,
            {
                "oracle-ibm": 0.5,
                "oracle-irm": 1 / 3,
                "oracle-wiener": 0.4,
                "oracle-psm": 1.0,
                "oracle-cirm": 1.0,
            },
        ),
        (
            2.0,
            {
                "oracle-ibm": 0.0,
                "oracle-irm": 1.0,
                "oracle-wiener": 0.6,
                "oracle-psm": 1.0,
                "oracle-cirm": 1.0,
            },
        ),
    ],
)
def test_for_an_oracle_noise_is_the_other_source_of_one_voice(
    noise: float, expected: dict[str, float]
) -> None:
    voice = talk(1, 0.5)
    for name, factor in expected.items():
        estimate = oracle(name, (1 + noise) * voice[0], voice, RATE)
        assert np.abs(estimate - factor * voice).max() < 1e-4


def test_a_new_measure_is_one_entry_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def error(signals: Signals) -> dict[str, Value]:
        return {
            "error": signals.mean_of_pairs(lambda estimate, reference: np.abs(estimate - reference).max())
        }

    score = Score("error", higher_is_better=False, beside="improvement")
    monkeypatch.setitem(MEASURES, "error", Measure(error, {"error": score}))
    references = talk()
    mixture = references.sum(axis=0)
    row = measure(0.9 * references, references, mixture, RATE, ("error",))
    # the improvement of an error is by how much it is smaller than the mixture's
    assert row["errori"] == pytest.approx(np.abs(references).max(axis=1).mean() - row["error"], rel=1e-4)


def test_a_measure_that_needs_transcripts_is_missing_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Measure(
        lambda signals: {"words": float(len(signals.transcripts))},
        {"words": Score("words")},
        needs=("references", "transcripts"),
    )
    monkeypatch.setitem(MEASURES, "words", words)
    references = talk()
    row = measure(references, references, references.sum(axis=0), RATE, ("words",))
    assert row == {"words": None, "missing": "words: needs transcripts"}
