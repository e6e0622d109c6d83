"""What is heard on gallery.md and on the start page: unmingle itself is run when the site is built.

All voices are synthetic: `examples/make_two_voices.py` and `examples/make_conversation.py` made them with
flite. A page has the players where it says `<!-- scene: NAME -->`, and a picture below them.
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
EXAMPLES = ROOT / "examples"
KEPT = ROOT / ".cache/gallery"
MADE_OF = [ROOT / "src/unmingle" / name for name in ("inference", "weights", "web/noises.py")]
MARK = re.compile(r"<!-- scene: (.+) -->")


@dataclass(frozen=True)
class Scene:
    """A recording, and what is made of it.

    Attributes:
        recording: file in examples/.
        noise: is added before, and removed again; without it voices are separated.
    """

    recording: str
    noise: Noise | None = None

    def make(self, name: str) -> None:
        """Write the files into a folder of `KEPT`, with the mixture itself as mixture.mp3."""
        with tempfile.TemporaryDirectory() as folder:
            source = EXAMPLES / self.recording
            if self.noise:
                source = Path(folder) / "noisy.wav"
                write_mixture(EXAMPLES / self.recording, source, self.noise)
            run = unmingle.enhance_file if self.noise else unmingle.separate_file
            run(source, out=KEPT, stem=name, format="mp3", rest=True, plot=True, overwrite=True)
            samples, sample_rate = soundfile.read(source, dtype="float32")
        with AudioWriter(KEPT / name / "mixture.mp3", sample_rate=sample_rate, format="mp3") as writer:
            writer.write(samples[None])


SCENES = {
    "two-voices": Scene("two-voices.flac"),
    "conversation": Scene("conversation.flac"),
    "street": Scene("two-voices.reference-1.flac", Noise("street", 5.0)),
    "air-conditioner": Scene("two-voices.reference-2.flac", Noise("air-conditioner", 0.0)),
}


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Make what is missing or older than what it is made of, and add it to the site."""
    newest = max(path.stat().st_mtime for path in everything(Path(__file__), EXAMPLES, *MADE_OF))
    for name, scene in SCENES.items():
        last = KEPT / name / "mixture.mp3"
        if not last.exists() or last.stat().st_mtime < newest:
            scene.make(name)
        for path in sorted(each for each in (KEPT / name).iterdir() if each.suffix in (".mp3", ".png")):
            files.append(File.generated(config, f"gallery/{name}/{path.name}", abs_src_path=str(path)))


def everything(*paths: Path) -> Iterator[Path]:
    """The files, and those in the folders."""
    for path in paths:
        found = [path] if path.is_file() else path.rglob("*.*")
        yield from (each for each in found if "__pycache__" not in each.parts)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the scenes in the place of the page's marks; KeyError for a scene that there is not."""
    return MARK.sub(lambda mark: players(mark[1]), markdown)


def players(name: str) -> str:
    """A row for each file of a scene, the mixture first; then who speaks when, or the spectrograms."""
    rest = "What was removed" if SCENES[name].noise else "The rest"
    sounds = sorted(path.stem for path in (KEPT / name).glob("*.mp3") if path.stem not in ("mixture", "rest"))
    captions = {"mixture": "The recording", **{each: each.replace("-", " ") for each in sounds}, "rest": rest}
    rows = [
        f'<div class="player"><span>{caption.capitalize()}</span><audio controls preload="metadata" '
        f'aria-label="{caption}" src="gallery/{name}/{file}.mp3"></audio></div>'
        for file, caption in captions.items()
    ]
    timeline = KEPT / name / "timeline.png"
    shown = "Who speaks when" if timeline.exists() else "Spectrograms"
    picture = timeline.name if timeline.exists() else "spectrogram.png"
    return "\n".join([*rows, "", f"![{shown}](gallery/{name}/{picture})"])
