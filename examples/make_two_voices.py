"""Make the example: two synthetic voices talking at once, and each of them alone.

    python examples/make_two_voices.py

needs flite (http://cmuflite.org; "apt install flite" on Debian) with its voices slt and rms, NumPy, soundfile
and unmingle. It writes two-voices.flac and its references beside this file; the mixture is their sum, to the
bit. The references as Opus are the voices of the web page.
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from unmingle.media.writer import AudioWriter

LENGTH = 8 * 16_000
SAMPLE_RATE = 16_000
LEVEL = 0.06  # root mean square over the whole length, of full scale

VOICES = {  # flite's name: when it begins [s], what it says
    "slt": (
        0.0,
        "The harbour was quiet that morning. Only two small boats had gone out before the fog came in, "
        "and nobody looked for them before dark.",
    ),
    "rms": (
        0.7,
        "We counted every box twice, but the number on the list never agreed with what was standing on the "
        "floor of the shop.",
    ),
}


def spoken(voice: str, text: str) -> np.ndarray:
    """What flite says, `(T,)`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", path], check=True)
        samples, sample_rate = soundfile.read(path)
    assert sample_rate == SAMPLE_RATE, f"flite's voice {voice} speaks at {sample_rate} Hz, not {SAMPLE_RATE}"
    return samples


def speak(voice: str, start_s: float, text: str) -> np.ndarray:
    """One voice, `(LENGTH,)` int16, silent before and after it speaks."""
    samples = spoken(voice, text)
    start = round(start_s * SAMPLE_RATE)
    assert start + len(samples) <= LENGTH, (
        f"{voice} speaks for {len(samples) / SAMPLE_RATE:.1f} s; shorten the text"
    )
    placed = np.zeros(LENGTH)
    placed[start : start + len(samples)] = samples
    return np.rint(placed * LEVEL / np.sqrt(np.mean(placed**2)) * 2**15).astype(np.int16)


def main() -> None:
    """Write the three files, and the web page's voices."""
    folder = Path(__file__).parent
    references = [speak(voice, start_s, text) for voice, (start_s, text) in VOICES.items()]
    for number, reference in enumerate(references, 1):
        soundfile.write(folder / f"two-voices.reference-{number}.flac", reference, SAMPLE_RATE)
    soundfile.write(folder / "two-voices.flac", sum(references), SAMPLE_RATE)
    write_page_voices(references)


def write_page_voices(references: list[np.ndarray]) -> None:
    """The voices as the page has them, small: Opus."""
    folder = Path(__file__).parents[1] / "src/unmingle/web/voices"
    for name, reference in zip(("first", "second"), references, strict=True):
        with AudioWriter(folder / f"{name}.opus", sample_rate=SAMPLE_RATE, format="opus") as writer:
            writer.write(reference[None] / np.float32(2**15))


if __name__ == "__main__":
    main()
