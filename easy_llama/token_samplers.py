"""One class for one way of choosing tokens, each with ``sample(provider, prompt)``: the plain loop around it.

For studies of single steps; ``SamplerSettings`` combines them. A provider is a Model, a LlamacppProvider or a
TransformersProvider. ``max_length`` counts new tokens in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from .decoding import AntiSlopStrategy, Backtracking, BeamSearch, QAlign, Sampling
from .engine import Decoder, Provider, prompt_tokens, reserved
from .errors import SettingsError
from .samplers import MAX_SEED, SamplerSettings, SimpleSampling

__all__ = [
    "DEFAULT_SLOPS",
    "AntiSlopSampler",
    "BeamSearchSampler",
    "MinPSampler",
    "QAlignSampler",
    "TemperatureSampler",
    "TokenSampler",
    "TopKSampler",
    "TopPSampler",
    "XTCSampler",
]

DEFAULT_SLOPS = (
    "a testament to", "barely above a whisper", "bustling", "delve", "ever-changing", "intricate",
    "kaleidoscope", "palpable", "rich tapestry", "shivers down", "symphony of", "whispering secrets",
)  # fmt: skip
"""What AntiSlopSampler makes less likely without arguments: phrases that models overuse."""


class TokenSampler:
    """What the samplers have in common."""

    @property
    def settings(self) -> SamplerSettings:
        """How the next token is drawn."""
        return SimpleSampling

    def decoder(self, provider: Provider, seed: int) -> Decoder:
        """Return the decoder that generates one sequence."""
        return Sampling(self.settings, seed, provider.tokenizer)

    def sample(
        self,
        provider: Provider,
        prompt: str | Sequence[int],
        max_length: int = 100,
        num_return_sequences: int = 1,
        *,
        seed: int | None = None,
    ) -> list[list[int]]:
        """Return ``num_return_sequences`` lists of token ids: the prompt and up to ``max_length`` new ones.

        ``prompt`` is a text or token ids. A sequence ends before an end token. With ``seed`` the same call
        returns the same; each sequence has draws of its own.
        """
        _check_count("max_length", max_length)
        _check_count("num_return_sequences", num_return_sequences)
        tokens = prompt_tokens(provider, prompt)
        limit = min(max_length, provider.engine.n_ctx - len(tokens))
        first = replace(SimpleSampling, seed=seed).real_seed()
        with reserved(provider.engine):
            found = self._sequences(provider, tokens, limit, num_return_sequences, first)
        return [[*tokens, *new] for new in found]

    def _sequences(
        self, provider: Provider, tokens: list[int], limit: int, n: int, seed: int
    ) -> list[Sequence[int]]:
        """Return the new tokens of ``n`` sequences."""
        engine, end_tokens = provider.engine, provider.tokenizer.end_tokens
        further = np.random.default_rng(seed).integers(MAX_SEED + 1, size=n - 1)
        seeds = [seed, *map(int, further)]
        return [list(self.decoder(provider, one)(engine, tokens, end_tokens, limit)) for one in seeds]


@dataclass(frozen=True)
class TemperatureSampler(TokenSampler):
    """Divides the logits by ``temperature``: below 1 is more predictable, 0 is greedy."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _ = self.settings

    @property
    def settings(self) -> SamplerSettings:
        """Temperature only."""
        return _only("temperature", temp=self.temperature)


@dataclass(frozen=True)
class TopKSampler(TokenSampler):
    """Draws from the ``k`` likeliest tokens."""

    k: int = 50

    def __post_init__(self) -> None:
        _check_count("k", self.k)

    @property
    def settings(self) -> SamplerSettings:
        """Top-k only."""
        return _only("k", top_k=self.k)


@dataclass(frozen=True)
class TopPSampler(TokenSampler):
    """Draws from the fewest tokens whose probabilities sum to at least ``p``."""

    p: float = 0.9

    def __post_init__(self) -> None:
        _ = self.settings

    @property
    def settings(self) -> SamplerSettings:
        """Top-p only."""
        return _only("p", top_p=self.p)


@dataclass(frozen=True)
class MinPSampler(TokenSampler):
    """Draws from the tokens that are at least ``min_p`` times as likely as the likeliest."""

    min_p: float = 0.05

    def __post_init__(self) -> None:
        _ = self.settings

    @property
    def settings(self) -> SamplerSettings:
        """Min-p only."""
        return _only("min_p", min_p=self.min_p)


