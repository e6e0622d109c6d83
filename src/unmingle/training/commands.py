"""The training floor's commands: mix, train, evaluate, compare, summary, export. PyTorch is imported inside them only."""

import json
from pathlib import Path
from typing import Annotated

import typer

from unmingle.errors import UsageError

SetOfMixtures = Annotated[Path, typer.Argument(help="CSV of mixtures, or a LibriMix folder.", metavar="SET")]
Speech = Annotated[Path | None, typer.Option(help="Folder with the utterances that the CSV names, such as LibriSpeech/.")]
First = Annotated[int | None, typer.Option(min=1, help="Only the first N mixtures.")]
SampleRate = Annotated[int | None, typer.Option(min=8_000, max=192_000, help="Resample voices and mixtures to this first [Hz].")]
Backend = Annotated[str, typer.Option(help="auto, openvino, onnxruntime or torch.")]


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
    overwrite: Annotated[bool, typer.Option(help="Replace an existing set.")] = False,
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
    resume: Annotated[bool, typer.Option(help="Go on with the training in the folder, to the step.")] = False,
    init: Annotated[Path | None, typer.Option(help="Start from these weights (.safetensors).")] = None,
    quiet: Annotated[bool, typer.Option(help="No progress bar.")] = False,
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
    model: Annotated[str, typer.Argument(help="Name of a shipped model, weights (.onnx, .safetensors), oracle-… (see docs), or mixture.")],
    set_: SetOfMixtures,
    speech: Speech = None,
    csv: Annotated[Path | None, typer.Option(help="Write one row per mixture here.")] = None,
    first: First = None,
    measures: Annotated[str | None, typer.Option(help="Of si-sdr, snr, sdr, pesq, stoi, or all. [default: si-sdr,snr]")] = None,
    sample_rate: SampleRate = None,
    backend: Backend = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Measure a separator on mixtures whose voices are known: SI-SDR, SI-SDRi, SNR and SNRi, or what --measures names."""
    from unmingle.metrics import choose
    from unmingle.training.evaluation import evaluate as run
    from unmingle.training.evaluation import print_summary, write_rows

    rows, summary = run(model, set_, speech=speech, first=first, backend=backend, measures=choose(measures), sample_rate=sample_rate)
    if csv is not None:
        write_rows(rows, csv)
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
    else:
        print_summary(summary)


def compare(
    set_: SetOfMixtures,
    speech: Speech = None,
    models: Annotated[str | None, typer.Option(help="Names or weights, as a,b,c. [default: all that separate as many speakers]")] = None,
    first: First = None,
    out: Annotated[Path, typer.Option(help="Folder for the table, the rows and the picture; earlier ones are replaced.")] = Path("comparison"),
    peers: Annotated[str | None, typer.Option(help="published: a column with what papers report.")] = None,
    sample_rate: SampleRate = None,
    backend: Backend = "auto",
) -> None:
    """Measure models, the mixture itself and oracle masks on the same mixtures: one table of quality, cost and speed."""
    if peers not in (None, "published"):
        raise UsageError(f"--peers {peers}: unknown; choose published")
    from unmingle.metrics import choose
    from unmingle.training.comparison import MEASURES, choose_models
    from unmingle.training.comparison import compare as run

    choose(",".join(MEASURES))
    text = run(
        set_, out, speech=speech, models=choose_models(models), first=first, sample_rate=sample_rate, published=peers is not None, backend=backend
    )
    typer.echo(f"{text}\ntable: {out / 'compare.md'}\nfigures: {out / 'compare.csv'}\nrows: {out / 'rows.csv'}\npicture: {out / 'compare.png'}")


def summary(model: Annotated[str, typer.Argument(help="Name of a shipped model, weights (.onnx, .safetensors), or a recipe (.yaml).")]) -> None:
    """Show the layers of a model, and what it costs: parameters, MACs, latency, memory, receptive field."""
    _need_training_floor()
    from unmingle.training.summary import find_model, print_summary, summarise

    print_summary(summarise(find_model(model)))


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Weights of a training (.safetensors).")],
    name: Annotated[str, typer.Argument(help="Name under which the model is to be loaded.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the files; the package's own weights unless given.")] = None,
    default: Annotated[bool, typer.Option(help="Make it the model that is used when none is named.")] = False,
    measured: Annotated[list[Path] | None, typer.Option(help="What 'evaluate --json' printed, to stand in the card; repeatable.")] = None,
) -> None:
    """Make trained weights into a model that runs without PyTorch: NAME.onnx and its card NAME.yaml."""
    _need_training_floor()
    from unmingle.training.export import export as run

    card = run(checkpoint, name, out=out, default=default, measured=[json.loads(path.read_text(encoding="utf-8")) for path in measured or []])
    typer.echo(f"{card}")


def register(app: typer.Typer) -> None:
    """Add the commands of the training floor to the command line."""
    for command in (mix, train, evaluate, compare, summary, export):
        app.command()(command)
