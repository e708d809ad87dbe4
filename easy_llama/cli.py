"""The command line: ``easy-llama chat``, ``generate``, ``threads``, and the commands of ``cli_tools``.

Errors are one line on stderr; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import fields
from typing import Any, TextIO

import click

from . import __version__, cli_tools, formats
from .cli_compare import compare
from .cli_flags import ban_option, banning, load_model, loading_options, model_options, sampler_options
from .decoding import Strategy
from .errors import EasyLlamaError, PromptError
from .history import History
from .model import Model
from .overflow import POLICIES
from .recorder import Recorder
from .samplers import SamplerSettings
from .tables import make_table, print_table, shortened
from .thread import Thread

__all__ = ["cli", "main"]


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


for _command in (cli_tools.candidates, compare, cli_tools.explain, cli_tools.guide, cli_tools.info):
    cli.add_command(_command)


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
@ban_option
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
    ban: tuple[str, ...] = (),
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
    thread = Thread(model, chosen, sampler, overflow=overflow, strategy=banning(model, ban))
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
            thread.strategy = banning(model, ban)
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
@ban_option
@model_options
@sampler_options
def generate(
    prompt: str | None,
    stops: tuple[str, ...],
    ban: tuple[str, ...],
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
        _continue(model, prompt, list(stops), sampler, banning(model, ban))
        return
    click.echo(f"{model.filename}: type the beginning of a text, such as Once upon a time. Empty line: end.")
    while prompt := _ask():
        _continue(model, prompt, list(stops), sampler, banning(model, ban))


def _ask() -> str:
    try:
        return str(input("> "))
    except EOFError:
        click.echo()
        return ""


def _continue(
    model: Model, prompt: str, stops: list[str], sampler: SamplerSettings, strategy: Strategy | None
) -> None:
    """Print the prompt and what follows it; Ctrl-C ends this text only."""
    model.generation(prompt, stops, sampler, strategy=strategy)  # says what is wrong before a word is printed
    click.echo(prompt, nl=False)
    try:
        model.stream_print(prompt, stops=stops, sampler=sampler, strategy=strategy)
    except KeyboardInterrupt:
        click.echo("(stopped)", err=True)


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
