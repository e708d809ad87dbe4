"""BacktrackSampler: a strategy on a provider, as a stream of token ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..caller import helpful
from ..checks import check_optional_integer
from ..engine import Provider, reserved
from ..errors import SettingsError
from ..prompt import prompt_tokens
from ..samplers import SamplerSettings
from .backtracking import Backtracking, Strategy

__all__ = ["BacktrackSampler"]


class BacktrackSampler:
    """Generates with ``strategy`` on ``provider``: a Model, a LlamacppProvider or a TransformersProvider.

    >>> sampler = ez.BacktrackSampler(model, ez.CreativeWritingStrategy(model))   # doctest: +SKIP
    """

    @helpful()
    def __init__(self, provider: Provider, strategy: Strategy) -> None:
        if not isinstance(strategy, Strategy):
            raise SettingsError(f"strategy must be a Strategy; got {type(strategy).__name__}")
        self.provider, self.strategy = provider, strategy

    @helpful()
    def generate(
        self,
        prompt: str | Sequence[int],
        max_length: int | None = None,
        max_new_tokens: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = 50,
        top_p: float | None = None,
        min_p: float | None = None,
        *,
        seed: int | None = None,
    ) -> Iterator[int]:
        """Return an iterator of the token ids that follow ``prompt``, without the end token.

        - ``prompt``: text, tokenised with the beginning-of-sequence token where the model wants one, or ids
        - ``max_length``: longest prompt and text together; ``max_new_tokens``: longest text. Without them
          the text ends with the model's end token or with the context
        - ``temperature`` (0 is greedy), ``top_k``, ``top_p``, ``min_p``: as in SamplerSettings
        - ``seed``: of the draws; None draws one

        Tokens come when nothing can take them back any more. The strategy sees the model's own logits, the
        sampler steps follow in llama.cpp's order.
        """
        check_optional_integer("max_length", max_length, 1)
        check_optional_integer("max_new_tokens", max_new_tokens, 1)
        settings = SamplerSettings(temp=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
        tokens = prompt_tokens(self.provider, prompt)
        limit = self.provider.engine.n_ctx - len(tokens)
        if max_length is not None:
            limit = min(limit, max_length - len(tokens))
        if max_new_tokens is not None:
            limit = min(limit, max_new_tokens)
        return self._tokens(tokens, settings, limit)

    def _tokens(self, prompt: list[int], settings: SamplerSettings, limit: int) -> Iterator[int]:
        provider = self.provider
        decoder = Backtracking(self.strategy, settings, settings.real_seed(), provider.tokenizer)
        with reserved(provider.engine) as claim:
            for token in decoder(provider.engine, prompt, provider.tokenizer.end_tokens, limit):
                yield token
                claim()
