"""The command line: ``easy-llama chat``, ``generate``, ``candidates`` and ``info``.

The sampler flags are made from the fields of SamplerSettings. Errors are one line on stderr; ``--debug``
shows the traceback.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast, get_type_hints

import click

from . import __version__, formats
from .errors import EasyLlamaError, PromptError
from .history import History
from .hub import fetch, is_hub_name
from .loaded import BUNDLED_MODEL
from .model import Model
from .overflow import POLICIES
from .recorder import Recorder
from .samplers import SamplerSettings
from .tables import make_table, print_table, shortened
from .thread import Thread

__all__ = ["cli", "main"]

F = TypeVar("F", bound=Callable[..., Any])

_SAMPLER_HELP = {
    "max_len_tokens": "Longest generation in tokens; below 1 is unlimited.",
    "temp": "Temperature; 0 always takes the likeliest token.",
    "top_p": "Nucleus sampling: keep this much probability.",
    "min_p": "Keep tokens at least this likely compared with the likeliest.",
    "frequency_penalty": "Penalty for each occurrence.",
    "presence_penalty": "Penalty for having occurred.",
    "repeat_penalty": "Divide the logits of tokens that occurred.",
    "top_k": "Keep the k likeliest tokens.",
    "seed": "Seed of the draws; off draws one.",
    "penalty_last_n": "How many of the last tokens the penalties look at.",
}


class _OrOff(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """A number, or ``off`` for None."""

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind
        self.name = f"{'INTEGER' if kind is int else 'FLOAT'}|off"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or None for ``off``; anything else is refused."""
        if value is None or str(value).lower() in ("off", "none"):
            return None
        try:
            return self.kind(value)
        except ValueError:
            self.fail(f"{value!r} is neither {'an integer' if self.kind is int else 'a number'} nor off")


def sampler_options(command: F) -> F:
    """Add a flag for every field of SamplerSettings and hand them over as ``sampler``."""
    hints = get_type_hints(SamplerSettings)

    def with_sampler(**values: Any) -> Any:
        given = {field.name: values.pop(field.name) for field in fields(SamplerSettings)}
        return command(sampler=SamplerSettings(**given), **values)

    with_sampler.__doc__ = command.__doc__
    with_sampler.__name__ = command.__name__
    params = list(getattr(command, "__click_params__", []))
    for field in reversed(fields(SamplerSettings)):
        kind = float if "float" in str(hints[field.name]) else int
        default = "off" if field.default is None else field.default
        params.append(
            click.Option(
                [f"--{field.name.replace('_', '-')}"],
                type=_OrOff(kind),
                default=default,
                show_default=True,
                help=_SAMPLER_HELP[field.name],
            )
        )
    cast(Any, with_sampler).__click_params__ = params
    return cast(F, with_sampler)


def loading_options(command: F) -> F:
    """Add the flags that say how a model is loaded."""
    for option in (
        click.option("--verbose", is_flag=True, help="Show llama.cpp's log."),
        click.option("--threads", type=int, help="Threads; by default one for each physical core."),
        click.option("--flash-attn", is_flag=True, help="Use Flash Attention."),
        click.option("--gpu-layers", type=int, default=0, help="Layers on the GPU; -1 for all."),
        click.option("--context-length", type=int, help="Tokens of context; by default the native length."),
    ):
        command = option(command)
    return command


def model_options(command: F) -> F:
    """Add ``--model`` and the flags that say how it is loaded."""
    file = click.option(
        "--model", "-m", "model_path", metavar="FILE", help="A GGUF file; by default the toy."
    )
    return file(loading_options(command))


