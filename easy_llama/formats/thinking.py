"""Thinking: what a model writes before its answer, between markers, and how the two are told apart.

``thinking_of`` finds the markers in a chat template, ``Splitter`` divides a reply by them while it streams.
Where markers are control tokens, llama.cpp's text doesn't show them: ``hidden_tokens`` says which, so that
they can be written out, and ``as_shown`` what remains of the markers where they are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ..engine import Tokenizer
from ..errors import FormatError
from .shape import Told

if TYPE_CHECKING:
    from .template import ChatTemplate

__all__ = [
    "Splitter",
    "Thinking",
    "as_shown",
    "begins_thinking",
    "hidden_tokens",
    "thinking_of",
    "tokens_behind",
]

Part = tuple[bool, str]

# <think>, <thinking>, <seed:think>, <think:opensource>, <thought>; the closing tag must be there, too
_TAG = re.compile(r"<((?:[\w.]+:)?(?:think|thinking|thought|reasoning)(?::[\w.]+)?)>")
_PAIRS = (
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("◁think▷", "◁/think▷"),
)
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)


@dataclass(frozen=True)
class Thinking:
    """How a family marks thinking: the texts ``start`` and ``end``, without white space around them.

    ``keys`` are those of a message under which the template takes what was thought; none where it takes
    nothing. ``answer`` is what an answer without thinking begins with, such as gpt-oss' final channel.
    """

    start: str
    end: str
    keys: tuple[str, ...] = ()
    answer: str = ""


# --- finding the markers -------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def thinking_of(template_source: str | None) -> Thinking | None:
    """Return the markers that a chat template knows, None where it knows of none or is broken.

    They stand in its source, or show when it is rendered with something thought.
    """
    if template_source is None:
        return None
    from .template import ChatTemplate

    template = ChatTemplate(template_source)
    found = _known(_COMMENT.sub("", template_source))
    with suppress(FormatError):
        if found is None and template.thinking_keys:
            found = _rendered(template)
        return replace(found, keys=template.thinking_keys) if found else None
    return found


def _known(text: str) -> Thinking | None:
    """The markers of a known kind that ``text`` holds; the most frequent tag where there are several."""
    tags = [tag for tag in _TAG.findall(text) if f"</{tag}>" in text]
    if tags:
        tag = max(dict.fromkeys(tags), key=tags.count)
        return Thinking(f"<{tag}>", f"</{tag}>")
    return next((Thinking(*pair) for pair in _PAIRS if all(marker in text for marker in pair)), None)


def _rendered(template: ChatTemplate) -> Thinking | None:
    """The markers that stand around a thought when it is written."""
    user, thought, content = "Quser1Q", "Qthought1Q", "Qbot1Q"
    question: Told = ("user", user)
    text = template.render([question, ("bot", content, thought)], generate=False)
    if not re.search(f"{user}.*{thought}.*{content}", text, re.DOTALL):
        return None
    before, _, rest = text.rpartition(user)[2].partition(thought)
    end = rest.partition(content)[0].strip()
    known = _known(before + end)
    if known is not None:
        return known
    opening = template.render([question]).rpartition(user)[2]
    # where the template opens the thinking itself, that is what the opening has and the past has not
    start = (_behind(before, opening) or _behind(opening, before)).strip()
    plain = template.render([question, ("bot", content)], generate=False)
    answer = _behind(plain.rpartition(user)[2].partition(content)[0], opening).strip()
    if not start or not end:
        return None
    return Thinking(start, end, answer=answer if answer and end.endswith(answer) else "")


def _behind(text: str, opening: str) -> str:
    """Return what ``text`` has behind the beginning that it shares with ``opening``; markup stays whole."""
    n = next((i for i, pair in enumerate(zip(text, opening, strict=False)) if pair[0] != pair[1]), None)
    shared = min(text, opening, key=len) if n is None else text[:n]
    if shared != opening and shared.rfind("<") > shared.rfind(">"):
        shared = shared[: shared.rfind("<")]
    return text[len(shared) :]


def begins_thinking(generation_prompt: str, thinking: Thinking | None) -> bool:
    """Whether the text that the next reply continues ends with an opened start marker."""
    return thinking is not None and generation_prompt.rstrip().endswith(thinking.start)


# --- dividing a reply ----------------------------------------------------------------------------------


class Splitter:
    """Divides a reply into what was thought and what is answered, as its pieces come.

    ``inside`` says that the prompt has opened the thinking already. Only at the very beginning, behind white
    space, does a start marker open it; anywhere else it is text. The markers, and the white space behind
    them, belong to neither part. Without a start marker the text stays as it is, byte for byte.
    """

    def __init__(self, thinking: Thinking | None, inside: bool = False) -> None:
        self._thinking = thinking
        self._held = ""
        self._taken = 0
        self._state = self._answer if thinking is None else self._opened if inside else self._begin

    @property
    def answer_at(self) -> int | None:
        """At which character of the reply the answer begins; None where that isn't known yet."""
        return self._taken if self._state == self._answer else None

    def push(self, piece: str) -> list[Part]:
        """Take the next piece and return the (is_thinking, text) parts that are sure now.

        Held back is only what may still become a marker.
        """
        if self._state == self._answer:
            return [(False, piece)] if piece else []
        self._held += piece
        parts: list[Part] = []
        while True:
            state, part = self._state, self._state()
            if part is not None and part[1]:
                parts.append(part)
            if self._state == state:
                return parts

    def finish(self) -> list[Part]:
        """Return what was held back: the reply has ended, so it's no marker."""
        held, self._held = self._held, ""
        if not held or (held.isspace() and self._state not in (self._begin, self._inside)):
            return []
        return [(self._state in (self._opened, self._entered, self._inside), held)]

    # each state looks at what is held, takes what it can, and says which state is next

    def _begin(self) -> Part | None:
        found = self._marker_in_front(self._markers.start, self._markers.answer)
        if found is None:
            return None
        if not found:
            self._state = self._answer
            return self._answer()
        self._state = self._entered if found == self._markers.start else self._closed
        return None

    def _opened(self) -> None:
        """The prompt has written the start marker; some models repeat it."""
        if self._marker_in_front(self._markers.start) is not None:
            self._state = self._entered

    def _entered(self) -> None:
        self._drop(len(self._held) - len(self._held.lstrip()))
        if self._held:
            self._state = self._inside

    def _inside(self) -> Part:
        end = self._markers.end
        at = self._held.find(end)
        if at >= 0:
            text = self._held[:at]
            self._drop(at + len(end))
            self._state = self._closed
            return True, text
        keep = next(n for n in range(min(len(end) - 1, len(self._held)), -1, -1) if self._may_end(n))
        text = self._held[: len(self._held) - keep]
        self._drop(len(text))
        return True, text

    def _closed(self) -> Part | None:
        self._drop(len(self._held) - len(self._held.lstrip()))
        if not self._held:
            return None
        self._state = self._answer
        return self._answer()

    def _answer(self) -> Part:
        text, self._held = self._held, ""
        return False, text

    @property
    def _markers(self) -> Thinking:
        assert self._thinking is not None  # without markers every reply is an answer
        return self._thinking

    def _marker_in_front(self, *markers: str) -> str | None:
        """Take one of ``markers`` off what is held and return it, "" if none is there, None if one may come."""
        text = self._held.lstrip()
        for marker in filter(None, markers):
            if text.startswith(marker):
                self._drop(len(self._held) - len(text) + len(marker))
                return marker
        return None if any(marker.startswith(text) for marker in markers if marker) else ""

    def _may_end(self, n: int) -> bool:
        return self._held.endswith(self._markers.end[:n])

    def _drop(self, n: int) -> None:
        self._held = self._held[n:]
        self._taken += n


