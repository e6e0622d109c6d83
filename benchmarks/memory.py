"""Peak memory of `unmingle separate`, from disk to disk, for a minute, ten minutes and an hour.

    python benchmarks/memory.py
    python benchmarks/memory.py --mics 8 --rates 16000 --model array

Each length is a process of its own; the system says how much memory it ever held at once (Linux and macOS).
The first one, six seconds long, finds no compiled model in the cache and has to make it.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import report
import soundfile

MINUTES = (0.1, 1, 10, 60)


def peak(source: Path, out: Path, cache: Path, model: str | None, mics: bool) -> tuple[float, float]:
    """Peak resident memory [MB] and real-time factor of separating a file, with all microphones or mixed."""
    chosen = [*(["--model", model] if model else []), *(["--mics", "all"] if mics else [])]
    result, peak_mb = report.separated(source, "--out", str(out), *chosen, **report.cache_in(cache))
    return peak_mb, result["real_time_factor"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="name or .onnx file; the default model unless given")
    parser.add_argument(
        "--rates", type=int, nargs="+", default=[16_000, 44_100], help="sample rates of the recordings [Hz]"
    )
    parser.add_argument(
        "--mics", type=int, default=1, help="channels of the recordings; all are used as microphones"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="where the recordings are made and separated, 2 GB for a while, with microphones more; a "
        "temporary one unless given",
    )
    parser.add_argument(
        "--quick", action="store_true", help="only see that it runs: 3, 6, 12 and 30 s; nothing is kept"
    )
    options = parser.parse_args()
    minutes = (0.05, 0.1, 0.2, 0.5) if options.quick else MINUTES
    before = report.machine()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        source, out = Path(name) / "talk.wav", Path(name) / "out"
        for rate in options.rates:
            talk = report.talk(60, rate)
            minute = np.stack([np.roll(talk, 5 * k) for k in range(options.mics)], axis=1)
            for length in minutes:
                n_samples = round(length * 60 * rate)
                with soundfile.SoundFile(source, "w", rate, options.mics, "PCM_16") as file:
                    for start in range(0, n_samples, len(minute)):
                        file.write(minute[: n_samples - start])
                cache = Path(name) / f"cache-{rate}"
                peak_mb, factor = peak(source, out, cache, options.model, options.mics > 1)
                shutil.rmtree(out)
                rows.append(
                    {
                        "sample rate [Hz]": rate,
                        "length [min]": length,
                        "peak memory [MB]": peak_mb,
                        "real-time factor": factor,
                    }
                )
    parts = [before, report.table(rows)]
    for index, rate in enumerate(options.rates):
        ten_minutes, hour = (row["peak memory [MB]"] for row in rows[4 * index + 2 : 4 * index + 4])
        parts.append(
            f"At {rate} Hz, {minutes[3]} minutes take {hour / ten_minutes:.3f} times the memory of "
            f"{minutes[2]} minutes."
        )
    several = f"-{options.mics}-microphones" if options.mics > 1 else ""
    report.publish(f"memory{several}", parts, keep=not options.quick)


if __name__ == "__main__":
    main()
