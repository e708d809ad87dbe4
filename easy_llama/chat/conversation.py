"""Conversation: messages, and a model's replies to them.

Keeps the messages, writes them in the model's format, generates replies and keeps the context from
overflowing. Every turn extends what the model has evaluated, so it costs its new tokens only. It knows no
terminal and no file format.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..caller import helpful
from ..decoding.backtracking import Strategy
from ..engine import ChatProvider
from ..errors import PromptError, SettingsError
from ..formats.shape import Format
from ..generation.given import check_sampler
from ..generation.providers import speaker_of
from ..generation.stats import Stats
from ..samplers.fields import FIELDS
from ..samplers.presets import DefaultSampling
from ..samplers.settings import SamplerSettings
from .encoder import MessageEncoder
from .layouts import layout_of, rewrite, warn_of_misfit
from .message import Message, Prompt, as_message, check_role
from .openai import from_openai, to_openai
from .origin import origin_of
from .overflow import POLICIES
from .replay import Replay, replay
from .reply import Begun, Part, Reply, ThinkingMarkers, answers
from .storage import Stored, read_json, write_json
from .window import Window, is_said

__all__ = ["Conversation", "Turn"]

MAX_CONTENT = 10_000_000  # characters; far beyond every context, and tokenising more takes minutes

C = TypeVar("C", bound="Conversation")


@dataclass(frozen=True)
class Turn:
    """What the newest turn did: messages dropped from the context, and the model's statistics."""

    dropped: int = 0
    stats: Stats = field(default_factory=Stats)


