"""A text changed in the person's own editor."""

from __future__ import annotations

from ..errors import PromptError

__all__ = ["edited"]


def edited(text: str) -> str:
    """Open ``text`` in $VISUAL or $EDITOR, or in what the system has, and return what it became.

    PromptError where no editor can be started.
    """
    import click

    try:
        found = click.edit(text, extension=".txt")
    except click.ClickException as error:
        raise PromptError(f"{error.message}; set EDITOR to the command of your editor") from None
    if found is None:  # closed without saving
        return text
    return found if text.endswith("\n") else found.removesuffix("\n")  # editors end a file with a line break