def load_model(path: str | None, options: dict[str, Any]) -> Model:
    """Load the model at ``path``, or behind ``owner/repo:file.gguf``, as the flags say."""
    return Model(
        fetch(path) if path is not None and is_hub_name(path) else path,
        context_length=options.get("context_length"),
        n_gpu_layers=options.get("gpu_layers", 0),
        flash_attn=options.get("flash_attn", False),
        verbose=options.get("verbose", False),
        n_threads=options.get("threads"),
    )


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="easy-llama")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Language models on your own machine.

    Without a command: chat with the bundled model.
    """
    if context.invoked_subcommand is None:
        context.invoke(chat)


@cli.command()
@click.argument("model_path", metavar="[MODEL]", required=False)
@click.option(
    "--format", "-f", "format_name", metavar="NAME", help="A prompt format; by default the model's own."
)
@click.option("--system", "-s", metavar="TEXT", help="The system message.")
@click.option(
    "--overflow",
    type=click.Choice(POLICIES),
    default="trim",
    show_default=True,
    help="When the context is full.",
)
@click.option("--no-color", is_flag=True, help="Write without colours; NO_COLOR does the same.")
@click.option(
    "--resume", "-r", is_flag=False, flag_value="latest", metavar="[ID]", help="Go on with a thread."
)
@click.option("--no-history", is_flag=True, help="Do not keep this chat.")
@loading_options
@sampler_options
def chat(
    sampler: SamplerSettings,
    model_path: str | None = None,
    format_name: str | None = None,
    system: str | None = None,
    overflow: str = "trim",
    no_color: bool = False,
    resume: str | None = None,
    no_history: bool = False,
    **options: Any,
) -> None:
    """Chat with MODEL: a GGUF file, or owner/repo:file.gguf on the hub; by default the toy in the box."""
    from .console import Console
    from .console_commands import run_command

    if resume is not None and (refused := _given("format_name", "system", "overflow")):
        flag = refused[0].removesuffix("_name")
        raise PromptError(f"--{flag} can't be changed in a chat that goes on; leave it or --resume out")
    model = load_model(model_path, options)
    chosen = formats.find(format_name) if format_name else None
    thread = Thread(model, chosen, sampler, overflow=overflow)
    if system is not None:
        thread.messages = [m for m in thread.messages if m["role"] != "system"]
        thread.add_message("system", system)
    header, is_person = None, bool(sys.stdin and sys.stdin.isatty())
    if is_person:
        header = f"{model.filename}, {model.context_length} tokens of context. !help: commands, Ctrl-C: end."
    # what comes through a pipe is a script's business; a person's chats are kept
    with _history(wanted=resume is not None or (is_person and not no_history)) as history:
        number = None
        if resume is not None and history is not None:
            number = _resumed(history, resume)
            thread = history.load(number, model)
            if _given(*(field.name for field in fields(SamplerSettings))):
                thread.sampler = sampler
        input_history = history.path.parent / "input" if history and is_person else None
        console = Console(thread, color=not no_color, header=header, input_history=input_history)
        if history and not no_history:
            console.on_change = Recorder(history, console.screen.note, thread if number else None, number)
        if resume is not None and is_person:
            run_command(console, "reprint")
        console.run()


def _given(*names: str) -> list[str]:
    """Which of the current command's flags were really given."""
    context = click.get_current_context()
    source = click.core.ParameterSource.COMMANDLINE
    return [name for name in names if context.get_parameter_source(name) is source]


def _history(*, wanted: bool) -> Any:
    """Open the history, or stand in for it with None."""
    from contextlib import nullcontext

    return History() if wanted else nullcontext()


def _resumed(history: History, resume: str) -> int:
    """Return the id behind ``--resume``: a number, or the thread changed last."""
    latest = history.latest()
    if resume == "latest" and latest is not None:
        return latest
    if not resume.isdigit():
        raise PromptError(
            "there is no thread to go on with"
            if resume == "latest"
            else f"--resume needs an id; got {resume!r}"
        )
    return int(resume)


@cli.group(invoke_without_command=True)
@click.pass_context
def threads(context: click.Context) -> None:
    """List the chats that were kept; threads delete ID removes one."""
    if context.invoked_subcommand is not None:
        return
    with History() as history:
        table = make_table(
            "kept chats, the newest first", "id", "<changed", "messages", "<model", "<begins with"
        )
        for kept in history.threads():
            changed = f"{kept.changed.astimezone():%Y-%m-%d %H:%M}"
            table.add_row(str(kept.id), changed, str(kept.n_messages), kept.model, shortened(kept.title))
        print_table(table)


@threads.command()
@click.argument("number", type=int)
def delete(number: int) -> None:
    """Remove the chat with the id NUMBER."""
    with History() as history:
        history.delete(number)


