"""Thread: a conversation with a model.

Keeps the messages, writes them in the model's format, generates replies and keeps the context from
overflowing. Every turn extends what the model has evaluated, so it costs its new tokens only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .decoding import Strategy, room_for
from .errors import ExceededContextLengthException, PromptError, SettingsError
from .formats import Format
from .generation import Generation
from .layout import alone, layout_of, warn_of_misfit
from .message import Message, MessageEncoder, as_message, check_role
from .model import Model, Writable
from .overflow import POLICIES, drop_oldest, shift_cache, usable_tokens
from .samplers import DefaultSampling, SamplerSettings
from .stats import Stats
from .storage import message_from_dict, message_to_dict, read_json, sampler_from_dict, write_json

__all__ = ["Message", "Thread", "Turn"]

MAX_CONTENT = 10_000_000  # characters; far beyond every context, and tokenising more takes minutes
_OPENAI_ROLES = {"system": "system", "user": "user", "bot": "assistant"}
_FROM_OPENAI = {"system": "system", "developer": "system", "user": "user", "assistant": "bot"}


@dataclass(frozen=True)
class Turn:
    """What the newest turn of a thread did: messages dropped from the context, and the model's statistics."""

    dropped: int = 0
    stats: Stats = field(default_factory=Stats)


class Thread:
    """A conversation with ``model``.

    >>> import easy_llama as ez
    >>> thread = ez.Thread(ez.Model(), sampler=ez.samplers.GreedyDecoding)
    >>> thread.send("What is the capital of France?")
    'The capital of France is Paris.'

    - ``format``: a dictionary from ``ez.formats``; None takes the chat template in the model's file. One
      that does not fit the model warns once with what ``ez.formats.check`` found
    - ``sampler``: how replies are generated
    - ``messages``: the beginning of the conversation; None begins with the format's system prompt
    - ``overflow``: what happens when the context is full: ``"trim"`` drops the oldest exchanges, ``"shift"``
      does so by moving the cache, ``"summarize"`` puts a summary in their place, ``"error"`` raises
    - ``strategy``: what may take tokens of a reply back, such as an ``ez.AntiSlopStrategy``
    """

    def __init__(
        self,
        model: Model,
        format: Format | None = None,
        sampler: SamplerSettings = DefaultSampling,
        messages: Iterable[Message] | None = None,
        *,
        overflow: str = "trim",
        strategy: Strategy | None = None,
    ) -> None:
        if not isinstance(model, Model):
            raise PromptError(f"model must be an ez.Model; got {type(model).__name__}")
        if overflow not in POLICIES:
            raise SettingsError(f"overflow must be one of {', '.join(POLICIES)}; got {overflow!r}")
        self.model, self.sampler, self.overflow, self.strategy = model, sampler, overflow, strategy
        self._given_format = format is not None
        self._encoder = MessageEncoder(lambda: model.tokenizer)
        self._layout, self.format = layout_of(model, format, self._encoder)
        if format is not None:
            warn_of_misfit(model, format)
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
        prefix, postfix = self._layout.around(role, after)
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

    def _told(self) -> list[Message]:
        """The messages that the model is told: in the context, and no empty system message."""
        self.messages = [as_message(message) for message in self.messages]
        return [m for m in self.messages if m.in_context and (m["content"] or m["role"] != "system")]

    def print_stats(self, file: Writable | None = None) -> None:
        """Print how much of the context is used, and how many messages there are."""
        used, room = len(self._layout.tokens(self._told(), generate=False)), self.model.context_length
        out = sys.stdout if file is None else file
        out.write(f"{used} / {room} tokens\n{round(100 * used / room)}% of context used\n")
        out.write(f"{len(self.messages)} messages\n")
        out.flush()

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

    def interact(self, color: bool = True, header: str | None = None, stream: bool = True) -> None:
        """Chat in the terminal, until Ctrl-C at the prompt or ``!exit``.

        Ctrl-C while the bot writes stops it; ENTER then generates another reply. A line that ends with a
        backslash goes on in the next; ``!`` begins a command (``!help`` lists them), ``<`` the bot's next
        reply, ``!!`` a system message. ``header`` is printed first; without ``stream`` replies are shown
        when they are complete.
        """
        from .console import Console

        Console(self, color=color, header=header, stream=stream).run()

    def _fit(self, prefix: str = "") -> tuple[list[int], int]:
        """Return the tokens to continue, after making room, and how many messages were dropped for it."""

        def tokens() -> list[int]:
            return self._layout.tokens(self._told()) + self._encoder.text(prefix, special=False)

        if not isinstance(self.sampler, SamplerSettings):
            raise SettingsError(f"sampler must be a SamplerSettings; got {type(self.sampler).__name__}")
        n_ctx = room_for(self.sampler, self.model.context_length, 0)
        usable = usable_tokens(n_ctx, self.sampler.max_len_tokens)
        before = tokens()
        if len(before) <= usable:
            return before, 0
        if self.overflow == "error":
            raise ExceededContextLengthException(len(before), n_ctx, n_ctx - usable)
        dropped = drop_oldest(self.messages, lambda: len(tokens()), usable, n_ctx)
        if self.overflow == "shift":
            shift_cache(self.model, before, tokens())
        if self.overflow == "summarize" and dropped:
            try:
                self._put_summary(dropped, lambda: len(tokens()) <= usable)
            except BaseException:  # Ctrl-C while the summary is written: as if nothing had been dropped
                for message in dropped:
                    message.in_context = True
                raise
        return tokens(), len(dropped)

    def _put_summary(self, dropped: list[Message], fits: Callable[[], bool]) -> None:
        """Tell the model in a system message what the dropped messages said, if there is room for that."""
        earlier = [m for m in self.messages if m.is_summary]
        text = self.summarize([*earlier, *dropped])
        rest = [m for m in self.messages if not m.is_summary]
        at = next((i for i, m in enumerate(rest) if m["role"] != "system"), len(rest))
        message = self.create_message("system", f"Earlier in this conversation: {text}")
        message.is_summary = True
        self.messages = [*rest[:at], message, *rest[at:]]
        if not fits():
            self.messages = rest

    def summarize(self, messages: Sequence[Message] | None = None) -> str:
        """Return a summary of ``messages``, all of the thread by default, written by the model.

        The thread is not changed. What does not fit into half of the context is left out from the front.
        """
        told = self.messages if messages is None else messages
        lines = "\n".join(f"{m['role']}: {m['content']}" for m in told if m["content"])
        room = self.model.context_length // 2
        tokens = self._encoder.text(lines, special=False)[-room:]
        request = f"Summarize this conversation in two sentences:\n\n{self.model.detokenize(tokens)}"
        asked = [alone(self._layout, "user", request)]
        settings = replace(self.sampler, max_len_tokens=max(1, self.model.context_length // 8))
        generation = self.model.generation(self._layout.tokens(asked), self._layout.stops, settings)
        return "".join(generation.pieces()).strip()

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

    def fork(self) -> Thread:
        """Return an independent thread with the same messages on the same model."""
        format = self.format if self._given_format else None
        twin = Thread(self.model, format, self.sampler, self._beginning, overflow=self.overflow)
        twin.strategy, twin.messages = self.strategy, [message.copy() for message in self.messages]
        return twin

    def alternative(self, number: int) -> str:
        """Show alternative ``number`` (from 0) of the bot's last message and return it."""
        message = self.messages[-1] if self.messages else None
        if message is None or not 0 <= number < len(message.alternatives):
            count = len(message.alternatives) if message else 0
            raise PromptError(f"there is no alternative {number}; the last message has {count}")
        content = message["content"] = message.alternatives[number]
        return content

    # --- other shapes ----------------------------------------------------------------------------------

    def to_openai(self) -> list[dict[str, str]]:
        """Return the messages as OpenAI's API has them."""
        return [{"role": _OPENAI_ROLES[m["role"]], "content": m["content"]} for m in self.messages]

    @classmethod
    def from_openai(cls, model: Model, messages: Sequence[dict[str, Any]], **options: Any) -> Thread:
        """Make a thread from messages of OpenAI's API; ``options`` are those of the constructor."""
        thread = cls(model, messages=[], **options)
        for message in messages:
            role = _FROM_OPENAI.get(str(message.get("role")))
            if role is None:
                raise PromptError(
                    f"role must be one of {', '.join(_FROM_OPENAI)}; got {message.get('role')!r}"
                )
            thread.add_message(role, message.get("content"))  # type: ignore[arg-type]  # checked there
        thread._beginning = [message.copy() for message in thread.messages]
        return thread

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the thread to ``path`` as readable JSON: messages, format, sampler, seeds, not the model."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Model) -> Thread:
        """Return the thread that ``save`` wrote, on ``model``.

        Token ids are taken over from the same model file only; on another model texts are tokenised anew.
        """
        return cls.from_dict(read_json(path), model)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``save`` writes, made of JSON's types."""
        return {
            "sampler": asdict(self.sampler),
            "model": self.model.filename,
            "overflow": self.overflow,
            "format": self.format if self._given_format else None,
            "beginning": [message_to_dict(message) for message in self._beginning],
            "messages": [message_to_dict(message) for message in self.messages],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], model: Model) -> Thread:
        """Return the thread of which ``to_dict`` told, on ``model``; see ``load``."""
        sampler = sampler_from_dict(data.get("sampler") or {})
        beginning = [message_from_dict(message) for message in data.get("beginning") or []]
        thread = cls(model, data.get("format"), sampler, beginning, overflow=data.get("overflow", "trim"))
        thread.messages = [message_from_dict(message) for message in data.get("messages") or []]
        if data.get("model") != model.filename:
            thread._adapt(data.get("format") is None)
        return thread

    def _adapt(self, rewrite: bool) -> None:
        """Make messages from another model this one's: no token ids, and its own format if ``rewrite``."""
        for messages in (self.messages, self._beginning):
            after = None
            for message in messages:
                message.generated = None
                if rewrite:
                    message["prefix"], message["postfix"] = self._layout.around(message["role"], after)
                after = message

    def __repr__(self) -> str:
        return f"<Thread of {len(self.messages)} messages on {self.model.filename}>"
