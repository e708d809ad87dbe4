"""A group of commands of which each is imported when it is used, and commands whose flags have headings.

A word that is no command, and a flag that a command lacks, get a suggestion; the name of a model instead of a
command chats with it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click

from .interrupts import interrupts_end

__all__ = ["CommandGroup", "Entry", "Flag", "FlagCommand"]

# what other programs call them
_COMMANDS_ELSEWHERE = {
    "run": "chat", "talk": "chat", "prompt": "ask", "complete": "generate", "completion": "generate",
    "history": "threads", "logs": "threads", "templates": "formats",
}  # fmt: skip


class Entry(NamedTuple):
    """A command that is not imported yet: the ``module`` with a function of its name, and its ``help``."""

    module: str
    help: str


class CommandGroup(click.Group):
    """Commands by headings and names, in ``package``; ``default`` is the one that takes a model's name."""

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Mapping[str, Entry]],
        package: str | None,
        default: str,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._sections, self._package, self._default = sections, package, default
        self._entries = {name: entry for section in sections.values() for name, entry in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of that name."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return None
        with interrupts_end():
            module = import_module(f".{entry.module}", self._package)
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table; nothing is imported for it."""
        width = max(map(len, self._entries))
        for heading, entries in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), entry.help) for name, entry in entries.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of ``args``; UsageError with a near miss where there is none."""
        if args[0] == "help":  # as git has it: help, help chat, help threads search
            args = [*args[1:], "--help"]
            if len(args) == 1:
                click.echo(ctx.get_help())
                ctx.exit()
        name = args[0]
        if name not in self._entries and _is_model(name):
            return self._default, self.get_command(ctx, self._default), args
        if name not in self._entries and not name.startswith("-"):
            raise click.UsageError(f"No such command or model {name!r}.{self._hint(name)}", ctx)
        return super().resolve_command(ctx, args)

    def _hint(self, name: str) -> str:
        names = {one.lower(): one for one in [*_model_names(), *self._entries]}
        near = [names[one] for one in difflib.get_close_matches(name.lower(), names, n=1)]
        found = _COMMANDS_ELSEWHERE.get(name.lower()) or (near[0] if near else None)
        return f" Did you mean {found!r}?" if found else ""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the flags that stand before the command."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            words = f"No such option {error.option_name!r}. The flags of a command stand behind it: "
            example = " ".join(["easy-llama", self._default, *given])
            raise click.UsageError(f"{words}{example}", ctx) from None


def _is_model(name: str) -> bool:
    """Whether ``name`` is a model's, and no misspelled command."""
    if name.lower().endswith(".gguf") or "/" in name or Path(name).is_file():
        return True
    return name.lower() in (one.lower() for one in _model_names())


def _model_names() -> list[str]:
    from ..folders import models_folder
    from ..names import BUNDLED_NAME, names_in

    return [BUNDLED_NAME, *names_in(models_folder())]


def _flags_meant(name: str) -> list[str]:
    """The flags for what the library, or other programs, call ``name``."""
    from ..caller import ALIASES
    from .wording import flag_of

    argument = name.lstrip("-").replace("-", "_").lower()
    return [flag_of(one) for one in (argument, *ALIASES.get(argument, ()))]


class Flag(click.Option):
    """A flag that help shows under ``heading``."""

    def __init__(self, *args: Any, heading: str = "Options", **options: Any) -> None:
        super().__init__(*args, **options)
        self.heading = heading


class FlagCommand(click.Command):
    """A command whose help shows the flags under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the flags; those without a heading come first."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for param in self.get_params(ctx):
            record = None if isinstance(param, click.Argument) else param.get_help_record(ctx)
            if record is not None:
                heading = param.heading if isinstance(param, Flag) else "Options"
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the flags; an unknown one gets a suggestion."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(self._unknown(error.option_name, ctx), ctx) from None

    def _unknown(self, name: str, ctx: click.Context) -> str:
        own = [text for param in self.get_params(ctx) for text in param.opts if text.startswith("--")]
        elsewhere = [flag for flag in _flags_meant(name) if flag in own]
        near = elsewhere[:1] or difflib.get_close_matches(name, own, n=2)
        root = ctx.find_root().command
        if any(name in param.opts for param in root.params):
            return f"No such option {name!r}. It stands before the command: easy-llama {name} {ctx.info_name}"
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        return f"No such option {name!r}.{hint}"
