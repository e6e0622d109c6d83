"""The command line. Each command calls one function of the package; what takes long to import is imported
where it is used.
"""

import json
import os
import sys
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unmingle import __version__
from unmingle.cli import avspeech, bench, published
from unmingle.cli.many import Engine, MaxFailures, Retries, Workers, how_many, process
from unmingle.cli.options import file_options, microphones, wanted_faces
from unmingle.cli.processing import explain, stopping_cleanly
from unmingle.console import say
from unmingle.errors import UsageError

INTERRUPTED = 130


class Commands(TyperGroup):
    """Finds a command whose name is two words, such as "mix librimix", before the one named by the first; its
    help has each command's first sentence whole.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            rows = [(name, command.get_short_help_str(limit=500)) for name, command in self.commands.items()]
            formatter.write_dl(rows)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        both = " ".join(args[:2])
        return super().resolve_command(ctx, [both, *args[2:]] if both in self.commands else args)


app = typer.Typer(
    name="unmingle",
    cls=Commands,
    help="Recordings in which people talk over each other, or over noise, go in; each voice comes out.",
    epilog="Start with: unmingle separate talk.mp3",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def about(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"unmingle {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Audio or video files; folders are walked; addresses (s3, gs, http); - is standard input.",
    ),
]
Out = Annotated[
    str, typer.Option(help="Folder for the results, one folder per input in it; also s3:// or gs://.")
]
Format = Annotated[str, typer.Option(help="wav, flac, mp3, m4a or opus.")]
Channel = Annotated[str, typer.Option(help="mix, or the number of the one channel to take.")]
Start = Annotated[str | None, typer.Option(help="Where the passage begins: seconds, mm:ss or hh:mm:ss.")]
End = Annotated[str | None, typer.Option(help="Where the passage ends.")]
Plot = Annotated[
    bool, typer.Option("--plot", help="Also draw spectrograms and masks (needs unmingle[plot]).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier results.")]
Track = Annotated[int | None, typer.Option(min=1, help="Number of the audio track. [default: the first]")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at damage in the middle of a file.")]
For = Annotated[
    str,
    typer.Option(
        "--for", help="listening, or recognition: leave as much of the recording as a recogniser can bear."
    ),
]


@app.command(epilog="Example: unmingle separate talk.mp3 meetings/ --out voices --format flac")
def separate(
    inputs: Inputs,
    out: Out = "separated",
    speakers: Annotated[
        str | None,
        typer.Option(
            help="Number of people, 1 to 8; a range such as 2-4; or auto, which finds it. [default: auto, or "
            "what the model named returns]"
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A name from 'unmingle models', or a weights file. [default: the best]"),
    ] = None,
    format: Format = "wav",
    channel: Channel = "mix",
    mics: Annotated[
        str | None,
        typer.Option(
            help="Use the channels as microphones of one scene: all, or the numbers of two or more, such as "
            "1,3. [default: channels are mixed]"
        ),
    ] = None,
    reference_mic: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of the microphone at which the voices are estimated. [default: the best signal]",
        ),
    ] = None,
    start: Start = None,
    end: End = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Only the person whose voice is in this file, 5 to 30 s; may be given again."),
    ] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="Tell people apart by sight: the voice of each face of a video.")
    ] = False,
    face: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Only the face of this number; if given again, several faces together."),
    ] = None,
    face_at: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y@TIME", help="The same, by a point in the face [pixels] and a time."),
    ] = None,
    video: Annotated[
        bool, typer.Option("--video", help="Also write a copy of the video for each face, with its voice.")
    ] = False,
    leakage: Annotated[
        float,
        typer.Option(help="How much of the others stays where a person is silent, 0 (silence) to 1."),
    ] = 0.0,
    purpose: For = "listening",
    rest: Annotated[bool, typer.Option("--rest", help="Also write what no voice has.")] = False,
    plot: Plot = False,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    track: Track = None,
    strict: Strict = False,
    engine: Engine = None,
    workers: Workers = None,
    retries: Retries = 2,
    max_failures: MaxFailures = None,
) -> None:
    """Separate recordings of people who talk, also at once: one file per person, as long as the input and in
    step with it, and who spoke when. With --faces, one per person who is seen, told apart by their lips.
    """
    from unmingle.catalog import resolve
    from unmingle.inference.choosing import as_lip_reader, number_of_people
    from unmingle.inference.faces import only_faces
    from unmingle.inference.options import FileOptions
    from unmingle.inference.outputs import output_stems
    from unmingle.inference.purpose import for_recognition
    from unmingle.runtime.loading import load

    options = file_options(format, channel, start, end, purpose)
    options |= {"rest": rest, "plot": plot, "overwrite": overwrite, "track": track, "strict": strict}
    options |= microphones(mics, reference_mic)
    FileOptions(**options)  # what is wrong with them is wrong for every file
    number_of_people(speakers or "auto")  # as above
    if not 0 <= leakage <= 1:
        raise UsageError(f"--leakage {leakage:g}: out of range; choose 0 (silence) to 1")
    many = how_many(inputs, out, engine, workers, retries, max_failures)
    options |= {"speakers": speakers, "leakage": leakage}
    if wanted := wanted_faces(faces, face, face_at):
        only_faces({"--speakers": speakers, "--target": target, "--mics": mics}, "--faces")
        for_recognition(options["purpose"], wanted)
        options |= {"faces": wanted, "video": video, "model": as_lip_reader(model)}
    elif video:
        raise UsageError("--video makes copies for faces; add --faces")
    else:
        several = mics is not None
        options["model"] = load(model, task="separate", several_mics=several) if model else None
        if several and not model:
            resolve(task="separate", several_mics=True)  # there must be one
    if target:
        options["targets"] = dict(zip(output_stems(target), target, strict=True))
    raise typer.Exit(process(inputs, out, "separate", as_json, many, model, **options))


@app.command(epilog="Example: unmingle enhance interview.mp4 --keep 0.1 --rest")
def enhance(
    inputs: Inputs,
    out: Out = "enhanced",
    model: Annotated[
        str | None,
        typer.Option(
            help="A name from 'unmingle models' that enhances, or a weights file. [default: the best]"
        ),
    ] = None,
    keep: Annotated[
        float, typer.Option(help="Share of the noise that stays, 0 to 1; a little sounds more natural.")
    ] = 0.0,
    format: Format = "wav",
    channel: Channel = "mix",
    start: Start = None,
    end: End = None,
    purpose: For = "listening",
    rest: Annotated[bool, typer.Option("--rest", help="Also write what was removed.")] = False,
    plot: Plot = False,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    track: Track = None,
    strict: Strict = False,
    engine: Engine = None,
    workers: Workers = None,
    retries: Retries = 2,
    max_failures: MaxFailures = None,
) -> None:
    """Take a voice out of noise: one file per recording, as long as the input and in step with it."""
    from unmingle.inference.options import FileOptions
    from unmingle.runtime.loading import load

    if not 0 <= keep <= 1:
        remedy = "give the share of the noise that stays, from 0 (none) to 1 (all)"
        raise UsageError(f"--keep {keep:g}: out of range; {remedy}")
    options = file_options(format, channel, start, end, purpose)
    options |= {"rest": rest, "plot": plot, "overwrite": overwrite, "track": track, "strict": strict}
    FileOptions(**options)  # what is wrong with them is wrong for every file
    many = how_many(inputs, out, engine, workers, retries, max_failures)
    options |= {"keep": keep, "model": load(model, task="enhance")}
    raise typer.Exit(process(inputs, out, "enhance", as_json, many, model, **options))


@app.command(epilog="Example: arecord -t raw -f S16_LE -r 16000 | unmingle live - | aplay -f S16_LE -r 16000")
def live(
    source: Annotated[
        str,
        typer.Argument(
            metavar="[-]", help="- reads raw mono samples from standard input and writes to standard output."
        ),
    ] = "",
    model: Annotated[
        str | None,
        typer.Option(help="A model that streams, or a weights file. [default: the one that enhances]"),
    ] = None,
    format: Annotated[str, typer.Option(help="Of the raw samples: s16 or f32, little-endian.")] = "s16",
    block_ms: Annotated[
        float, typer.Option(help="How much is processed at once, rounded to whole hops of the model.")
    ] = 16,
    device: Annotated[
        str | None, typer.Option(help="Sound device, by number or part of its name. [default: the system's]")
    ] = None,
) -> None:
    """Clean what a microphone or a pipe brings, as it comes: latency is stated, drop-outs are counted."""
    from unmingle.inference.live import SAMPLE_FORMATS, from_microphone, from_pipe
    from unmingle.inference.streaming import Stream

    if source not in ("", "-"):
        raise UsageError(
            f"{source}: live reads a microphone or, with -, raw samples from a pipe; for a file use: "
            f"unmingle enhance {source}"
        )
    if format not in SAMPLE_FORMATS:
        raise UsageError(f"--format {format}: unknown; choose from {', '.join(SAMPLE_FORMATS)}")
    if source == "-" and device is not None:
        raise UsageError("--device is for the microphone; a pipe has none")
    if source == "-" and sys.stdin.isatty():
        raise UsageError(
            "- reads raw samples from standard input, which is the keyboard here; leave it out for the "
            "microphone"
        )
    stream = Stream(model)
    if not 1 <= block_ms <= 1000:
        raise UsageError(f"--block-ms {block_ms:g}: out of range; choose 1 to 1000")
    block = max(1, round(block_ms / 1000 * stream.sample_rate / stream.hop)) * stream.hop
    latency_ms = 1000 * (stream.latency + block - stream.hop) / stream.sample_rate
    outputs = (
        "one voice"
        if stream.n_src == 1
        else f"{stream.n_src} voices, interleaved"
        if source
        else f"{stream.n_src} voices"
    )
    about = (
        f"{stream.name}: {stream.sample_rate} Hz, mono in, {outputs} out, latency {latency_ms:.1f} ms, "
        f"{block} samples at once"
    )
    with stopping_cleanly():
        if source:
            say(about)
            watch = from_pipe(
                stream, sys.stdin.buffer, sys.stdout.buffer, format=format, block=block, say=say
            )
        else:
            watch = from_microphone(stream, block=block, device=device, say=say, about=about)
    say(str(watch))


@app.command(epilog="Example: unmingle models duet")
def models(
    name: Annotated[str | None, typer.Argument(help="Of a model, whose card is printed.")] = None,
    available: Annotated[
        bool, typer.Option("--available", help="List what others have published instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON.")] = False,
) -> None:
    """List the models: for what, how good, how large; or print one card, with its licences."""
    from unmingle.catalog import not_installed
    from unmingle.cli.published import list_published
    from unmingle.cli.table import describe, model_table, wanted

    if available:
        return list_published(name, as_json)
    chosen = wanted(name)
    if as_json:
        print(json.dumps({"models": [card.to_dict() for card in chosen]}, indent=1))
    elif name is not None:
        print(describe(chosen[0]))
    else:
        print(model_table(chosen, not_installed()))
    return None


@app.command(epilog="Example: unmingle serve --port 8000 --max-size-gb 0.5 --jobs 2")
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at; 127.0.0.1 is reached from this machine only.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 chooses a free one.")
    ] = 7860,
    max_size_gb: Annotated[float, typer.Option(min=0.001, help="Largest upload [GB].")] = 1.0,
    max_hours: Annotated[float, typer.Option(min=0.001, help="Longest recording [h].")] = 4.0,
    jobs: Annotated[int, typer.Option(min=1, help="How many recordings are worked on at once.")] = 1,
    max_waiting: Annotated[
        int, typer.Option(min=0, help="How many more may wait; further visitors are told to come back.")
    ] = 20,
    keep_minutes: Annotated[
        float,
        typer.Option(min=0.01, help="A visitor's files are removed so long after they were last used [min]."),
    ] = 60.0,
) -> None:
    """Show a web page on which recordings are separated or cleaned (needs unmingle[web])."""
    if missing := [name for name in ("starlette", "uvicorn", "matplotlib") if not find_spec(name)]:
        raise UsageError(f"serve needs {' and '.join(missing)}: pip install 'unmingle[web]'")
    from unmingle.web.app import serve
    from unmingle.web.uploads import Limits

    serve(
        host, port, Limits(round(max_size_gb * 1e9), 3600 * max_hours, jobs, max_waiting, 60 * keep_minutes)
    )


bench.register(app)
avspeech.register(app)
published.register(app)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code: 0, 1 for a file that failed, 2 for wrong usage, 130 when
    interrupted.
    """
    if hasattr(sys.stdout, "reconfigure"):
        # A file name that the terminal cannot show is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(arguments, prog_name="unmingle", standalone_mode=False) or 0
        print(end="", flush=True)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        code = 1
    except Exception as error:
        line, code = explain(error)
        say(line)
    finally:
        drop_what_is_not_taken()
    if code == INTERRUPTED:
        say("interrupted; nothing half-written was left behind")
    return code


def drop_what_is_not_taken() -> None:
    """Forget what standard output, a full disk or a closed pipe, does not take; Python would complain of it
    once more when it ends.
    """
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
