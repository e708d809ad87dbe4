"""The commands of the console, one function each; ``help`` lists them from their docstrings."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Protocol

from .. import samplers
from ..chat.conversation import Conversation
from ..errors import PromptError, SettingsError
from ..samplers import SamplerSettings
from ..samplers.texts import text_of_value, value_from_text
from ..terminal.escape import shortened
from ..terminal.screen import Screen

__all__ = ["COMMANDS", "ConsoleView", "run_command"]


class ConsoleView(Protocol):
    """What of the console a command needs."""

    thread: Conversation
    screen: Screen
    show_speed: bool
    markdown: bool

    def show_text(self, text: str, style: str) -> None:
        """Show a whole text."""
        ...

    def reroll(self) -> None:
        """Generate the last reply anew and show it."""
        ...


Command = Callable[[ConsoleView, str], "bool | None"]
COMMANDS: dict[str, Command] = {}


def command(function: Command) -> Command:
    """Make ``function`` a command by its name; it returns False to end the chat."""
    COMMANDS[function.__name__.rstrip("_")] = function
    return function


def run_command(console: ConsoleView, line: str) -> bool:
    """Run a command line and return whether the chat goes on; a near miss is suggested."""
    name, _, argument = line.partition(" ")
    found = COMMANDS.get(name.lower())
    if found is None:
        near = difflib.get_close_matches(name.lower(), COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise PromptError(f"there is no command {name!r}; {hint}help lists all")
    return found(console, argument.strip()) is not False


@command
def help_(console: ConsoleView, argument: str) -> None:
    """List the commands."""
    for name, function in sorted(COMMANDS.items()):
        console.screen.line(f"  {name:14}{(function.__doc__ or '').splitlines()[0]}")
    console.screen.line("  A line that ends with \\ goes on in the next one.")
    console.screen.line("  < begins the bot's next reply, !! inserts a system message.")


@command
def exit_(console: ConsoleView, argument: str) -> bool:
    """End the chat."""
    return False


@command
def reset(console: ConsoleView, argument: str) -> None:
    """Go back to the beginning of the conversation; the chat until here stays kept."""
    console.thread = console.thread.fork()
    console.thread.reset()
    console.screen.note("the conversation begins anew")


@command
def clear(console: ConsoleView, argument: str) -> None:
    """Clear the screen."""
    console.screen.clear()


@command
def context(console: ConsoleView, argument: str) -> None:
    """Show how much of the context is used."""
    for line in console.thread.usage():
        console.screen.line(line)


@command
def stats(console: ConsoleView, argument: str) -> None:
    """Show what the last reply cost; stats on and stats off show it after every reply."""
    if argument in ("on", "off"):
        console.show_speed = argument == "on"
        return
    for name, value in asdict(console.thread.last.stats).items():
        console.screen.line(f"  {name:18}{value}")


@command
def sampler(console: ConsoleView, argument: str) -> None:
    """Show the sampler; sampler FIELD VALUE changes a field (off for none), sampler PRESET takes a preset."""
    if argument:
        console.thread.sampler = changed_sampler(console.thread.sampler, argument)
    for name, value in asdict(console.thread.sampler).items():
        console.screen.line(f"  {name:17} {text_of_value(value)}")


def changed_sampler(settings: SamplerSettings, argument: str) -> SamplerSettings:
    """Return the preset that ``argument`` names, or ``settings`` with a field changed."""
    name, _, text = argument.partition(" ")
    presets = {n.lower(): n for n in samplers.__all__ if isinstance(getattr(samplers, n), SamplerSettings)}
    if name.lower() in presets:
        preset: SamplerSettings = getattr(samplers, presets[name.lower()])
        return preset
    known = {field.name for field in fields(SamplerSettings)}
    if name not in known:
        near = difflib.get_close_matches(name, [*known, *presets.values()], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(f"the sampler has no field and there is no preset {name!r}{hint}")
    return replace(settings, **{name: value_from_text(name, text)})


@command
def string(console: ConsoleView, argument: str) -> None:
    """Show the whole conversation as text."""
    console.screen.line(console.thread.as_string())


@command
def messages(console: ConsoleView, argument: str) -> None:
    """List the messages with their numbers; those out of the context are marked."""
    for i, message in enumerate(console.thread.messages):
        mark = " " if message.in_context else "-"
        text = shortened(message["content"].replace("\n", " "), 80)
        console.screen.line(f"{i:4}{mark} {message['role']:7}{text}")


@command
def last(console: ConsoleView, argument: str) -> None:
    """Show the last message."""
    if console.thread.messages:
        console.show_text(console.thread.messages[-1]["content"], "bot")


@command
def reprint(console: ConsoleView, argument: str) -> None:
    """Show all messages again."""
    for message in console.thread.messages:
        style = {"bot": "bot", "system": "system"}.get(message["role"], "")
        console.screen.line(("> " if message["role"] == "user" else "") + message["content"], style)


@command
def inference(console: ConsoleView, argument: str) -> None:
    """Show the text that the next reply will continue."""
    console.screen.line(console.thread.inference_str_from_messages())


@command
def reroll(console: ConsoleView, argument: str) -> None:
    """Generate the last reply anew; the old one is kept among the alternatives."""
    console.reroll()


@command
def alternatives(console: ConsoleView, argument: str) -> None:
    """List the replies generated in the last place; alternatives N takes one of them."""
    thread = console.thread
    if argument:
        console.show_text(thread.alternative(_number(argument)), "bot")
        return
    for i, text in enumerate(thread.messages[-1].alternatives if thread.messages else []):
        mark = "*" if text == thread.messages[-1]["content"] else " "
        console.screen.line(f"{i:4}{mark} {text}")


@command
def edit(console: ConsoleView, argument: str) -> None:
    """Change a message: edit N TEXT."""
    number, _, text = argument.partition(" ")
    if not text:
        raise PromptError("edit needs a number (messages lists them) and the new text: edit 2 Hello")
    console.thread.edit(_number(number), text)


@command
def remove(console: ConsoleView, argument: str) -> None:
    """Remove the last exchange."""
    removed = console.thread.undo()
    console.screen.note(f"{len(removed)} messages removed")


@command
def fork(console: ConsoleView, argument: str) -> None:
    """Go on with a copy; fork FILE saves the conversation as it is now first."""
    if argument:
        console.thread.save(Path(argument).expanduser())
    console.thread = console.thread.fork()
    console.screen.note("this is a copy now" + (f"; the original is in {argument}" if argument else ""))


@command
def save(console: ConsoleView, argument: str) -> None:
    """Save the conversation: save FILE."""
    console.thread.save(Path(_needed(argument, "save needs a file name: save talk.json")).expanduser())
    console.screen.note(f"saved to {argument}")


@command
def load(console: ConsoleView, argument: str) -> None:
    """Go on with a saved conversation: load FILE."""
    path = Path(_needed(argument, "load needs a file name: load talk.json")).expanduser()
    console.thread = console.thread.load(path, console.thread.model)
    reprint(console, "")


@command
def export(console: ConsoleView, argument: str) -> None:
    """Write the conversation as Markdown: export FILE."""
    path = Path(_needed(argument, "export needs a file name: export talk.md")).expanduser()
    parts = [f"**{m['role']}**\n\n{m['content']}\n" for m in console.thread.messages]
    path.write_text("\n".join(parts), encoding="utf-8", errors="replace")
    console.screen.note(f"written to {argument}")


@command
def summary(console: ConsoleView, argument: str) -> None:
    """Let the model summarize the conversation."""
    console.show_text(console.thread.summarize(), "bot")


@command
def system(console: ConsoleView, argument: str) -> None:
    """Add a system message: system TEXT."""
    console.thread.add_message("system", _needed(argument, "system needs a text: system Answer briefly."))


@command
def candidates(console: ConsoleView, argument: str) -> None:
    """Show the likeliest first tokens of the next reply: candidates 5."""
    k = _number(argument) if argument else 10
    for token, chance in console.thread.candidates(k):
        bar = "█" * round(30 * chance) or "▏"
        console.screen.line(f"  {chance:8.4f}  {bar:30}  {token!r}")


@command
def markdown(console: ConsoleView, argument: str) -> None:
    """Show replies as Markdown when they are complete: markdown on, markdown off."""
    console.markdown = argument != "off"


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise PromptError(f"a number is needed here; got {text!r}") from None


def _needed(argument: str, words: str) -> str:
    if not argument:
        raise PromptError(words)
    return argument
