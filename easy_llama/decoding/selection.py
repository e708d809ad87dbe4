"""Which decoder a generation uses: settings and a strategy in, a decoder out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..engine import Decoder, Tokenizer
from ..errors import SettingsError
from ..samplers import SamplerSettings
from .backtracking import Backtracking, Strategy
from .beam import BeamSearch
from .contrastive import ContrastiveDecoder
from .sampling import Sampling

__all__ = ["beam_search_of", "decoder_for", "room_for"]


def decoder_for(
    settings: SamplerSettings,
    seed: int,
    tokenizer: Tokenizer,
    strategy: Strategy | None = None,
    stops: Sequence[str] = (),
) -> Decoder:
    """Return the decoder that ``settings`` and ``strategy`` ask for.

    ``stops`` are texts that end the generation; a strategy must see them before it takes back what contains
    them. Raises SettingsError for what does not go together.
    """
    if strategy is not None and not isinstance(strategy, Strategy):
        raise SettingsError(f"strategy must be a Strategy or None; got {type(strategy).__name__}")
    searches = _search_name(settings)
    if searches and strategy is not None:
        raise SettingsError(
            f"a strategy can't steer {searches}, which looks at many texts at once: leave strategy out, or "
            "penalty_alpha and num_beams"
        )
    if searches and settings.is_constrained:
        raise SettingsError(f"a grammar can't constrain {searches}; leave out one of them")
    if settings.penalty_alpha is not None:
        if not settings.top_k or settings.top_k < 1:
            raise SettingsError(
                "contrastive search (penalty_alpha) needs top_k, how many tokens to look at; 4 is usual"
            )
        return ContrastiveDecoder(settings.penalty_alpha, settings.top_k, settings, tokenizer)
    if settings.num_beams > 1:
        return beam_search_of(settings, tokenizer)
    if strategy is not None:
        return Backtracking(strategy, settings, seed, tokenizer, tuple(stops))
    return Sampling(settings, seed, tokenizer)


def beam_search_of(settings: SamplerSettings, tokenizer: Tokenizer | None = None) -> BeamSearch:
    """Return the beam search that ``settings`` describe."""
    return BeamSearch(
        settings.num_beams,
        length_penalty=settings.length_penalty,
        early_stopping=settings.early_stopping,
        steps=settings.model_steps(tokenizer),
    )


def room_for(settings: SamplerSettings, n_ctx: int, n_prompt: int, n_forks: float = math.inf) -> int:
    """Return how many tokens may be generated: contrastive search needs room for its candidates, too.

    ``n_forks`` are those of the engine: so many candidates it evaluates at once.
    """
    if settings.penalty_alpha is None:
        return n_ctx - n_prompt
    return n_ctx - n_prompt - int(max(1, min(settings.top_k or 1, n_forks)) - 1)


def _search_name(settings: SamplerSettings) -> str:
    """What the settings search with, "" for sampling."""
    if settings.penalty_alpha is not None:
        return "contrastive search"
    return "beam search" if settings.num_beams > 1 else ""
