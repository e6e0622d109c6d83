"""The training floor's commands: mix, train, evaluate, compare, summary, export. PyTorch is imported inside
them only.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from unmingle.console import say
from unmingle.errors import UsageError
from unmingle.facts import SAMPLE_RATES

SET = "CSV of mixtures, or a folder of WSJ0-2mix, LibriMix, WHAM! or WHAMR!"
Speech = Annotated[
    Path | None,
    typer.Option(help="Folder with the utterances and noises that the CSV names, such as LibriSpeech/."),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="Which mixtures: mix_clean, mix_both, …; of a CSV its tasks, or all. [default: the first]"
    ),
]
First = Annotated[int | None, typer.Option(min=1, help="Only the first N mixtures.")]
SampleRate = Annotated[
    int | None,
    typer.Option(
        min=SAMPLE_RATES[0], max=SAMPLE_RATES[1], help="Resample voices and mixtures to this first [Hz]."
    ),
]
Recogniser = Annotated[
    str,
    typer.Option(
        help="For wer: pocketsphinx, or vosk, faster-whisper, sherpa-onnx with the folder of a model.",
        metavar="NAME[:FOLDER]",
    ),
]
Backend = Annotated[str, typer.Option(help="auto, openvino, onnxruntime or torch.")]


def _need_training_floor() -> None:
    try:
        import lightning  # noqa: F401
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"this command needs the training floor ({error.name} is missing): pip install 'unmingle[train]'"
        ) from None


def mix(
    config: Annotated[
        Path, typer.Argument(help="Recipe (YAML) whose 'data' part says how mixtures are drawn.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, such as data.p_noise=0.5", metavar="[KEY=VALUE]...")
    ] = None,
    out: Annotated[Path, typer.Option(help="New folder for the set.")] = Path("mixtures"),
    n: Annotated[int, typer.Option("--n", min=1, help="Number of mixtures.")] = 100,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing set.")] = False,
) -> None:
    """Write a set of mixtures and their voices to disk, as a folder that `evaluate` reads."""
    _need_training_floor()
    from unmingle.data.sets import write_set
    from unmingle.training.recipe import read_recipe

    data = read_recipe(config, overrides).data
    write_set(data, out, n, overwrite=overwrite)
    typer.echo(f"{n} mixtures in {out}")


def mix_librimix(
    metadata: Annotated[Path, typer.Argument(help="CSV of LibriMix, such as libri2mix_test-clean.csv.")],
    speech: Annotated[Path, typer.Option(help="LibriSpeech, the folder that holds test-clean, ….")],
    noise: Annotated[
        Path | None, typer.Option(help="WHAM!'s noise, the folder that holds tr, cv and tt.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder in which Libri2Mix/ (or Libri3Mix/) appears.")] = Path(),
    sample_rate: Annotated[int, typer.Option(help="16000 or 8000 [Hz].")] = 16_000,
    mode: Annotated[
        str, typer.Option(help="min cuts the voices to the shortest, max pads them to the longest.")
    ] = "min",
    types: Annotated[
        str | None,
        typer.Option(
            help="mix_clean,mix_both,mix_single, or some. [default: all, but mix_clean without --noise]"
        ),
    ] = None,
) -> None:
    """Build the official LibriMix mixtures from LibriSpeech; a build that was stopped goes on."""
    from unmingle.data.librimix import build_librimix

    chosen = types.split(",") if types else None
    folder, n, n_before = build_librimix(
        metadata, speech, noise=noise, out=out, sample_rate=sample_rate, mode=mode, types=chosen
    )
    typer.echo(f"{n} mixtures in {folder}" + (f", of which {n_before} were there" if n_before else ""))


def mix_conversations(
    config: Annotated[
        Path,
        typer.Argument(help="Recipe (YAML) whose 'data' part names voices and noises, rooms and levels."),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, such as data.p_noise=0", metavar="[KEY=VALUE]...")
    ] = None,
    listed: Annotated[
        Path, typer.Option("--list", help="CSV with a row per recording: people, overlap, seconds, seed.")
    ] = Path("benchmarks/conversations.csv"),
    out: Annotated[Path, typer.Option(help="New folder for the recordings.")] = Path("conversations"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing set.")] = False,
) -> None:
    """Write conversations of several people to disk: mixture, every voice, and who spoke when."""
    _need_training_floor()
    from unmingle.evaluation.conversation_mixer import read_plans, write_conversations
    from unmingle.training.recipe import read_recipe

    plans = read_plans(listed)
    write_conversations(read_recipe(config, overrides).data, plans, out, overwrite=overwrite)
    typer.echo(f"{len(plans)} conversations in {out}")


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML), such as recipes/libri/duet.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="key=value, such as trainer.minutes=30", metavar="[KEY=VALUE]..."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for weights and curves; runs/RECIPE unless given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in the folder, to the step.")
    ] = False,
    init: Annotated[Path | None, typer.Option(help="Start from these weights (.safetensors).")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Train a separator."""
    _need_training_floor()
    from unmingle.results.pictures import plot_curves
    from unmingle.training.recipe import read_recipe
    from unmingle.training.trainer import train as run
    from unmingle.weights_file import read_header

    resolved, folder = read_recipe(recipe, overrides), out or Path("runs") / recipe.stem
    best = run(resolved, folder, resume=resume, init=init, progress=not quiet)
    plot_curves(folder / "curves.csv", folder / "curves.png")
    training = read_header(best)["training"]
    chosen_by = next(key for key in training if key.startswith("held_out_"))
    unit = "dB SI-SDRi" if chosen_by.endswith("_db") else chosen_by.removeprefix("held_out_")
    reached = f"{training[chosen_by]:.2f} {unit} on held-out speakers"
    typer.echo(f"reached: {reached}, {training['steps']} steps")
    typer.echo(f"weights: {best}\ncurves:  {folder / 'curves.png'}")