class Conversation:
    """A conversation with ``model``; ``ez.Thread`` explains the arguments and adds the console."""

    @helpful(sampler=FIELDS)
    def __init__(
        self,
        model: ChatProvider,
        format: Format | None = None,
        sampler: SamplerSettings = DefaultSampling,
        messages: Iterable[Message] | None = None,
        *,
        overflow: str = "trim",
        strategy: Strategy | None = None,
    ) -> None:
        self.model = speaker = speaker_of(model)
        if overflow not in POLICIES:
            raise SettingsError(f"overflow must be one of {', '.join(POLICIES)}; got {overflow!r}")
        check_sampler(sampler)
        self.sampler, self.overflow, self.strategy = sampler, overflow, strategy
        self._markers = ThinkingMarkers(speaker.chat_template, lambda: speaker.tokenizer)
        self._given_format = format is not None
        self._encoder = MessageEncoder(lambda: speaker.tokenizer)
        self._layout, self.format = layout_of(speaker, format, self._encoder)
        self._window = Window(speaker, self._layout, self._encoder)
        if format is not None:
            warn_of_misfit(speaker, format)
        self.messages: list[Message] = []
        given = None if messages is None else [as_message(message).copy() for message in messages]
        self._beginning = self._default_beginning() if given is None else given
        self.last = Turn()
        self.reset()

    def _default_beginning(self) -> list[Message]:
        prompt = self.format["system_prompt"] if self.format else ""
        return [self.create_message("system", prompt)] if prompt else []

    # --- messages --------------------------------------------------------------------------------------

    def create_message(self, role: str, content: str) -> Message:
        """Return a message in the format of this thread; it is not added.

        ``role`` is ``'system'``, ``'user'`` or ``'bot'`` in any case; ``content`` is a text.
        """
        role = check_role(role)
        if not isinstance(content, str):
            raise PromptError(f"content must be a str; got {type(content).__name__}")
        if len(content) > MAX_CONTENT:
            raise PromptError(f"content has {len(content)} characters; at most {MAX_CONTENT} are allowed")
        after = self.messages[-1] if self.messages else None
        prefix, postfix = self._layout.texts(role, after)
        return Message(role, prefix, content, postfix)

    def add_message(self, role: str, content: str) -> None:
        """Create a message and append it to ``messages``."""
        self.messages.append(self.create_message(role, content))

    def reset(self) -> None:
        """Go back to the messages that the thread began with."""
        self.messages = [message.copy() for message in self._beginning]
        self.last = Turn()

    def __len__(self) -> int:
        return len(self._layout.tokens(self.messages, generate=False))

    def len_messages(self) -> int:
        """Return the length of all messages in tokens; the same as ``len(thread)``."""
        return len(self)

    def as_string(self) -> str:
        """Return the whole history as text."""
        return self._layout.text(self.messages, generate=False)

    def inference_str_from_messages(self) -> str:
        """Return the text that the next reply continues, cut to the context as ``overflow`` says."""
        self._fit(Begun())
        return self._layout.text(self._told())

    def usage(self) -> list[str]:
        """Return lines on how much of the context is used, and how many messages there are."""
        used, n_ctx = len(self._layout.tokens(self._told(), generate=False)), self.model.engine.n_ctx
        share = f"{round(100 * used / n_ctx)}% of context used"
        return [f"{used} / {n_ctx} tokens", share, f"{len(self.messages)} messages"]

    def _told(self) -> list[Message]:
        """The messages that the model is told."""
        self.messages = [as_message(message) for message in self.messages]  # dicts may be put in by hand
        return self._window.told(self.messages)

    # --- turns -----------------------------------------------------------------------------------------

    def send(self, prompt: str, *, prefix: str = "") -> str:
        """Add a user message and the bot's reply to it, and return the reply, without what was thought.

        ``prefix`` is how the reply begins; it is part of it. Raises PromptError for an empty prompt and
        ExceededContextLengthException where dropping messages makes no room.
        """
        return "".join(self.stream(prompt, prefix=prefix))

    def stream(self, prompt: str, *, prefix: str = "") -> Generator[str, None, None]:
        """Like ``send``, but return a generator of the reply's pieces.

        The user message is added when reading begins, the reply when it ends; a generator that is closed
        before its end adds what was generated until then.
        """
        return answers(self.stream_parts(prompt, prefix=prefix))

    def stream_parts(self, prompt: str, *, prefix: str = "") -> Generator[Part, None, None]:
        """Like ``stream``, but yield ``Part(text, is_thinking)``: what the model thinks is yielded, too."""
        if not isinstance(prompt, str) or not prompt.strip():
            raise PromptError(f"a message needs text; got {prompt!r}")
        user = self.create_message("user", prompt)
        return self._reply(user, self._begun(prefix))

    def reroll(self, *, prefix: str = "") -> str:
        """Replace the bot's last reply by another one; the old one is kept among its ``alternatives``."""
        return "".join(self.stream_reroll(prefix=prefix))

    def stream_reroll(self, *, prefix: str = "") -> Generator[str, None, None]:
        """Like ``reroll``, but return a generator of the new reply's pieces."""
        return answers(self.stream_reroll_parts(prefix=prefix))

    def stream_reroll_parts(self, *, prefix: str = "") -> Generator[Part, None, None]:
        """Like ``stream_reroll``, but yield ``Part(text, is_thinking)``."""
        return self._reply(self._last_reply("there is nothing to generate anew"), self._begun(prefix))

    def continue_reply(self) -> str:
        """Let the bot go on with its last reply, which was stopped, and return what it adds."""
        return "".join(answers(self.stream_continue_parts()))

    def stream_continue_parts(self) -> Generator[Part, None, None]:
        """Like ``continue_reply``, but yield ``Part(text, is_thinking)``. Nothing is evaluated again."""
        old = self._last_reply("there is nothing to go on with")
        made = old.made
        if made is None:
            content = old["content"]
            return self._reply(old, Begun(content, tuple(self._encoder.text(content, special=False)), False))
        text = self._markers.text(made.tokens) if self._markers else old["content"]
        return self._reply(old, Begun(text, made.tokens, False))

    def _last_reply(self, consequence: str) -> Message:
        if not self.messages or self.messages[-1]["role"] != "bot":
            raise PromptError(f"the last message is not the bot's, so {consequence}")
        return self.messages[-1]

    def _begun(self, prefix: str) -> Begun:
        if not isinstance(prefix, str):
            raise PromptError(f"prefix must be a str; got {type(prefix).__name__}")
        return Begun(prefix, tuple(self._encoder.text(prefix, special=False)))

    def _reply(self, before: Message, begun: Begun) -> Generator[Part, None, None]:
        """Make room, and return the parts of the reply to the user message ``before``, or of the one that
        takes the place of the bot message ``before``."""
        is_anew = before["role"] == "bot"
        if is_anew:
            self.messages.pop()
        else:
            self.messages.append(before)
        try:
            tokens, dropped = self._fit(begun)
            out = [i for i, message in enumerate(self.messages) if not message.in_context]
        finally:
            if is_anew:
                self.messages.append(before)
            else:
                self.messages = [m for m in self.messages if m is not before]
        told = tokens[: len(tokens) - len(begun.tokens)]
        generation = self.model.generation(
            tokens, self._layout.stops, self.sampler, strategy=self.strategy, shown=self._markers.shown
        )
        reply = Reply(generation, begun, self._markers.splitter(told))
        return self._written(reply, Prompt.of(told, out), before, dropped)

    def _written(
        self, reply: Reply, prompt: Prompt, before: Message, dropped: int
    ) -> Generator[Part, None, None]:
        """Yield the parts of ``reply``, and add it behind ``before``, or in its place if that is the bot's.

        A reader that stops early keeps what was said. If nothing was said, nothing is changed.
        """
        sampler, strategy, is_anew = self.sampler, self.strategy, before["role"] == "bot"
        if not is_anew:
            self.messages.append(before)
        parts = reply.parts()
        try:
            yield from parts
        finally:
            parts.close()
            if reply.is_something:
                made = reply.made(prompt, sampler, strategy, self._encoder, self._markers.piece)
                message = self.create_message("bot", reply.answer)
                message.take_place(before if is_anew else None, made, grows=not reply.begun.is_shown)
                if is_anew:
                    self.messages = [m for m in self.messages if m is not before]
                self.messages.append(message)
            elif not is_anew:
                self.messages = [m for m in self.messages if m is not before]
            if reply.is_something or reply.generation.stats.finish_reason is not None:
                self.last = Turn(dropped, reply.generation.stats)

    def replay(self, index: int = -1) -> Replay:
        """Draw the reply ``index`` again from its seed, its settings and what came before it, and compare.

        The thread is not changed. Raises PromptError where it is no reply that the model wrote, or where
        what came before it is not the same any more.
        """
        position, message = self._message(index)
        made = message.made
        if made is None or made.prompt is None or made.sampler is None:
            raise PromptError(f"it is not kept how message {position} was made, so it can't be made again")
        out = set(made.prompt.dropped)
        before = [m for i, m in enumerate(self.messages[:position]) if i not in out and is_said(m)]
        tokens = self._layout.tokens(before)
        if Prompt.of(tokens).sha256 != made.prompt.sha256:
            raise PromptError(
                f"what stands before message {position} has changed since it was written "
                f"({made.prompt.n_tokens} tokens then, {len(tokens)} now), so it can't be made again"
            )
        tokens += made.tokens[: made.n_given]
        return replay(self.model, tokens, self._layout.stops, made, self.strategy)

    def _fit(self, begun: Begun) -> tuple[list[int], int]:
        """Make room; return the tokens to continue, and how many messages were dropped for it."""
        check_sampler(self.sampler)  # it may have been changed by hand
        self.messages = [as_message(message) for message in self.messages]
        fitted = self._window.fit(self.messages, self.sampler, self.overflow, begun.tokens)
        self.messages = fitted.messages
        return fitted.tokens, fitted.n_dropped

    def candidates(self, k: int) -> list[tuple[str, float]]:
        """Return the ``k`` likeliest first tokens of the next reply with their probabilities."""
        tokens, _ = self._fit(Begun())
        return [(token, float(chance)) for token, chance in self.model.candidates(tokens, k)]

    def summarize(self, messages: Sequence[Message] | None = None) -> str:
        """Return a summary of ``messages``, all of the thread by default, written by the model.

        The thread is not changed. What does not fit into half of the context is left out from the front.
        """
        told = self.messages if messages is None else messages
        return self._window.summary(told, self.sampler)

    # --- editing ---------------------------------------------------------------------------------------

    def undo(self) -> list[Message]:
        """Remove the last exchange, from the last user message on, and return it."""
        at = next(
            (i for i in reversed(range(len(self.messages))) if self.messages[i]["role"] == "user"), None
        )
        if at is None:
            raise PromptError("there is no exchange to undo")
        removed, self.messages[at:] = self.messages[at:], []
        return removed

    def edit(self, index: int, content: str) -> None:
        """Change the content of message ``index``; the next turn evaluates what follows it anew."""
        _, message = self._message(index)
        message["content"] = self.create_message(message["role"], content)["content"]

    def delete(self, index: int) -> Message:
        """Remove message ``index`` and return it; the next turn evaluates what follows it anew."""
        _, message = self._message(index)
        self.messages = [m for m in self.messages if m is not message]
        return message

    def _message(self, index: int) -> tuple[int, Message]:
        """Return the position, from 0, and the message of ``index``; negative ones count from the end."""
        n = len(self.messages)
        if not isinstance(index, int) or isinstance(index, bool) or not -n <= index < n:
            raise PromptError(f"there is no message {index!r}; the thread has {n}, numbered from 0")
        return index % n, self.messages[index]

    def alternative(self, number: int) -> str:
        """Show alternative ``number`` (from 0) of the bot's last message and return it."""
        message = self.messages[-1] if self.messages else None
        if message is None or not 0 <= number < len(message.alternatives):
            count = len(message.alternatives) if message else 0
            raise PromptError(f"there is no alternative {number}; the last message has {count}")
        content = message.alternatives[number]
        message.show(content)
        return content

    def fork(self: C) -> C:
        """Return an independent thread with the same messages on the same model."""
        format = self.format if self._given_format else None
        twin = type(self)(self.model, format, self.sampler, self._beginning, overflow=self.overflow)
        twin.strategy, twin.messages = self.strategy, [message.copy() for message in self.messages]
        return twin

    # --- other shapes ----------------------------------------------------------------------------------

    def to_openai(self) -> list[dict[str, str]]:
        """Return the messages as OpenAI's API has them."""
        return to_openai(self.messages)

    @classmethod
    def from_openai(
        cls: type[C], model: ChatProvider, messages: Sequence[dict[str, Any]], **options: Any
    ) -> C:
        """Make a thread from messages of OpenAI's API; ``options`` are those of the constructor."""
        thread = cls(model, messages=[], **options)
        for role, content in from_openai(messages):
            thread.add_message(role, content)
        thread._beginning = [message.copy() for message in thread.messages]
        return thread

    def stored(self) -> Stored:
        """Return what is kept of the thread."""
        format = self.format if self._given_format else None
        name, file = self.model.name, origin_of(self.model)
        return Stored(self.sampler, name, self.overflow, format, self._beginning, self.messages, file)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``save`` writes, made of JSON's types."""
        return self.stored().to_dict()

    @classmethod
    def from_dict(cls: type[C], data: Mapping[str, Any], model: ChatProvider) -> C:
        """Return the thread of which ``to_dict`` told, on ``model``; see ``load``."""
        kept = Stored.from_dict(data)
        thread = cls(model, kept.format, kept.sampler, kept.beginning, overflow=kept.overflow)
        thread.messages = list(kept.messages)
        if kept.model != thread.model.name:
            for messages in (thread.messages, thread._beginning):
                for message in messages:
                    message.forget_tokens()  # another vocabulary
                if kept.format is None:
                    rewrite(messages, thread._layout)
        return thread

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the thread to ``path`` as readable JSON: messages, format, sampler, seeds, not the model."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls: type[C], path: str | os.PathLike[str], model: ChatProvider) -> C:
        """Return the thread that ``save`` wrote, on ``model``.

        Token ids are taken over from the same model only; on another model texts are tokenised anew.
        """
        return cls.from_dict(read_json(path), model)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.messages)} messages on {self.model.name}>"
