"""The table of commands, and ``run``, which runs one. Errors are one line on stderr; ``--debug`` shows the
traceback.

To add a command: a file with the function, and its line in the table.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from typing import Any, TextIO

import click

from ..errors import EasyLlamaError
from ..version import __version__
from .group import CommandGroup, Entry
from .interrupts import interrupts_raise

__all__ = ["COMMANDS", "cli", "run"]

COMMANDS = {
    "Talk and write": {
        "chat": Entry("chat", "Chat with MODEL in the terminal or through pipes."),
        "ask": Entry("ask", "Answer QUESTION once, and end."),
        "generate": Entry("generate", "Continue PROMPT."),
        "threads": Entry("threads", "List, search, export the chats that were kept."),
        "replay": Entry("replay", "Generate a kept reply again and compare."),
    },
    "Look inside": {
        "candidates": Entry("tools", "Show the likeliest next tokens after PROMPT."),
        "explain": Entry("tools", "Show what each sampler step does to the next token."),
        "guide": Entry("tools", "Continue PROMPT, choosing every token by hand."),
        "compare": Entry("compare", "Continue PROMPT by several decoding methods."),
    },
    "Models and formats": {
        "models": Entry("models", "List the models on this machine."),
        "pull": Entry("models", "Download a model from the hub."),
        "info": Entry("tools", "Show what the header of MODEL says."),
        "formats": Entry("formats", "List, show and check prompt formats."),
        "config": Entry("config", "Show and set defaults of the commands."),
    },
}


@click.group(
    cls=CommandGroup,
    sections=COMMANDS,
    package=__package__,
    default="chat",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, "-V", "--version", prog_name="easy-llama")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Language models on your own machine.

    Without a command: chat with the bundled model; easy-llama some.gguf chats with that one.
    easy-llama COMMAND -h explains a command.
    """
    from .defaults import default_map

    command = context.invoked_subcommand or "chat"
    context.default_map = {command: default_map(command)}
    if context.invoked_subcommand is None:
        found = cli.get_command(context, "chat")
        assert found is not None
        context.invoke(found)


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    _say(f"warning: {_spoken(message)}")


def _say(text: str) -> None:
    """Write a line to standard error, on a terminal broken at words."""
    from ..terminal.screen import Screen

    if sys.stderr is not None:
        Screen(sys.stderr).line(f"easy-llama: {text}")


def _spoken(message: object) -> str:
    """What the library says, as the command line says it; it may quote a file."""
    from .defaults import ConfigError
    from .wording import as_flags

    text = str(message)
    return text if isinstance(message, ConfigError) else as_flags(text)


def _prepare(stream: TextIO | None) -> None:
    """Write characters that the encoding lacks as ``?`` instead of failing, and line breaks as they are."""
    reconfigure = getattr(stream, "reconfigure", None)
    if stream is not None and reconfigure is not None:
        reconfigure(errors="replace", newline=None if stream.isatty() else "\n")


def run() -> int:
    """Run the command that the arguments name and return the exit code."""
    _prepare(sys.stdout)
    warnings.showwarning = _show_warning
    try:
        with interrupts_raise():
            code = cli.main(standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()  # what can't be written shows here, and not when Python ends
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except EasyLlamaError as error:
        if "--debug" in sys.argv[1:]:
            raise
        _say(_spoken(error))
        return 1
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # the reader went away, as in `easy-llama generate ... | head`; nothing more can be written
        _drop_output()
        return 1
    except OSError as error:
        _drop_output()
        where = f"{error.filename}: " if error.filename else "can't write: " if error.errno else ""
        click.echo(f"easy-llama: {where}{error.strerror or error}", err=True)
        return 1


def _drop_output() -> None:
    """Throw away what is not written yet, so that Python does not try again when it ends."""
    with suppress(AttributeError, OSError, ValueError):  # no output, or one that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
