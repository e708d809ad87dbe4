"""What is given to a generation beside its prompt, checked: stops, a sampler; and where text is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias, cast

from ..decoding.backtracking import Strategy
from ..engine import Tokenizer
from ..errors import PromptError, SettingsError
from ..samplers.settings import SamplerSettings
from ..text.pieces import resolve_stops

__all__ = ["Stops", "Writable", "check_sampler", "stops_of"]

Stops: TypeAlias = "Sequence[str | int]"


class Writable(Protocol):
    """What a file must offer to be printed to."""

    def write(self, text: str, /) -> object:
        """Take a piece of text."""
        ...

    def flush(self) -> object:
        """Show what was taken."""
        ...


def stops_of(tokenizer: Tokenizer, stops: object) -> tuple[frozenset[int], list[str]]:
    """Return the tokens and the texts that end a generation; PromptError for what is no list of these."""
    if isinstance(stops, SamplerSettings):
        raise PromptError(
            f"stops must be a list of texts and token ids; got the sampler {stops!r:.200}: "
            f"write sampler={stops!r:.80}"
        )
    return resolve_stops(tokenizer, [] if stops is None else cast("Stops", stops))


def check_sampler(sampler: object) -> None:
    """Raise SettingsError unless it is a SamplerSettings."""
    if isinstance(sampler, SamplerSettings):
        return
    if isinstance(sampler, Mapping):
        advice = "; write sampler=ez.SamplerSettings(**those)"
    else:
        advice = "; write strategy= for a strategy" if isinstance(sampler, Strategy) else ""
    raise SettingsError(f"sampler must be a SamplerSettings; got {type(sampler).__name__}{advice}")