def choose_task(set_: Path, task: str | None) -> str | None:
    """The task asked for; where a set offers several and none was, the first is measured, and it says so."""
    from unmingle.data.sets import tasks

    choices = tasks(set_)
    if task is None and len(choices) > 1:
        say(f"{set_}: measuring {choices[0]}; --task also knows {', '.join(choices[1:])}")
    return task


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A model, weights (.onnx, .safetensors), oracle-…, mvdr, gev, noisereduce, rnnoise, mixture."
        ),
    ],
    set_: Annotated[
        Path, typer.Argument(help=f"{SET}, or a folder of recordings without references.", metavar="SET")
    ],
    speech: Speech = None,
    task: Task = None,
    csv: Annotated[Path | None, typer.Option(help="Write one row per mixture here.")] = None,
    first: First = None,
    measures: Annotated[
        str | None,
        typer.Option(
            help="Of si-sdr, snr, sdr, pesq, stoi, dnsmos, or all of these; wer. [default: si-sdr,snr]"
        ),
    ] = None,
    recogniser: Recogniser = "pocketsphinx",
    sample_rate: SampleRate = None,
    backend: Backend = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Measure a separator on mixtures whose voices are known: SI-SDR, SI-SDRi, SNR and SNRi, or what
    --measures names.

    Of recordings without references, DNSMOS before and after is measured; with --measures wer, how many words
    per minute a recogniser hears, and how sure it is.
    """
    from unmingle.data.sets import read_plain
    from unmingle.evaluation.evaluate import evaluate as run
    from unmingle.evaluation.evaluate import print_summary, write_rows
    from unmingle.metrics import DEFAULT_REFERENCE_FREE, choose

    task = choose_task(set_, task)
    chosen = choose(",".join(DEFAULT_REFERENCE_FREE) if measures is None and read_plain(set_) else measures)
    rows, summary = run(
        model,
        set_,
        speech=speech,
        task=task,
        first=first,
        backend=backend,
        measures=chosen,
        sample_rate=sample_rate,
        recogniser=recogniser,
    )
    if csv is not None:
        write_rows(rows, csv)
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
    else:
        print_summary(summary)
        if csv is not None:
            typer.echo(f"rows: {csv}")


def compare(
    set_: Annotated[Path, typer.Argument(help=f"{SET}.", metavar="SET")],
    speech: Speech = None,
    task: Task = None,
    models: Annotated[
        str | None,
        typer.Option(help="Names or weights, as a,b,c. [default: all that fit the number of speakers]"),
    ] = None,
    first: First = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the table, the rows and the picture; earlier ones are replaced.")
    ] = Path("comparison"),
    measures: Annotated[
        str | None, typer.Option(help="As for evaluate. [default: si-sdr,sdr,pesq,stoi]")
    ] = None,
    recogniser: Recogniser = "pocketsphinx",
    peers: Annotated[str | None, typer.Option(help="published: a column with what papers report.")] = None,
    sample_rate: SampleRate = None,
    backend: Backend = "auto",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Keep what rows.csv in the folder holds of the same mixtures and weights."
        ),
    ] = False,
) -> None:
    """Measure models, the mixture itself and oracle masks on the same mixtures: one table of quality, cost
    and speed.
    """
    if peers not in (None, "published"):
        raise UsageError(f"--peers {peers}: unknown; choose published")
    from unmingle.evaluation.compare import MEASURES, choose_models
    from unmingle.evaluation.compare import compare as run
    from unmingle.metrics import choose

    chosen = choose(",".join(MEASURES) if measures is None else measures)
    text = run(
        set_,
        out,
        speech=speech,
        task=choose_task(set_, task),
        models=choose_models(models),
        first=first,
        sample_rate=sample_rate,
        measures=chosen,
        recogniser=recogniser,
        published=peers is not None,
        backend=backend,
        resume=resume,
    )
    written = {"table": "compare.md", "figures": "compare.csv", "rows": "rows.csv", "picture": "compare.png"}
    typer.echo("\n".join([text, *(f"{what}: {out / name}" for what, name in written.items())]))


def summary(
    model: Annotated[
        str,
        typer.Argument(help="Name of a shipped model, weights (.onnx, .safetensors), or a recipe (.yaml)."),
    ],
) -> None:
    """Show the layers of a model, and what it costs: parameters, MACs, latency, memory, receptive field."""
    _need_training_floor()
    from unmingle.evaluation.summary import find_model, print_summary, summarise

    print_summary(summarise(find_model(model)), model)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Weights of a training (.safetensors).")],
    name: Annotated[str, typer.Argument(help="Name under which the model is to be loaded.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files; the package's own weights unless given.")
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="Make it the model that is used when none is named.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model of this name.")] = False,
    measured: Annotated[
        list[Path] | None,
        typer.Option(help="What 'evaluate --json' printed, to stand in the card; repeatable."),
    ] = None,
) -> None:
    """Make trained weights into a model that runs without PyTorch: NAME.onnx and its card NAME.yaml."""
    _need_training_floor()
    from unmingle.training.export import export as run
    from unmingle.training.export import read_summary

    summaries = [read_summary(path) for path in measured or []]
    card = run(checkpoint, name, out=out, default=default, overwrite=overwrite, measured=summaries)
    typer.echo(f"{card.with_suffix('.onnx')}\n{card}")


def register(app: typer.Typer) -> None:
    """Add the commands of the training floor to the command line."""
    app.command(
        epilog="The official LibriMix: unmingle mix librimix. Conversations: unmingle mix conversations"
    )(mix)
    app.command(
        "mix librimix", epilog="Example: unmingle mix librimix libri2mix_test-clean.csv --speech LibriSpeech/"
    )(mix_librimix)
    app.command(
        "mix conversations",
        epilog="Example: unmingle mix conversations recipes/libri/conversations.yaml --out conversations",
    )(mix_conversations)
    for command in (train, evaluate, compare, summary, export):
        app.command()(command)
