"""Thread: a conversation with a model, in a script or at a terminal."""

from __future__ import annotations

import sys

from .chat.conversation import Conversation, Turn
from .chat.message import Message
from .console.loop import Console
from .generation.given import Writable

__all__ = ["Message", "Thread", "Turn"]


class Thread(Conversation):
    """A conversation with ``model``.

    >>> import easy_llama as ez
    >>> thread = ez.Thread(ez.Model(), sampler=ez.samplers.GreedyDecoding)
    >>> thread.send("What is the capital of France?")
    'The capital of France is Paris.'

    - ``model``: a Model, or another provider that tells its name and chat template: a LlamacppProvider, a
      TransformersProvider
    - ``format``: a dictionary from ``ez.formats``; None takes the chat template that came with the model. One
      that does not fit the model warns once with what ``ez.formats.check`` found
    - ``sampler``: how replies are generated
    - ``messages``: the beginning of the conversation; None begins with the format's system prompt
    - ``overflow``: what happens when the context is full: ``"trim"`` drops the oldest exchanges, ``"shift"``
      does so by moving the cache, ``"summarize"`` puts a summary in their place, ``"error"`` raises
    - ``strategy``: what may take tokens of a reply back, such as an ``ez.AntiSlopStrategy``
    """

    def print_stats(self, file: Writable | None = None) -> None:
        """Print how much of the context is used, and how many messages there are."""
        out = sys.stdout if file is None else file
        for line in self.usage():
            out.write(f"{line}\n")
        out.flush()

    def interact(self, color: bool = True, header: str | None = None, stream: bool = True) -> None:
        """Chat in the terminal, until Ctrl-C at the prompt or ``!exit``.

        Ctrl-C while the bot writes stops it; ENTER then generates another reply. A line that ends with a
        backslash goes on in the next; ``!`` begins a command (``!help`` lists them), ``<`` the bot's next
        reply, ``!!`` a system message. ``header`` is printed first; without ``stream`` replies are shown
        when they are complete.
        """
        Console(self, color=color, header=header, stream=stream).run()