@dataclass(frozen=True)
class XTCSampler(TokenSampler):
    """With ``probability`` removes all tokens of at least ``threshold`` but the least likely of them."""

    threshold: float = 0.1
    probability: float = 0.5

    def __post_init__(self) -> None:
        _ = self.settings

    @property
    def settings(self) -> SamplerSettings:
        """XTC only."""
        return _only("threshold", xtc_threshold=self.threshold, xtc_probability=self.probability)


@dataclass(frozen=True)
class AntiSlopSampler(TokenSampler):
    """Makes phrases ``penalty`` times as likely: goes back where one is complete, and draws again.

    - ``slops``: phrases and compiled patterns, by default ``DEFAULT_SLOPS``; as a mapping each has a factor
      of its own. 0 is a ban
    - ``disallowed_tokens``: token ids that become ``penalty`` times as likely everywhere
    """

    slops: Iterable[str] | Mapping[str, float] = DEFAULT_SLOPS
    penalty: float = 0.0
    ignore_case: bool = True
    disallowed_tokens: frozenset[int] | Sequence[int] | set[int] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.penalty <= 1:
            raise SettingsError(f"penalty must be a number from 0 (a ban) to 1; got {self.penalty!r}")

    @property
    def settings(self) -> SamplerSettings:
        """The bias of the disallowed tokens."""
        bias = math.log(self.penalty) if self.penalty else -math.inf
        return _only("disallowed_tokens", logit_bias=dict.fromkeys(self.disallowed_tokens, bias))

    def decoder(self, provider: Provider, seed: int) -> Decoder:
        """Sampling with an AntiSlopStrategy."""
        slops = self.slops if isinstance(self.slops, Mapping) else dict.fromkeys(self.slops, self.penalty)
        strategy = AntiSlopStrategy(provider, slops, ignore_case=self.ignore_case)
        return Backtracking(strategy, self.settings, seed, provider.tokenizer)


@dataclass(frozen=True)
class BeamSearchSampler(TokenSampler):
    """Finds the likeliest texts with ``beam_width`` unfinished ones at a time; nothing is drawn."""

    beam_width: int = 5
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        self._search(1)

    def _search(self, n: int) -> BeamSearch:
        _check_count("beam_width", self.beam_width)
        if n > self.beam_width:
            raise SettingsError(
                f"num_return_sequences={n} is more than the {self.beam_width} beams; use a wider beam"
            )
        return BeamSearch(self.beam_width, self.length_penalty, self.early_stopping, num_return_sequences=n)

    def decoder(self, provider: Provider, seed: int) -> Decoder:
        """The search for the best text."""
        return self._search(1)

    def _sequences(
        self, provider: Provider, tokens: list[int], limit: int, n: int, seed: int
    ) -> list[Sequence[int]]:
        """Return the ``n`` best."""
        search = self._search(n)
        found = search.search(provider.engine, tokens, provider.tokenizer.end_tokens, limit)
        return [one.tokens for one in found]


@dataclass(frozen=True)
class QAlignSampler(TokenSampler):
    """Draws texts in proportion to p(text) * exp(reward(text) / beta), and returns the best of the chain.

    p is the model's distribution at ``temperature``; ``reward`` is any function of the text, ``num_steps``
    how many changes are proposed.
    """

    reward: Callable[[str], float]
    num_steps: int = 16
    beta: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _ = self.settings
        QAlign(self.reward, str, self.num_steps, self.beta, 0)

    @property
    def settings(self) -> SamplerSettings:
        """Temperature only."""
        return _only("temperature", temp=self.temperature)

    def decoder(self, provider: Provider, seed: int) -> Decoder:
        """The chain, as a decoder that yields its best text."""
        piece = provider.tokenizer.piece

        def text(tokens: Sequence[int]) -> str:
            return b"".join(map(piece, tokens)).decode("utf-8", "replace")

        return QAlign(self.reward, text, self.num_steps, self.beta, seed, self.settings, provider.tokenizer)


def _only(name: str, **values: Any) -> SamplerSettings:
    """Return the model's own distribution with these settings; errors name the argument ``name``."""
    try:
        return replace(SimpleSampling, **values)
    except SettingsError as error:
        field = next(iter(values))
        raise SettingsError(str(error).replace(f"{field} must", f"{name} must")) from None


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"{name} must be an integer of at least 1; got {value!r}")
