"""What is heard on gallery.md and on the start page: unmingle itself is run when the site is built.

All voices are synthetic: `examples/make_two_voices.py` and `examples/make_conversation.py` made them with flite.
A page has the players where it says `<!-- players: NAME -->`, and a picture below them at `<!-- scene: NAME -->`.
"""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import unmingle
from unmingle.media.writer import AudioWriter
from unmingle.web.noises import Noise, write_mixture

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".cache/gallery"
MADE_OF = ("src/unmingle/inference", "src/unmingle/weights", "src/unmingle/web/noises.py", "examples", "docs/hooks")
MARK = re.compile(r"<!-- (players|scene): (.+) -->")


@dataclass(frozen=True)
class Scene:
    """A recording, and what is made of it.

    Attributes:
        mixture: file in examples/.
        captions: of the files to be heard, by their names.
        noise: is added before, and removed again; without it voices are separated.
    """

    mixture: str
    captions: dict[str, str]
    noise: Noise | None = None

    def make(self, name: str) -> None:
        """Write the files into a folder of `KEPT`, with the recording itself as mixture.mp3."""
        with tempfile.TemporaryDirectory() as folder:
            source = ROOT / "examples" / self.mixture
            if self.noise:
                source = Path(folder) / "noisy.wav"
                write_mixture(ROOT / "examples" / self.mixture, source, self.noise)
            run = unmingle.enhance_file if self.noise else unmingle.separate_file
            run(source, out=KEPT, stem=name, format="mp3", rest=True, plot=True, overwrite=True)
            samples, sample_rate = soundfile.read(source, dtype="float32")
        with AudioWriter(KEPT / name / "mixture.mp3", sample_rate=sample_rate, format="mp3") as writer:
            writer.write(samples[None])


NOISY = {"mixture": "The recording", "voice": "The voice", "rest": "What was removed"}
SCENES = {
    "two-voices": Scene(
        "two-voices.flac",
        {"mixture": "The recording", "speaker-1": "Speaker 1", "speaker-2": "Speaker 2", "rest": "The rest"},
    ),
    "street": Scene("two-voices.reference-1.flac", NOISY, Noise("street", 5.0)),
    "air-conditioner": Scene("two-voices.reference-2.flac", NOISY, Noise("air-conditioner", 0.0)),
    "conversation": Scene(
        "conversation.flac",
        {"mixture": "The recording", **{f"speaker-{k}": f"Speaker {k}" for k in (1, 2, 3)}, "rest": "The rest"},
    ),
}


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Make what is missing or older than what it is made of, and add it to the site."""
    newest = max(path.stat().st_mtime for name in MADE_OF for path in everything(ROOT / name))
    for name, scene in SCENES.items():
        last = KEPT / name / "mixture.mp3"
        if not last.exists() or last.stat().st_mtime < newest:
            scene.make(name)
        for path in sorted((KEPT / name).glob("*.[mp][pn][3g]")):
            files.append(File.generated(config, f"gallery/{name}/{path.name}", abs_src_path=str(path)))


def everything(path: Path) -> Iterator[Path]:
    """A file, or the files in a folder."""
    yield from (each for each in ([path] if path.is_file() else path.rglob("*.*")) if "__pycache__" not in each.parts)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the players in the place of the page's marks; KeyError for a scene that there is not."""
    return MARK.sub(lambda mark: players(mark[2]) + picture(mark[2]) * (mark[1] == "scene"), markdown)


def players(name: str) -> str:
    """One row for each file of a scene."""
    rows = [
        f'<div class="player"><span>{caption}</span>'
        f'<audio controls preload="metadata" aria-label="{caption}" src="gallery/{name}/{file}.mp3"></audio></div>'
        for file, caption in SCENES[name].captions.items()
    ]
    return "\n".join(rows)


def picture(name: str) -> str:
    """Who speaks when where there is one, else the spectrograms."""
    who, spectrograms = (f"gallery/{name}/{file}.png" for file in ("timeline", "spectrogram"))
    shown = ("Who speaks when", who) if (KEPT.parent / who).exists() else ("Spectrograms", spectrograms)
    return f"\n\n![{shown[0]}]({shown[1]})\n"
