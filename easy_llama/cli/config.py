"""The command ``config``: defaults of the commands, kept in a file: shown, set, taken out."""

from __future__ import annotations

import textwrap

import click

from ..folders import config_file
from ..terminal.escape import escaped
from .defaults import KEYS, LAST, ConfigError, check_key, check_value, fault_of, read, text_of, write

__all__ = ["config"]

_KEYS = textwrap.fill(", ".join(KEYS), 76)


@click.group(
    invoke_without_command=True,
    epilog=f"\b\nKeys:\n{_KEYS}",
    help=f"""Show the defaults that you keep for the commands.

    \b
    easy-llama config set model smollm2   chat, ask and all others take this model
    easy-llama config set model {LAST}      they take the model that was given last
    easy-llama config set temp 0.7        a default for a flag
    easy-llama config unset temp          what it was before

    A flag on the command line comes first. Python code is not touched by it.
    """,
)
@click.pass_context
def config(context: click.Context) -> None:
    """Show what is kept."""
    if context.invoked_subcommand is not None:
        return
    values = read()
    for key, value in values.items():
        fault = fault_of(key, value)
        click.echo(f"{escaped(key)} = {escaped(text_of(value))}" + (f"   <- {fault}" if fault else ""))
    where = "nothing is kept; easy-llama config set temp 0.7 would write" if not values else "in"
    click.echo(f"({where} {config_file()})", err=True)


# a value may begin with -, as in gpu_layers -1
@config.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("key")
@click.argument("value")
def set_value(key: str, value: str) -> None:
    """Keep VALUE as the default for KEY."""
    name = check_key(key)
    checked = check_value(name, value)
    # numbers, flags and the model's whole path as they are understood; all else as it was typed
    kept = checked if isinstance(checked, (bool, int, float)) or name == "model" else value
    file = write({**read(), name: kept})
    click.echo(f"{name} = {escaped(text_of(kept))}   (in {file})")


@config.command()
@click.argument("key")
def get(key: str) -> None:
    """Print the default that is kept for KEY; the exit code is 1 where there is none."""
    name, values = check_key(key), read()
    if name not in values:
        raise ConfigError(f"nothing is kept for {name}")
    click.echo(escaped(text_of(values[name])))


@config.command()
@click.argument("keys", nargs=-1, metavar="KEY...")
@click.option("--all", "everything", is_flag=True, help="Remove the file with all that is in it.")
def unset(keys: tuple[str, ...], everything: bool) -> None:
    """Take the default for KEY out."""
    if everything is bool(keys):
        raise click.UsageError("give a key, or --all")
    if everything:
        click.echo(f"removed {write({})}")
        return
    values = read()
    for key in keys:
        found = key if key in values else check_key(key)
        if found not in values:
            raise ConfigError(f"nothing is kept for {found}")
        del values[found]
    write(values)


@config.command()
def path() -> None:
    """Say where the file is."""
    click.echo(config_file())
