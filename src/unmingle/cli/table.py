"""Models on the terminal: the table, 80 columns wide, and cards."""

import re
import shutil
import textwrap
from typing import Any

from unmingle.catalog import Card, Elsewhere, cards, count_text, fitting, made_for, resolve
from unmingle.errors import UsageError
from unmingle.facts import LIPS, Task
from unmingle.inference.choosing import N_MORE
from unmingle.published.table import published

HEADINGS: dict[Task, str] = {"separate": "Voices apart", "enhance": "A voice out of noise"}
MEASURED = "SI-SDRi {si_sdri_db:.2f} dB, SNRi {snri_db:.2f} dB on {n} mixtures of {set}"
STAGE = re.compile(r"([\d.]+) h of mixtures in (\d+) steps and (\d+) minutes \((\w+) time, (\d+) threads\)")
#: What the commands ask the catalogue for where no model is named.
USES: dict[str, dict[str, Any]] = {
    "separate": {"task": "separate"},
    f"separate, where {N_MORE} or more speak at once": {"task": "separate", "speakers": N_MORE},
    "separate --faces": {"cue": LIPS},
    "separate --mics": {"task": "separate", "several_mics": True},
    "enhance": {"task": "enhance"},
    "live": {"task": "enhance", "streaming": True},
}


def wanted(name: str | None) -> list[Card]:
    """The cards of all models, or the one of that name; UsageError if there is none."""
    found = cards()
    if name is None:
        return found
    if any(row.name == name for row in published()) and all(card.name != name for card in found):
        raise UsageError(f"{name} is published by others; about it: unmingle models --available {name}")
    path = resolve(name)
    if chosen := [card for card in found if card.path == path]:
        return chosen
    raise UsageError(f"{name}: not in the catalogue; 'unmingle models' lists what is")


def model_table(models: list[Card], elsewhere: list[Elsewhere]) -> str:
    """One line per model, grouped by task, the default first; then what data packages would add."""
    lines: list[str] = []
    for task, heading in HEADINGS.items():
        rows = [card for card in models if card.facts.task == task]
        lines += [f"{heading:<32}{'voices':>7}{'kHz':>5}{'MB':>6}{'SI-SDRi':>9}  for", "-" * 80]
        lines += [_row(card) for card in sorted(rows, key=lambda card: (not card.default, card.name))]
        lines.append("")
    lines.append("* default: used where no model is named; the card says when, and on which set")
    lines.append("  SI-SDRi [dB] was measured: unmingle models NAME")
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
    both = f"{card.name} ({card.model})"
    shown = card.name if card.name.startswith(card.model) or len(both) > 30 else both
    gain = f"{card.measured[0]['si_sdri_db']:.1f}" if card.measured else "–"
    return (
        f"{'*' if card.default else ' '} {shown:<30}{facts.n_src or 'any':>7}{facts.sample_rate / 1000:>5g}"
        f"{card.size_bytes / 1e6:>6.1f}{gain:>9}  {made_for(facts) or 'streams' * bool(facts.state)}"
    ).rstrip()


def describe(card: Card) -> str:
    """A card as text, as wide as the terminal: one paragraph per fact."""
    facts, special = card.facts, made_for(card.facts)
    who = [] if facts.task == "enhance" else [f"{facts.n_src or 'any number of'} speakers"]
    what = [facts.task, *who, f"{facts.sample_rate / 1000:g} kHz", special, "streams" * bool(facts.state)]
    uses = [command for command, wanted in USES.items() if fitting(**wanted)[:1] == [card]]
    how, *stages = how_trained(" ".join(str(card.training).split()))
    rows = [
        ("task", ", ".join(filter(None, what))),
        ("used", ", ".join(f"by {command}" for command in uses) or f"where it is named: --model {card.name}"),
        ("size", f"{card.parameters / 1e6:.2f} M parameters, {card.size_bytes / 1e6:.1f} MB ({card.model})"),
        *(("measured", MEASURED.format(**row)) for row in card.measured),
        ("trained", how),
        *(("", stage) for stage in stages),
        *((f"licence of {what}", text) for what, text in card.licence.items()),
    ]
    purpose = special or ("" if facts.task == "enhance" else f"{count_text(facts)} speakers")
    heading = f"{card.name} (default{purpose and f' for {purpose}'})" if card.default else card.name
    width, margin = max(60, shutil.get_terminal_size().columns), " " * 21
    paragraphs = [
        textwrap.fill(f"  {label:<19}{text}", width, subsequent_indent=margin, break_on_hyphens=False)
        for label, text in rows
    ]
    return "\n".join([heading, *paragraphs])


def how_trained(text: str) -> list[str]:
    """What a card says of a training, in lines: of several stages their sums, each of them, and the rest."""
    stages = list(STAGE.finditer(text))
    if len(stages) < 2:
        return [text]
    hours, minutes = (sum(float(stage[k]) for stage in stages) for k in (1, 3))
    lines = [f"{hours:.1f} h of mixtures in {minutes / 60:.1f} h, in {len(stages)} stages:"]
    for stage in stages:
        heard, steps, took, clock, threads = stage.groups()
        on = f"{threads} thread{'' if threads == '1' else 's'}"
        lines.append(f"{heard} h, {steps} steps, {took} minutes ({clock} time, {on})")
    return [*lines, text[stages[-1].end() :].lstrip(", ")]
