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
from ..decoding.selection import room_for
from ..engine import ChatProvider
from ..errors import ExceededContextLengthException, PromptError, SettingsError
from ..formats.shape import Format
from ..generation.providers import EngineProvider
from ..generation.run import Generation
from ..generation.speaker import Speaker
from ..generation.stats import Stats
from ..samplers.fields import FIELDS
from ..samplers.presets import DefaultSampling
from ..samplers.settings import SamplerSettings
from .encoder import MessageEncoder
from .layouts import layout_of, rewrite, warn_of_misfit
from .message import Message, as_message, check_role
from .openai import from_openai, to_openai
from .overflow import POLICIES, drop_oldest, shift_cache, usable_tokens
from .storage import Stored, read_json, write_json
from .summary import summarize, with_summary

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
        self.model = speaker = _speaker_of(model)
        if overflow not in POLICIES:
            raise SettingsError(f"overflow must be one of {', '.join(POLICIES)}; got {overflow!r}")
        self.sampler, self.overflow, self.strategy = sampler, overflow, strategy
        self._given_format = format is not None
        self._encoder = MessageEncoder(lambda: speaker.tokenizer)
        self._layout, self.format = layout_of(speaker, format, self._encoder)
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
        self._fit()
        return self._layout.text(self._told())

    def usage(self) -> list[str]:
        """Return lines on how much of the context is used, and how many messages there are."""
        used, n_ctx = len(self._layout.tokens(self._told(), generate=False)), self.model.engine.n_ctx
        share = f"{round(100 * used / n_ctx)}% of context used"
        return [f"{used} / {n_ctx} tokens", share, f"{len(self.messages)} messages"]

    def _told(self) -> list[Message]:
        """The messages that the model is told: in the context, and no empty system message."""
        self.messages = [as_message(message) for message in self.messages]
        return [m for m in self.messages if m.in_context and (m["content"] or m["role"] != "system")]

    def _told_tokens(self, prefix: str = "") -> list[int]:
        """The tokens of these messages, up to where the next reply begins, and of how it begins."""
        return self._layout.tokens(self._told()) + self._encoder.text(prefix, special=False)

    # --- turns -----------------------------------------------------------------------------------------

    def send(self, prompt: str, *, prefix: str = "") -> str:
        """Add a user message and the bot's reply to it, and return the reply.

        ``prefix`` is how the reply begins; it is part of it. Raises PromptError for an empty prompt and
        ExceededContextLengthException where dropping messages makes no room.
        """
        return "".join(self.stream(prompt, prefix=prefix))

    def stream(self, prompt: str, *, prefix: str = "") -> Generator[str, None, None]:
        """Like ``send``, but return a generator of the reply's pieces.

        The user message is added when reading begins, the reply when it ends; a generator that is closed
        before its end adds what was generated until then.
        """
        if not isinstance(prompt, str) or not prompt.strip():
            raise PromptError(f"a message needs text; got {prompt!r}")
        user = self.create_message("user", prompt)
        self.messages.append(user)
        try:
            generation, dropped = self._begin(prefix)
        finally:
            self.messages = [m for m in self.messages if m is not user]
        return self._reply(generation, dropped, prefix, user)

    def reroll(self, *, prefix: str = "") -> str:
        """Replace the bot's last reply by another one; the old one is kept among its ``alternatives``."""
        return "".join(self.stream_reroll(prefix=prefix))

    def stream_reroll(self, *, prefix: str = "") -> Generator[str, None, None]:
        """Like ``reroll``, but return a generator of the new reply's pieces."""
        if not self.messages or self.messages[-1]["role"] != "bot":
            raise PromptError("the last message is not the bot's, so there is nothing to generate anew")
        old = self.messages.pop()
        try:
            generation, dropped = self._begin(prefix)
        finally:
            self.messages.append(old)
        return self._reply(generation, dropped, prefix, old)

    def _begin(self, prefix: str) -> tuple[Generation, int]:
        """Make room and return the generation of the next reply, and how many messages were dropped."""
        if not isinstance(prefix, str):
            raise PromptError(f"prefix must be a str; got {type(prefix).__name__}")
        tokens, dropped = self._fit(prefix)
        stops = self._layout.stops
        return self.model.generation(tokens, stops, self.sampler, strategy=self.strategy), dropped

    def _reply(
        self, generation: Generation, dropped: int, prefix: str, before: Message
    ) -> Generator[str, None, None]:
        """Add a reply after the user message ``before``, or in place of the bot message ``before``.

        A reader that stops early keeps what was said. If nothing was said, nothing is changed.
        """
        is_reroll, text, said = before["role"] == "bot", "", False
        if not is_reroll:
            self.messages.append(before)
        try:
            if prefix:
                said = True
                yield prefix
            for piece in generation.pieces():
                text += piece
                yield piece
        finally:
            if said or generation.tokens or generation.stats.finish_reason is not None:
                replaced = self._without(before) if is_reroll else []
                message = self.create_message("bot", prefix + text)
                kept, rest = generation.tokens_of(text)
                plain = self._encoder.text
                message.generated = [*plain(prefix, special=False), *kept, *plain(rest, special=False)]
                message.alternatives, message.seed = [*replaced, message["content"]], generation.stats.seed
                self.messages.append(message)
                self.last = Turn(dropped, generation.stats)
            elif not is_reroll:
                self.messages = [m for m in self.messages if m is not before]

    def _without(self, old: Message) -> list[str]:
        """Take a reply out of the thread and return its alternatives, an edited content included."""
        self.messages = [m for m in self.messages if m is not old]
        shown = old["content"]
        return old.alternatives if shown in old.alternatives else [*old.alternatives, shown]

    def candidates(self, k: int) -> list[tuple[str, float]]:
        """Return the ``k`` likeliest first tokens of the next reply with their probabilities."""
        tokens, _ = self._fit()
        return [(token, float(chance)) for token, chance in self.model.candidates(tokens, k)]

    # --- a full context --------------------------------------------------------------------------------

    def _fit(self, prefix: str = "") -> tuple[list[int], int]:
        """Return the tokens to continue, after making room, and how many messages were dropped for it."""
        if not isinstance(self.sampler, SamplerSettings):
            raise SettingsError(f"sampler must be a SamplerSettings; got {type(self.sampler).__name__}")
        n_ctx = room_for(self.sampler, self.model.engine.n_ctx, 0)
        usable = usable_tokens(n_ctx, self.sampler.max_len_tokens)
        before = self._told_tokens(prefix)
        if len(before) <= usable:
            return before, 0
        if self.overflow == "error":
            raise ExceededContextLengthException(len(before), n_ctx, n_ctx - usable)
        dropped = drop_oldest(self.messages, lambda: len(self._told_tokens(prefix)), usable, n_ctx)
        if self.overflow == "shift":
            shift_cache(self.model.engine, before, self._told_tokens(prefix))
        if self.overflow == "summarize" and dropped:
            try:
                self._put_summary(dropped, usable, prefix)
            except BaseException:  # Ctrl-C while the summary is written: as if nothing had been dropped
                for message in dropped:
                    message.in_context = True
                raise
        return self._told_tokens(prefix), len(dropped)

    def _put_summary(self, dropped: list[Message], usable: int, prefix: str) -> None:
        """Tell the model in a system message what the dropped messages said, if there is room for that."""
        text = self.summarize([*(m for m in self.messages if m.is_summary), *dropped])
        message = self.create_message("system", f"Earlier in this conversation: {text}")
        message.is_summary = True
        self.messages = with_summary(self.messages, message)
        if len(self._told_tokens(prefix)) > usable:
            self.messages = [m for m in self.messages if not m.is_summary]

    def summarize(self, messages: Sequence[Message] | None = None) -> str:
        """Return a summary of ``messages``, all of the thread by default, written by the model.

        The thread is not changed. What does not fit into half of the context is left out from the front.
        """
        told = self.messages if messages is None else messages
        return summarize(self.model, self._layout, self._encoder, self.sampler, told)

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
        try:
            message = self.messages[index]
        except (IndexError, TypeError):
            raise PromptError(f"there is no message {index!r}; the thread has {len(self.messages)}") from None
        message["content"] = self.create_message(message["role"], content)["content"]

    def alternative(self, number: int) -> str:
        """Show alternative ``number`` (from 0) of the bot's last message and return it."""
        message = self.messages[-1] if self.messages else None
        if message is None or not 0 <= number < len(message.alternatives):
            count = len(message.alternatives) if message else 0
            raise PromptError(f"there is no alternative {number}; the last message has {count}")
        content = message["content"] = message.alternatives[number]
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
        name = self.model.name
        return Stored(self.sampler, name, self.overflow, format, self._beginning, self.messages)

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
                    message.generated = None  # another vocabulary
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


def _speaker_of(model: object) -> Speaker:
    """Return what generates for ``model``; PromptError where that can't chat."""
    if isinstance(model, Speaker):
        return model
    if isinstance(model, ChatProvider):
        return EngineProvider(model.engine, model.tokenizer, model.name, model.chat_template)
    raise PromptError(
        "model must be a provider with a name and a chat_template, such as an ez.Model; "
        f"got {type(model).__name__}"
    )
