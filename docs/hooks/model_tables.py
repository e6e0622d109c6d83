"""The tables of models/index.md, made of the cards that lie beside the weights."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from unmingle.catalog import WEIGHTS, Card, made_for
from unmingle.cli.table import MEASURED

ROOT = Path(__file__).parents[2]
HEADINGS = "model", "SI-SDRi [dB]", "voices", "kHz", "parameters [M]", "MB", "network", "for"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put a table in the place of each of the page's marks."""
    if page.file.src_uri != "models/index.md":
        return markdown
    shipped, classics = cards(WEIGHTS), cards(*ROOT.glob("packages/*/src/*"))
    made = {
        "separators": table([card for card in shipped if card.facts.task == "separate"]),
        "enhancers": table([card for card in shipped if card.facts.task == "enhance"]),
        "classics": table(classics),
        "figures": "\n\n".join(figures(card) for card in shipped + classics),
    }
    for name, text in made.items():
        mark = f"<!-- {name} -->"
        if mark not in markdown:
            raise ValueError(f"models/index.md: the mark {mark} is gone; put it where the table goes")
        markdown = markdown.replace(mark, text)
    return markdown


def cards(*folders: Path) -> list[Card]:
    """Those of the repository, whatever else is installed; the defaults first."""
    found = [Card.read(path.with_suffix(".yaml")) for folder in folders for path in folder.glob("*.onnx")]
    return sorted(found, key=lambda card: (not card.default, card.name))


def table(some: list[Card]) -> str:
    """One row per model."""
    rows = [HEADINGS, ("---", *["--:"] * 5, "---", "---")]
    for card in some:
        facts = card.facts
        gain = f"{card.measured[0]['si_sdri_db']:.1f}" if card.measured else "–"
        purpose = ", ".join(filter(None, [made_for(facts), "streams" if facts.state else ""]))
        rows.append(
            (
                f"[{card.name}](#{card.name})" + " (default)" * card.default,
                gain,
                str(facts.n_src or "any"),
                f"{facts.sample_rate / 1000:g}",
                f"{card.parameters / 1e6:.2f}",
                f"{card.size_bytes / 1e6:.1f}",
                f"[{card.model}]({card.model}.md)",
                purpose,
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def figures(card: Card) -> str:
    """What was measured, by which command, and the licences; folded until a link leads to it."""
    lines = [f'<details id="{card.name}" markdown><summary>{card.name}</summary>', ""]
    lines += [f"- {MEASURED.format(**row)}: `{row['command']}`" for row in card.measured]
    licence = "; ".join(f"{what}: {text}" for what, text in card.licence.items())
    return "\n".join([*lines, f"- licences: {licence}", "", "</details>"])