# --- markers that are control tokens -------------------------------------------------------------------


def hidden_tokens(thinking: Thinking, tokenizer: Tokenizer) -> dict[int, bytes]:
    """Return the tokens among the markers that add no text, with the text that the template has for them.

    Known so far: ``[THINK]`` and ``[/THINK]`` of Magistral and Ministral, and ``<|end|>`` in gpt-oss' end
    marker. Shown, and so not among them: gemma 4's channels, gpt-oss' other markers (llama.cpp makes them
    user-defined), and ``<think>`` where it is plain text or a user-defined token. Write these tokens out
    with this text, and every other with ``tokenizer.piece``, and a Splitter divides the text of all families.
    """
    hidden = {}
    for marker in filter(None, (thinking.start, thinking.end, thinking.answer)):
        for token in tokenizer.encode(marker, bos=False, special=True):
            if not tokenizer.piece(token) and tokenizer.raw_text(token):
                hidden[token] = tokenizer.raw_text(token).encode()
    return hidden


def as_shown(thinking: Thinking, tokenizer: Tokenizer) -> Thinking | None:
    """Return the markers as ``tokenizer.decode`` writes them, without the tokens that add no text.

    None where nothing is left of the start or the end: that text can't be divided.
    """
    shown = [
        tokenizer.decode(tokenizer.encode(marker, bos=False, special=True)).decode("utf-8", "replace").strip()
        if marker
        else ""
        for marker in (thinking.start, thinking.end, thinking.answer)
    ]
    start, end, answer = shown
    return replace(thinking, start=start, end=end, answer=answer) if start and end else None


def tokens_behind(tokens: Sequence[int], head: str, piece: Callable[[int], bytes]) -> list[int] | None:
    """Return the tokens that follow those of the text ``head``, as a reply's answer follows its thinking.

    None where one token holds the end of ``head`` and the beginning of what follows.
    """
    wanted, at, n = len(head.encode()), 0, 0
    while at < wanted and n < len(tokens):
        at += len(piece(tokens[n]))
        n += 1
    return list(tokens[n:]) if at == wanted else None
