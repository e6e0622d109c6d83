"""Models on the terminal: the table, 80 columns wide, and cards."""

import shutil
import textwrap

from unmingle.catalog import Card, Elsewhere
from unmingle.facts import Task

HEADINGS: dict[Task, str] = {"separate": "Voices apart", "enhance": "A voice out of noise"}
MEASURED = "SI-SDRi {si_sdri_db:.2f} dB, SNRi {snri_db:.2f} dB on {n} mixtures of {set}"


def model_table(cards: list[Card], elsewhere: list[Elsewhere]) -> str:
    """One line per model, grouped by task, the default first; then what data packages would add."""
    lines: list[str] = []
    for task, heading in HEADINGS.items():
        rows = [card for card in cards if card.facts.task == task]
        lines += [f"{heading:<40}{'voices':>7}{'kHz':>5}{'MB':>6}{'SI-SDRi':>9}  {'streams':<7}", "-" * 76]
        lines += [_row(card) for card in sorted(rows, key=lambda card: (not card.default, card.name))]
        lines.append("")
    lines.append("* default. SI-SDRi [dB] on the set that the card names: unmingle models NAME")
    for package in sorted({model.package for model in elsewhere}):
        there = [model for model in elsewhere if model.package == package]
        lines += ["", f"Not installed: {there[0].remedy}"]
        names, line = sorted(model.name for model in there), " "
        for name in names:
            if len(line) + len(name) > 76:
                lines.append(line)
                line = " "
            line += f" {name}" + ("" if name == names[-1] else ",")
        lines.append(line)
    return "\n".join(lines)


def _row(card: Card) -> str:
    facts = card.facts
    shown = card.name if card.name.startswith(card.model) else f"{card.name} ({card.model})"
    gain = f"{card.measured[0]['si_sdri_db']:.1f}" if card.measured else "–"
    return (
        f"{'*' if card.default else ' '} {shown:<38}{facts.n_src or 'any':>7}{facts.sample_rate / 1000:>5g}"
        f"{card.size_bytes / 1e6:>6.1f}{gain:>9}  {'yes' if facts.state else ''}"
    ).rstrip()


def describe(card: Card) -> str:
    """A card as text, as wide as the terminal: one paragraph per fact."""
    n_src, sample_rate = card.facts.n_src, card.facts.sample_rate
    streams = ", streams" if card.facts.state else ""
    who = "" if card.facts.task == "enhance" else f", {n_src or 'any number of'} speakers"
    rows = [
        ("task", f"{card.facts.task}{who}, {sample_rate / 1000:g} kHz{streams}"),
        ("size", f"{card.parameters / 1e6:.2f} M parameters, {card.size_bytes / 1e6:.1f} MB ({card.model})"),
        *(("measured", MEASURED.format(**row)) for row in card.measured),
        ("trained", " ".join(str(card.training).split())),
        *((f"licence of {what}", text) for what, text in card.licence.items()),
    ]
    heading = f"{card.name} (default{who and f' for {n_src} speakers'})" if card.default else card.name
    width, margin = max(60, shutil.get_terminal_size().columns), " " * 21
    facts = [
        textwrap.fill(f"  {label:<19}{text}", width, subsequent_indent=margin, break_on_hyphens=False)
        for label, text in rows
    ]
    return "\n".join([heading, *facts])