@cli.command()
@click.argument("prompt", required=False)
@click.option("--stop", "stops", multiple=True, help="End at this text; may be given several times.")
@model_options
@sampler_options
def generate(
    prompt: str | None,
    stops: tuple[str, ...],
    sampler: SamplerSettings,
    model_path: str | None,
    **options: Any,
) -> None:
    """Continue PROMPT, or what stands on standard input.

    In a terminal without a PROMPT it asks for one after the other, until an empty line.
    """
    if prompt is None and not (sys.stdin and sys.stdin.isatty()):
        prompt = sys.stdin.read().rstrip("\r\n") if sys.stdin else ""
    if prompt is not None and not prompt:
        raise PromptError("there is no prompt: give one as an argument or on standard input")
    model = load_model(model_path, options)
    if prompt is not None:
        _continue(model, prompt, list(stops), sampler)
        return
    click.echo(f"{model.filename}: type the beginning of a text, such as Once upon a time. Empty line: end.")
    while prompt := _ask():
        _continue(model, prompt, list(stops), sampler)


def _ask() -> str:
    try:
        return str(input("> "))
    except EOFError:
        click.echo()
        return ""


def _continue(model: Model, prompt: str, stops: list[str], sampler: SamplerSettings) -> None:
    """Print the prompt and what follows it; Ctrl-C ends this text only."""
    click.echo(prompt, nl=False)
    try:
        model.stream_print(prompt, stops=stops, sampler=sampler)
    except KeyboardInterrupt:
        click.echo("(stopped)", err=True)


@cli.command()
@click.argument("prompt")
@click.option("-k", "k", type=int, default=10, show_default=True, help="How many tokens to show.")
@model_options
def candidates(prompt: str, k: int, model_path: str | None, **options: Any) -> None:
    """Show the likeliest next tokens after PROMPT."""
    model = load_model(model_path, options)
    found = model.candidates(prompt, k)
    table = make_table(f"after {shortened(prompt)!r}", "#", ">token", "probability", "<")
    for rank, (token, chance) in enumerate(found, 1):
        bar = "█" * round(20 * float(chance)) or "▏"
        table.add_row(str(rank), shortened(token), f"{float(chance):.6f}", bar)
    print_table(table)


@cli.command()
@click.argument("model_path", metavar="[MODEL]", required=False)
def info(model_path: str | None) -> None:
    """Show what the header of MODEL says, without loading it."""
    from .engines.gguf import read_gguf, shard_paths
    from .engines.llama_open import kv_cache_bytes

    paths = shard_paths(model_path or BUNDLED_MODEL)
    header = read_gguf(paths[0])
    shards = [header, *map(read_gguf, paths[1:])]
    n_bytes = sum(shard.file_size for shard in shards)
    n_params = sum(tensor.n_elements for shard in shards for tensor in shard.tensors)
    n_ctx = int(cast(int, header.get("context_length")))
    table = make_table(Path(paths[0]).name, ">key", ">value")
    table.add_row("size", f"{n_bytes / 1e6:,.1f} MB in {len(paths)} file{'s' * (len(paths) > 1)}")
    table.add_row("parameters", f"{n_params / 1e6:,.1f} million")
    table.add_row("cache for the native context", f"{kv_cache_bytes(header, n_ctx) / 1e6:,.1f} MB")
    for key, value in header.metadata.items():
        if not isinstance(value, list):
            table.add_row(key, shortened(str(value)))
    for key, length in header.array_lengths.items():
        table.add_row(key, f"{length:,} values")
    print_table(table)


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    click.echo(f"easy-llama: warning: {message}", err=True)


def _as_flags(text: str) -> str:
    """Speak of flags where the library speaks of arguments."""
    for field in fields(SamplerSettings):
        text = text.replace(f"{field.name} must", f"--{field.name.replace('_', '-')} must")
    return text.replace("or None to", "or off to")


def _use_utf8(stream: TextIO | None) -> None:
    """Write characters that the terminal's encoding lacks as ``?`` instead of failing."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def main() -> None:
    """Run the command line; the exit code is 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C."""
    _use_utf8(sys.stdout)
    warnings.showwarning = _show_warning
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EasyLlamaError as error:
        if "--debug" in sys.argv[1:]:
            raise
        click.echo(f"easy-llama: {_as_flags(str(error))}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo(err=True)
        sys.exit(130)
    except BrokenPipeError:
        # the reader went away, as in `easy-llama generate ... | head`; nothing more can be written
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a full disk behind the standard output, for example
        click.echo(f"easy-llama: {error}", err=True)
        sys.stderr.close()
        sys.exit(1)
