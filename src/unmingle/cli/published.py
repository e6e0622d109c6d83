"""Commands for separators that others have published."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmingle.cli.processing import stopping_cleanly
from unmingle.published.table import FORMATS

if TYPE_CHECKING:
    from unmingle.published.table import Published

Out = Annotated[Path | None, typer.Option(help="Folder for the files; the user's own models unless given.")]


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="File or folder, as the project writes it.")],
    format: Annotated[str, typer.Option(help=f"The project that wrote it: {', '.join(FORMATS)}.")],
    name: Annotated[str | None, typer.Option(help="Name of the model. [default: that of the file]")] = None,
    out: Out = None,
    sample_rate: Annotated[
        int | None, typer.Option(help="Of a checkpoint that does not say its own [Hz].")
    ] = None,
) -> None:
    """Make a separator of another project into a model: NAME.onnx and its card; PyTorch is needed once."""
    from unmingle.published.importing import import_checkpoint

    with stopping_cleanly():
        card = import_checkpoint(checkpoint, format=format, name=name, out=out, sample_rate=sample_rate)
    print(card.with_suffix(".onnx"), card, sep="\n")


def get(
    name: Annotated[str, typer.Argument(help="A name from 'unmingle models --available'.")],
    as_name: Annotated[
        str | None, typer.Option("--name", help="Name of the model here. [default: the same]")
    ] = None,
    out: Out = None,
) -> None:
    """Download a separator that others have published, and make it into a model (needs unmingle[hub])."""
    from unmingle.published.hub import get as run

    with stopping_cleanly():
        card = run(name, as_name=as_name, out=out)
    print(card.with_suffix(".onnx"), card, sep="\n")


def remove(name: Annotated[str, typer.Argument(help="Of a model that was imported.")]) -> None:
    """Delete an imported model from the user's own folder."""
    from unmingle.catalog import remove as run

    run(name)
    print(f"{name} is removed")


def list_published(name: str | None, as_json: bool) -> None:
    """Print what others have published, or one row of it with its licences."""
    from unmingle.published.table import find_published, published

    rows = published() if name is None else [find_published(name)]
    if as_json:
        print(json.dumps({"available": [asdict(row) for row in rows]}, indent=1))
    elif name is None:
        print(published_table(rows))
    else:
        print(describe_published(rows[0]))


def published_table(rows: list["Published"]) -> str:
    """One line per model, grouped by task; last those that cannot be converted."""
    from unmingle.cli.table import HEADINGS

    groups = {
        f"{heading}, to get": [row for row in rows if row.download and row.task == task]
        for task, heading in HEADINGS.items()
    }
    lines = []
    for heading, some in {**groups, "No download here": [row for row in rows if not row.download]}.items():
        lines += [f"{heading:<37}{'voices':>7}{'kHz':>5}{'M':>7}{'MB':>6}{'SI-SDRi':>9}", "-" * 71]
        for row in some:
            n_src, rate = row.n_src or "?", "?" if row.sample_rate is None else f"{row.sample_rate / 1000:g}"
            size = "?" if row.size_mb is None else f"{row.size_mb:.1f}"
            millions = "?" if row.parameters is None else f"{row.parameters / 1e6:.2f}"
            gain = "?" if row.si_sdri_db is None else f"{row.si_sdri_db:.1f}"
            lines.append(f"  {row.name:<35}{n_src:>7}{rate:>5}{millions:>7}{size:>6}{gain:>9}")
        lines.append("")
    lines.append("To get one: unmingle get NAME")
    lines.append("M: parameters in millions; SI-SDRi [dB]: its authors' figure; ?: not verified")
    lines.append("Sets, licences and sources: unmingle models --available NAME")
    return "\n".join(lines)


def describe_published(row: "Published") -> str:
    """A row as text: one line per fact."""
    unknown, voices = "unknown", "voice" if row.n_src == 1 else "voices"
    rows = [
        ("network", f"{row.network}, {f'{row.parameters:,}' if row.parameters else unknown} parameters"),
        ("task", f"{row.task}, {row.n_src or unknown} {voices}, {row.sample_rate or unknown} Hz"),
        ("published", row.set if row.si_sdri_db is None else f"SI-SDRi {row.si_sdri_db} dB on {row.set}"),
        *((f"licence of {what}", text) for what, text in row.licence.items()),
        ("download", f"{row.size_mb or unknown} MB"),
        ("source", row.source),
        ("", f"unmingle get {row.name}" if row.download else row.why_not),
    ]
    return "\n".join([row.name, *(f"  {label:<19}{text}" for label, text in rows)])


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("import", epilog="Example: unmingle import model.pth --format asteroid --name ours")(import_)
    app.command(epilog="Example: unmingle get conv-tasnet-libri2-clean-16k")(get)
    app.command(epilog="Example: unmingle remove ours")(remove)
