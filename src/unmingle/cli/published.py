"""Commands for separators that others have published."""

from pathlib import Path
from typing import Annotated

import typer

from unmingle.cli.processing import stopping_cleanly


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="File that 'torch.save(model.serialize(), …)' wrote.")],
    format: Annotated[str, typer.Option(help="The project that wrote it: asteroid.")],
    name: Annotated[str | None, typer.Option(help="Name of the model. [default: that of the file]")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files; the user's own models unless given.")
    ] = None,
    sample_rate: Annotated[
        int | None, typer.Option(help="Of a checkpoint that does not say its own [Hz].")
    ] = None,
) -> None:
    """Make a separator of another project into a model: NAME.onnx and its card; PyTorch is needed once."""
    from unmingle.published.importing import import_checkpoint

    with stopping_cleanly():
        card = import_checkpoint(checkpoint, format=format, name=name, out=out, sample_rate=sample_rate)
    print(card.with_suffix(".onnx"), card, sep="\n")


def remove(name: Annotated[str, typer.Argument(help="Of a model that was imported.")]) -> None:
    """Delete an imported model from the user's own folder."""
    from unmingle.catalog import remove as run

    run(name)
    print(f"{name} is removed")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("import", epilog="Example: unmingle import model.pth --format asteroid --name ours")(import_)
    app.command(epilog="Example: unmingle remove ours")(remove)
