"""The commands of the console, one function each; ``help`` lists them from their docstrings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from ..chat.markdown import markdown_of
from ..errors import PromptError, SavedFileError
from ..terminal.editor import edited
from ..terminal.escape import shortened
from ..terminal.reader import without_echo
from .lines import near_command
from .settings import changed_sampler, field_of, names, shown
from .view import ConsoleView

__all__ = ["COMMANDS", "completions", "run_command"]

Command = Callable[[ConsoleView, str], "bool | None"]
COMMANDS: dict[str, Command] = {}
ALIASES = {
    "quit": "exit",
    "q": "exit",
    "undo": "remove",
    "retry": "reroll",
    "?": "help",
    "history": "messages",
}
_ARGUMENTS: dict[str, Callable[[str], Sequence[str]]] = {}  # what the Tab key offers behind a command


def command(function: Command) -> Command:
    """Make ``function`` a command by its name; it returns False to end the chat."""
    COMMANDS[function.__name__.rstrip("_")] = function
    return function


def completes(offer: Callable[[str], Sequence[str]]) -> Callable[[Command], Command]:
    """Let the Tab key offer what ``offer`` returns for the word that has been begun behind the command."""

    def decorate(function: Command) -> Command:
        _ARGUMENTS[function.__name__.rstrip("_")] = offer
        return function

    return decorate


def run_command(console: ConsoleView, line: str) -> bool:
    """Run a command line and return whether the chat goes on; a near miss is suggested."""
    name, _, argument = line.partition(" ")
    found = COMMANDS.get(ALIASES.get(name.lower(), name.lower()))
    if found is None:
        near = near_command(name, COMMANDS)
        hint = f"did you mean !{near}? " if near else ""
        raise PromptError(f"there is no command {name!r}; {hint}!help lists all")
    return found(console, argument.strip()) is not False


def completions(line: str) -> list[str]:
    """Return what the last word of a line that is being typed can become."""
    name, space, argument = line.partition(" ")
    if not name.startswith("!"):
        return []
    if not space:
        return [f"!{command}" for command in sorted(COMMANDS) if command.startswith(name[1:].lower())]
    offer = _ARGUMENTS.get(name[1:].lower())
    return list(offer(argument)) if offer is not None else []


def _paths(argument: str) -> list[str]:
    """Files and folders that a path can become."""
    folder, name = os.path.split(argument)
    try:
        found = sorted(Path(folder or ".").expanduser().iterdir())
    except (OSError, RuntimeError, ValueError):
        return []
    fitting = [path for path in found if path.name.startswith(name)]
    return [os.path.join(folder, path.name) + "/" * path.is_dir() for path in fitting]


def _settings(argument: str) -> list[str]:
    """Fields and presets, for the first word only."""
    return [] if " " in argument else [one for one in names() if one.lower().startswith(argument.lower())]


def _switch(argument: str) -> list[str]:
    return [word for word in ("on", "off") if word.startswith(argument)]


@command
def help_(console: ConsoleView, argument: str) -> None:
    """List the commands."""
    for name, function in sorted(COMMANDS.items()):
        console.screen.row(f"  !{name}", (function.__doc__ or "").splitlines()[0])
    console.screen.row("  <", "How the bot's next reply begins: < Sure,")
    console.screen.row("  !!", "Add a system message: !! Answer briefly.")
    console.screen.line("  A line that ends with \\ goes on in the next one.", indent=2)
    console.screen.line("  A line that begins with \\! or \\< is a message.", indent=2)


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
@completes(_switch)
def stats(console: ConsoleView, argument: str) -> None:
    """Show what the last reply cost; !stats on and !stats off show it after every reply."""
    if argument:
        console.show_speed = _is_on(argument)
        after = "is" if console.show_speed else "is not"
        console.screen.note(f"what a reply cost {after} shown after each")
        return
    for name, value in asdict(console.thread.last.stats).items():
        console.screen.row(f"  {name}", str(value), 20)


@command
@completes(_settings)
def sampler(console: ConsoleView, argument: str) -> None:
    """Show the sampler, or change it: !sampler temp 0.5, !sampler MinPSampling, !sampler all."""
    thread, screen = console.thread, console.screen
    name = field_of(argument)
    if argument in ("", "all") or name is not None:
        rows = list(shown(thread.sampler, everything=bool(argument)))
        for field, value, meaning in rows:
            if name in (None, field):
                screen.row(f"  {field}", f"{value:12} {meaning}" if argument else value, 24)
        if not rows:
            screen.note("everything is as by default; !sampler all shows it")
        return
    before = dict(row[:2] for row in shown(thread.sampler, everything=True))
    thread.sampler = changed_sampler(thread.sampler, argument)
    after = dict(row[:2] for row in shown(thread.sampler, everything=True))
    changed = [field for field in after if after[field] != before[field]]
    for field in changed:
        screen.row(f"  {field}", f"{after[field]} (was {before[field]})", 24)
    if not changed:
        screen.note("that changes nothing")


@command
def string(console: ConsoleView, argument: str) -> None:
    """Show the whole conversation as text."""
    console.screen.line(console.thread.as_string())


@command
def messages(console: ConsoleView, argument: str) -> None:
    """List the messages with their numbers; those out of the context are marked."""
    room = max((console.screen.width() or 96) - 14, 20)
    for i, message in enumerate(console.thread.messages):
        mark = " " if message.in_context else "-"
        text = shortened(message["content"].replace("\n", " "), room)
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
        if message.thinking and console.screen.is_terminal:
            console.screen.line(message.thinking, "thinking")
            console.screen.line()
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
def continue_(console: ConsoleView, argument: str) -> None:
    """Let the bot go on with its last reply, which was stopped."""
    console.show_reply(console.thread.stream_continue_parts())


@command
def alternatives(console: ConsoleView, argument: str) -> None:
    """List the replies generated in the last place; !alternatives N takes one of them."""
    thread = console.thread
    if argument:
        console.show_text(thread.alternative(_number(argument)), "bot")
        count = len(thread.messages[-1].alternatives)
        console.screen.note(f"reply {_number(argument) + 1} of {count}")
        return
    replies = thread.messages[-1].alternatives if thread.messages else []
    if not replies:
        console.screen.note("the last message is not the bot's, so it has no alternatives")
    for i, text in enumerate(replies):
        mark = "*" if text == thread.messages[-1]["content"] else " "
        console.screen.row(f"{i:4}{mark}", text, 6)


@command
def replay(console: ConsoleView, argument: str) -> None:
    """Generate a reply again from its seed and settings, and compare: !replay N, by default the last."""
    replies = [i for i, message in enumerate(console.thread.messages) if message["role"] == "bot"]
    if not argument and not replies:
        raise PromptError("there is no reply yet")
    with without_echo():
        done = console.thread.replay(_number(argument) if argument else replies[-1])
    console.screen.note(str(done))


@command
def edit(console: ConsoleView, argument: str) -> None:
    """Change a message: !edit N TEXT; !edit N opens it in your editor ($EDITOR)."""
    number, _, text = argument.partition(" ")
    if not number:
        raise PromptError("!edit needs a number (!messages lists them) and the new text: !edit 2 Hello")
    place, thread = _number(number), console.thread
    if place >= len(thread.messages):
        raise PromptError(f"there is no message {place}; !messages lists them")
    if not text:
        if not console.is_person:
            raise PromptError("!edit needs the new text where there is no terminal: !edit 2 Hello")
        text = edited(thread.messages[place]["content"])
    if text == thread.messages[place]["content"]:
        console.screen.note("nothing is changed")
        return
    thread.edit(place, text)
    console.screen.note(f"message {place} is changed; what follows it stays as it is")


@command
def delete(console: ConsoleView, argument: str) -> None:
    """Delete one message: !delete N."""
    place = _number(_needed(argument, "!delete needs a number: !delete 2; !messages lists them"))
    removed = console.thread.delete(place)
    console.screen.note(f"message {place} of the {removed['role']} is deleted")


@command
def remove(console: ConsoleView, argument: str) -> None:
    """Remove the last exchange."""
    removed = console.thread.undo()
    console.screen.note(f"{len(removed)} messages removed")


@command
@completes(_paths)
def fork(console: ConsoleView, argument: str) -> None:
    """Go on with a copy; !fork FILE saves the conversation as it is now first."""
    if argument:
        console.thread.save(_new_file(console, argument))
    console.thread = console.thread.fork()
    console.screen.note("this is a copy now" + (f"; the original is in {argument}" if argument else ""))


@command
@completes(_paths)
def save(console: ConsoleView, argument: str) -> None:
    """Save the conversation: !save FILE."""
    console.thread.save(_new_file(console, _needed(argument, "!save needs a file name: !save talk.json")))
    console.screen.note(f"saved to {argument}")


@command
@completes(_paths)
def load(console: ConsoleView, argument: str) -> None:
    """Go on with a saved conversation: !load FILE."""
    path = Path(_needed(argument, "!load needs a file name: !load talk.json")).expanduser()
    console.thread = console.thread.load(path, console.thread.model)
    reprint(console, "")


@command
@completes(_paths)
def export(console: ConsoleView, argument: str) -> None:
    """Write the conversation as Markdown: !export FILE."""
    path = _new_file(console, _needed(argument, "!export needs a file name: !export talk.md"))
    try:
        path.write_text(markdown_of(console.thread.messages), encoding="utf-8", errors="replace")
    except OSError as error:
        raise SavedFileError(f"{argument} can't be written: {error.strerror}") from error
    console.screen.note(f"written to {argument}")


@command
def summary(console: ConsoleView, argument: str) -> None:
    """Let the model summarize the conversation."""
    with without_echo():
        text = console.thread.summarize()
    console.show_text(text, "bot")


@command
def system(console: ConsoleView, argument: str) -> None:
    """Add a system message: !system TEXT."""
    console.thread.add_message("system", _needed(argument, "!system needs a text: !system Answer briefly."))
    console.screen.note("a system message is added")


@command
def candidates(console: ConsoleView, argument: str) -> None:
    """Show the likeliest first tokens of the next reply: !candidates 5."""
    k = _number(argument) if argument else 10
    for token, chance in console.thread.candidates(k):
        bar = "█" * round(30 * chance) or "▏"
        console.screen.line(f"  {chance:8.4f}  {bar:30}  {token!r}")


@command
@completes(_switch)
def markdown(console: ConsoleView, argument: str) -> None:
    """Show replies as Markdown when they are complete: !markdown on, !markdown off."""
    console.markdown = _is_on(argument) if argument else not console.markdown
    shown_as = "as Markdown, when they are complete" if console.markdown else "as they come"
    console.screen.note(f"replies are shown {shown_as}")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise PromptError(f"a number from 0 is needed here; got {text!r}")
    return int(text)


def _is_on(text: str) -> bool:
    if text not in ("on", "off"):
        raise PromptError(f"on or off is needed here; got {text!r}")
    return text == "on"


def _needed(argument: str, words: str) -> str:
    if not argument:
        raise PromptError(words)
    return argument


def _new_file(console: ConsoleView, argument: str) -> Path:
    """Return the path to write to; one that is there already is overwritten only if a person says so."""
    path = Path(argument).expanduser()
    if path.is_file() and not console.confirm(f"{argument} is there already; overwrite it?"):
        raise PromptError(f"{argument} is there already and stays as it is; choose another name")
    return path
