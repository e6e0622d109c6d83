"""The training floor's commands: mix, train, evaluate, export. PyTorch is imported inside them only."""

import json
from pathlib import Path
from typing import Annotated

import typer

from unmingle.errors import UsageError


def _need_training_floor() -> None:
    try:
        import lightning  # noqa: F401
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise UsageError(f"this command needs PyTorch and Lightning ({error.name} is missing): pip install 'unmingle[train]'") from None


def mix(
    config: Annotated[Path, typer.Argument(help="Recipe (YAML) whose 'data' part says how mixtures are drawn.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, such as data.p_noise=0.5", metavar="[KEY=VALUE]...")] = None,
    out: Annotated[Path, typer.Option(help="New folder for the set.")] = Path("mixtures"),
    n: Annotated[int, typer.Option("--n", min=1, help="Number of mixtures.")] = 100,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing set.")] = False,
) -> None:
    """Write a set of mixtures and their voices to disk, as a folder that `evaluate` reads."""
    from unmingle.data.sets import write_set
    from unmingle.training.recipe import read_recipe

    data = read_recipe(config, overrides).data
    write_set(data, out, n, overwrite=overwrite)
    typer.echo(f"{n} mixtures in {out}")


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML), such as recipes/libri/duet.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, such as trainer.minutes=30", metavar="[KEY=VALUE]...")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for weights and curves; runs/RECIPE unless given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in the folder, to the step.")] = False,
    init: Annotated[Path | None, typer.Option(help="Start from these weights (.safetensors).")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train a separator."""
    from unmingle.training.recipe import read_recipe

    resolved, folder = read_recipe(recipe, overrides), out or Path("runs") / recipe.stem
    _need_training_floor()
    from unmingle.pictures import plot_curves
    from unmingle.training.trainer import train as run

    best = run(resolved, folder, resume=resume, init=init, progress=not quiet)
    plot_curves(folder / "curves.csv", folder / "curves.png")
    typer.echo(f"weights: {best}\ncurves:  {folder / 'curves.png'}")


def evaluate(
    model: Annotated[str, typer.Argument(help="Name of a shipped model, or weights (.onnx, .safetensors).")],
    set_: Annotated[Path, typer.Argument(help="CSV of mixtures, or a LibriMix folder.", metavar="SET")],
    speech: Annotated[Path | None, typer.Option(help="Folder with the utterances that the CSV names, such as LibriSpeech/.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write one row per mixture here.")] = None,
    first: Annotated[int | None, typer.Option(min=1, help="Only the first N mixtures.")] = None,
    backend: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or torch.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Measure a separator on mixtures whose voices are known: SI-SDR, SI-SDRi, SNR and SNRi."""
    from unmingle.training.evaluation import evaluate as run
    from unmingle.training.evaluation import print_summary, write_rows

    rows, summary = run(model, set_, speech=speech, first=first, backend=backend)
    if csv is not None:
        write_rows(rows, csv)
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
    else:
        print_summary(summary)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Weights of a training (.safetensors).")],
    name: Annotated[str, typer.Argument(help="Name under which the model is to be loaded.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the files; the package's own weights unless given.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the model that is used when none is named.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model of this name.")] = False,
    measured: Annotated[list[Path] | None, typer.Option(help="What 'evaluate --json' printed, to stand in the card; repeatable.")] = None,
) -> None:
    """Make trained weights into a model that runs without PyTorch: NAME.onnx and its card NAME.yaml."""
    _need_training_floor()
    from unmingle.training.export import export as run
    from unmingle.training.export import read_summary

    summaries = [read_summary(path) for path in measured or []]
    typer.echo(f"{run(checkpoint, name, out=out, default=default, overwrite=overwrite, measured=summaries)}")


def register(app: typer.Typer) -> None:
    """Add the commands of the training floor to the command line."""
    for command in (mix, train, evaluate, export):
        app.command()(command)
