"""The group of commands, and ``main``, which runs one. Errors are one line on stderr; ``--debug`` shows the
traceback.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import fields
from typing import Any, TextIO

import click

from .. import __version__
from ..errors import EasyLlamaError
from ..samplers.settings import SamplerSettings
from .chat import chat
from .compare import compare
from .config import config
from .defaults import default_map
from .generate import generate
from .models import models, pull
from .replay import replay
from .threads import threads
from .tools import candidates, explain, guide, info

__all__ = ["cli", "main"]


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, "-V", "--version", prog_name="easy-llama")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Language models on your own machine.

    Without a command: chat with the bundled model.
    """
    command = context.invoked_subcommand or "chat"
    context.default_map = {command: default_map(command)}
    if context.invoked_subcommand is None:
        context.invoke(chat)


for _command in (
    chat, generate, threads, replay, candidates, compare, explain, guide, info, models, pull, config,
):  # fmt: skip
    cli.add_command(_command)


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
