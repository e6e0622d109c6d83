"""What papers report, beside what is measured here."""

import csv
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

PUBLISHED = Path(__file__).with_name("published.csv")


def read_published(n_src: int) -> list[dict[str, str]]:
    """What papers report for so many speakers; SI-SDRi or SDRi on the sets that they used."""
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if int(row["n_src"]) == n_src]


def published_name(name: str, figures: Iterable[dict[str, str]]) -> str | None:
    """The published model that weights of this name are of: the longest name that theirs begins with, as
    `dprnn` is in `dprnn-small`.
    """
    known = {row["model"] for row in figures}
    return max((row for row in known if f"{name}-".startswith(f"{row}-")), key=len, default=None)


def figure(row: dict[str, str]) -> str:
    """A published figure with what it is and where it was measured."""
    variant = f", {row['variant']}" if row["variant"] else ""
    return f"{row['db']} {row['measure']} on {row['set']}{variant}"


def other_published(names: list[str], figures: list[dict[str, str]]) -> Iterator[str]:
    """A paragraph on the published models that have no row of their own."""
    used = {published_name(name, figures) for name in names}
    others = [row for row in figures if row["model"] not in used]
    if others:
        lines = [
            "Published, on other data, and not measured here [dB]:\n",
            "| model | parameters [M] | published |",
            "|---|---|---|",
        ]
        for name, group in groupby(others, lambda row: row["model"]):
            figures = list(group)
            lines.append(
                f"| {name} | {figures[0]['parameters_m'] or '–'} | {'; '.join(map(figure, figures))} |"
            )
        yield "\n".join(lines)
