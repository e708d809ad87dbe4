"""What a prompt format is: a dictionary of texts around the messages, and how messages are laid out by it.

Eight keys, as every format has them; ``user_prefix_after_system`` says how the first user message begins
when a system message stands before it, for families without a system role of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import TypeAlias, TypedDict

__all__ = [
    "KEYS",
    "OPTIONAL_KEYS",
    "ROLE_NAMES",
    "Format",
    "Told",
    "accepted",
    "layout",
    "like",
    "make",
    "merged",
    "parts_of",
    "texts_around",
    "wrap",
]

KEYS = (
    "system_prefix", "system_prompt", "system_suffix", "user_prefix", "user_suffix", "bot_prefix",
    "bot_suffix", "stops",
)  # fmt: skip


ROLE_NAMES = {"system": "system", "user": "user", "bot": "assistant"}
"""What chat templates and OpenAI's API call the roles."""


class _Optional(TypedDict, total=False):
    user_prefix_after_system: str


class Format(_Optional):
    """A prompt format: plain ``dict`` at run time.

    ``system_prompt`` is the system message of a new thread, "" for none. ``stops`` are texts (token ids
    work too); the model's own end tokens always stop. The beginning-of-sequence token is left to the
    tokenizer.
    """

    system_prefix: str
    system_prompt: str
    system_suffix: str
    user_prefix: str
    user_suffix: str
    bot_prefix: str
    bot_suffix: str
    stops: list[str | int]


OPTIONAL_KEYS = tuple(_Optional.__annotations__)

Texts = tuple[str, str]

Told: TypeAlias = "tuple[str, str] | tuple[str, str, str]"
"""A message as templates are told it: (role, content), or (role, content, thinking) for what a bot thought."""


def make(system: Texts, user: Texts, bot: Texts, *, prompt: str = "", stops: Iterable[str] = ()) -> Format:
    """Build a format from (prefix, suffix) of each role."""
    return {
        "system_prefix": system[0], "system_prompt": prompt, "system_suffix": system[1],
        "user_prefix": user[0], "user_suffix": user[1], "bot_prefix": bot[0], "bot_suffix": bot[1],
        "stops": list(stops),
    }  # fmt: skip


def merged(between: str, user: Texts, bot: Texts, *, prompt: str = "", stops: Iterable[str] = ()) -> Format:
    """Build a format whose system message opens the first user turn, ``between`` the two texts."""
    made = make((user[0], between), user, bot, prompt=prompt, stops=stops)
    made["user_prefix_after_system"] = ""
    return made


def like(format: Format, *, prompt: str | None = None, stops: Iterable[str] | None = None) -> Format:
    """Return a copy of ``format`` that shares nothing with it, with another system prompt or stops."""
    made = deepcopy(format)
    if prompt is not None:
        made["system_prompt"] = prompt
    if stops is not None:
        made["stops"] = list(stops)
    return made


def texts_around(role: str, format: Format, *, after_system: bool) -> Texts:
    """Return prefix and suffix of a message; ``after_system`` says that a system message stands before it."""
    prefix = str(format[f"{role}_prefix"])  # type: ignore[literal-required]  # one of three roles
    if role == "user" and after_system:
        prefix = format.get("user_prefix_after_system", prefix)
    return prefix, str(format[f"{role}_suffix"])  # type: ignore[literal-required]


def layout(messages: Iterable[tuple[str, str]], format: Format) -> Iterator[tuple[str, str, str]]:
    """Yield (prefix, content, suffix) for messages given as (role, content).

    Roles are ``system``, ``user`` and ``bot``. A system message without content adds nothing at all.
    """
    after_system = False
    for role, content in messages:
        if role == "system" and not content:
            continue
        prefix, suffix = texts_around(role, format, after_system=after_system)
        yield prefix, content, suffix
        after_system = role == "system"


def parts_of(message: Told) -> tuple[str, str, str]:
    """Return role, content and thinking, "" for a message without any."""
    return message if len(message) == 3 else (*message, "")


def accepted(messages: Iterable[Told], *, refuses_system: bool) -> list[Told]:
    """Return the messages as chat templates accept them: those of one role in a row are joined by an empty
    line, and where the template ``refuses_system`` messages, they join the user's."""
    given: list[tuple[str, str, str]] = []
    for role, content, thinking in map(parts_of, messages):
        if role == "system" and refuses_system:
            role = "user"
        if given and given[-1][0] == role:
            _, before, thought = given[-1]
            given[-1] = (role, f"{before}\n\n{content}", "\n\n".join(filter(None, (thought, thinking))))
        else:
            given.append((role, content, thinking))
    return [message if message[2] else message[:2] for message in given]


def wrap(prompt: str, format: Format) -> str:
    """Return ``prompt`` as the first user message in ``format``, up to where the bot begins.

    The format's own system prompt comes first, where it has one.

    >>> from easy_llama import formats
    >>> formats.wrap("Hi", formats.chatml)
    '<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n'
    """
    parts = layout((("system", format["system_prompt"]), ("user", prompt)), format)
    return "".join(a + b + c for a, b, c in parts) + format["bot_prefix"]
