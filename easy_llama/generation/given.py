"""What is given to a generation beside its prompt, checked: stops and a sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

from ..decoding.backtracking import Strategy
from ..engine import Tokenizer
from ..errors import PromptError, SettingsError
from ..samplers.settings import SamplerSettings
from ..text.pieces import resolve_stops

__all__ = ["Stops", "check_sampler", "stops_of"]

Stops: TypeAlias = "Sequence[str | int]"


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
