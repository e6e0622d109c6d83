"""The commands for AVSpeech and AudioSet: download what their tables name, build training files of it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from unmingle.cli.processing import stopping_cleanly
from unmingle.console import say
from unmingle.errors import UsageError


def avspeech_download(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            help="Table of AVSpeech (YouTube id, start, end, x, y) or AudioSet (YouTube id, start, end, "
            "labels). In the place of an id an address (https://…) is taken as it is.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for a file per row, clips.csv and failures.csv.")] = Path(
        "avspeech"
    ),
    audio_only: Annotated[
        bool, typer.Option("--audio-only", help="Sound alone, as FLAC, instead of MP4 with the picture.")
    ] = False,
    rows: Annotated[
        str | None,
        typer.Option(help="Only some rows, counted from 0: 0:100 are the first hundred. [default: all]"),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Videos that are downloaded at once.")] = 1,
    pause: Annotated[
        float,
        typer.Option(
            min=0,
            help="Least time between the beginnings of two downloads [s]; YouTube answers about 300 an hour.",
        ),
    ] = 12.0,
    height: Annotated[int, typer.Option(min=1, help="Of the largest picture that is taken [pixels].")] = 720,
) -> None:
    """Download the passages that a table of AVSpeech or AudioSet names (needs unmingle[avspeech]); a run that
    was stopped goes on, and what failed is tried again.
    """
    from unmingle.data.avspeech.download import FAILURES, download
    from unmingle.data.avspeech.rows import parse_range

    chosen = parse_range(rows)
    with stopping_cleanly():
        result = download(
            table, out, audio_only=audio_only, rows=chosen, jobs=jobs, pause_s=pause, height=height
        )
    there = result.n_rows - result.n_failed - result.n_untried
    typer.echo(f"{there} of {result.n_rows} rows in {out}, of which {result.n_before} were there")
    if result.n_failed:
        say(f"{result.n_failed} rows failed: {out / FAILURES} says why; run it again to try them again")
    if result.refused:
        remedy = "wait an hour and run it again, with a longer --pause"
        say(f"stopped with {result.n_untried} rows to go: {result.refused}; {remedy}")
    if result.n_failed or result.refused:
        raise typer.Exit(1)


def avspeech_build(
    clips: Annotated[
        Path,
        typer.Argument(help="What 'avspeech download' wrote, or another folder or CSV of voices."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for clean/, mix/ and crm/.")] = Path("avspeech-train"),
    noise: Annotated[
        Path | None, typer.Option(help="Folder or CSV of noises, which every mixture then gets one of.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of mixtures.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the pairs and noises that are drawn.")] = 1,
    noise_gain: Annotated[
        float, typer.Option(min=0, help="Of the noise, whose level is a voice's before that.")
    ] = 0.3,
    separator: Annotated[
        str,
        typer.Option(
            help="Stands between number and id in the names, 0:id.npy. Windows allows no colon in names: "
            "there choose --separator _"
        ),
    ] = ":",
) -> None:
    """Write mixtures of two voices for Looking to Listen as .npy: clean/, mix/ and crm/ (needs
    unmingle[train]); a run that was stopped goes on.
    """
    from unmingle.data.avspeech.build import build, check_separator

    check_separator(separator)
    if separator == ":" and os.name == "nt":
        raise UsageError("Windows allows no colon in file names; add --separator _")
    with stopping_cleanly():
        built = build(clips, out, noise=noise, n=n, seed=seed, noise_gain=noise_gain, separator=separator)
    typer.echo(f"{n} mixtures of {built.n_voices} voices in {out}")
    if built.n_left_out:
        say(f"{built.n_left_out} clips left out: shorter than 3 s, or silent")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(
        "avspeech download",
        epilog="Example: unmingle avspeech download avspeech_train.csv --out clips --rows 0:1000",
    )(avspeech_download)
    app.command(
        "avspeech build",
        epilog="Example: unmingle avspeech build clips --out train --noise audioset --n 10000",
    )(avspeech_build)
