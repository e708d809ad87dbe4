"""One class for one way of choosing tokens, each with ``sample(provider, prompt)``: the plain loop around it.

For studies of single steps; ``SamplerSettings`` combines them. A provider is a Model, a LlamacppProvider or a
TransformersProvider. ``max_length`` counts new tokens in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, overload

import numpy as np

from .caller import helpful, warn
from .checks import check_integer, check_number
from .decoding.antislop import AntiSlopStrategy
from .decoding.backtracking import Backtracking
from .decoding.beam import BeamSearch
from .decoding.qalign import QAlign
from .decoding.sampling import Sampling, sample_together
from .engine import Decoder, Provider, Tokenizer, reserved
from .engines.pytorch.tensors import IdTokenizer, ModelProvider, rows_of, tensor_of
from .errors import ExceededContextLengthException, SettingsError
from .prompt import prompt_tokens
from .samplers.fields import MAX_SEED
from .samplers.presets import SimpleSampling
from .samplers.settings import SamplerSettings
from .text.pieces import decoded

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

    def __post_init__(self) -> None:
        _ = self.settings  # which checks the arguments

    @property
    def settings(self) -> SamplerSettings:
        """How the next token is drawn."""
        return SimpleSampling

    def decoder(self, provider: Provider, seed: int) -> Decoder:
        """Return the decoder that generates one sequence."""
        return Sampling(self.settings, seed, provider.tokenizer)

    @overload
    def sample(
        self,
        model: Provider,
        input_ids: str | Sequence[int],
        max_length: int = 100,
        num_return_sequences: int = 1,
        *,
        seed: int | None = None,
    ) -> list[list[int]]: ...
    @overload
    def sample(
        self,
        model: Any,
        input_ids: Any,
        max_length: int = 100,
        num_return_sequences: int = 1,
        *,
        seed: int | None = None,
    ) -> Any: ...
    @helpful()
    def sample(
        self,
        model: Any,
        input_ids: Any,
        max_length: int = 100,
        num_return_sequences: int = 1,
        *,
        seed: int | None = None,
    ) -> Any:
        """Return ``num_return_sequences`` sequences: the prompt's tokens and up to ``max_length`` new ones.

        - ``model``: a provider; then ``input_ids`` is a text or token ids, and the result a list of lists,
          each ending before an end token
        - or a PyTorch model: then ``input_ids`` is a tensor (batch, n), and the result a tensor
          (batch * num_return_sequences, length). Rows end at their end token and are padded
        - ``seed``: the same call returns the same; each sequence has draws of its own
        """
        check_integer("max_length", max_length, 1)
        check_integer("num_return_sequences", num_return_sequences, 1)
        first = replace(SimpleSampling, seed=seed).real_seed()
        if not isinstance(model, Provider):
            return self._sample_tensor(model, input_ids, max_length, num_return_sequences, first)
        tokens = prompt_tokens(model, input_ids)
        limit = min(max_length, model.engine.n_ctx - len(tokens))
        with reserved(model.engine):
            found = self._sequences(model, tokens, limit, num_return_sequences, first)
        return [[*tokens, *new] for new in found]

    def _get_ready(self, provider: ModelProvider) -> None:
        """Look for what a bare model needs beside its engine."""

    def _sequences(
        self, provider: Provider, tokens: list[int], limit: int, n: int, seed: int
    ) -> list[Sequence[int]]:
        """Return the new tokens of ``n`` sequences."""
        engine, end_tokens = provider.engine, provider.tokenizer.end_tokens
        return [
            list(self.decoder(provider, one)(engine, tokens, end_tokens, limit)) for one in _seeds(seed, n)
        ]

    def _sample_tensor(self, model: Any, input_ids: Any, max_length: int, n: int, seed: int) -> Any:
        """``sample`` for a PyTorch model."""
        provider = ModelProvider(model)
        ends = provider.tokenizer.end_tokens
        try:
            self._get_ready(provider)
            prompts = rows_of(input_ids, provider)
            limit = min(max_length, provider.engine.n_ctx - len(prompts[0]))
            if limit < 1:
                raise ExceededContextLengthException(len(prompts[0]), provider.engine.n_ctx)
            seeds = _seeds(seed, len(prompts) * n)
            each = [prompt for prompt in prompts for _ in range(n)]
            found: list[Sequence[int]] = []
            decoders = [self.decoder(provider, one) for one in seeds]
            plain = [decoder for decoder in decoders if isinstance(decoder, Sampling)]
            if len(plain) == len(each) > 1:
                found += sample_together(provider.engine, each, plain, ends, limit)
            else:
                for i, prompt in enumerate(prompts):
                    found += self._sequences(provider, prompt, limit, n, seeds[i * n])
        finally:
            provider.engine.close()
        ended = [[*new, min(ends)] if ends and len(new) < limit else new for new in found]
        return tensor_of([[*p, *new] for p, new in zip(each, ended, strict=True)], input_ids, model, ends)


@helpful()
@dataclass(frozen=True)
class TemperatureSampler(TokenSampler):
    """Divides the logits by ``temperature``: below 1 is more predictable, 0 is greedy."""

    temperature: float = 1.0

    @property
    def settings(self) -> SamplerSettings:
        """Temperature only."""
        return _only("temperature", temp=self.temperature)


@helpful()
@dataclass(frozen=True)
class TopKSampler(TokenSampler):
    """Draws from the ``k`` likeliest tokens."""

    k: int = 50

    def __post_init__(self) -> None:
        check_integer("k", self.k, 1)

    @property
    def settings(self) -> SamplerSettings:
        """Top-k only."""
        return _only("k", top_k=self.k)


@helpful()
@dataclass(frozen=True)
class TopPSampler(TokenSampler):
    """Draws from the fewest tokens whose probabilities sum to at least ``p``."""

    p: float = 0.9

    @property
    def settings(self) -> SamplerSettings:
        """Top-p only."""
        return _only("p", top_p=self.p)


@helpful()
@dataclass(frozen=True)
class MinPSampler(TokenSampler):
    """Draws from the tokens that are at least ``min_p`` times as likely as the likeliest."""

    min_p: float = 0.05

    @property
    def settings(self) -> SamplerSettings:
        """Min-p only."""
        return _only("min_p", min_p=self.min_p)


@helpful()
@dataclass(frozen=True)
class XTCSampler(TokenSampler):
    """With ``probability`` removes all tokens of at least ``threshold`` but the least likely of them."""

    threshold: float = 0.1
    probability: float = 0.5

    @property
    def settings(self) -> SamplerSettings:
        """XTC only."""
        return _only("threshold", xtc_threshold=self.threshold, xtc_probability=self.probability)


@helpful()
@dataclass(frozen=True)
class AntiSlopSampler(TokenSampler):
    """Makes phrases ``penalty`` times as likely: goes back where one is complete, and draws again.

    - ``slops``: phrases and compiled patterns, by default ``DEFAULT_SLOPS``; as a mapping each has a factor
      of its own. They need a tokenizer. That of a PyTorch model is its attribute ``tokenizer``, or what
      transformers has on this machine for the name in ``model.config``; nothing is fetched. A model without
      one takes ``disallowed_phrases``; the default slops are left out with a warning
    - ``penalty``: 0 is a ban, 1 changes nothing
    - ``disallowed_phrases``: lists of token ids
    - ``disallowed_tokens``: token ids that become ``penalty`` times as likely everywhere
    """

    slops: Iterable[str] | Mapping[str, float] | None = None
    penalty: float = 0.0
    ignore_case: bool = True
    disallowed_tokens: Iterable[int] = ()
    disallowed_phrases: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        check_number("penalty", self.penalty, 0, 1, also=" (0 is a ban)")
        object.__setattr__(self, "disallowed_tokens", tuple(self.disallowed_tokens))
        if self.slops is not None and not isinstance(self.slops, (str, Mapping)):
            object.__setattr__(self, "slops", tuple(self.slops))

    @property
    def settings(self) -> SamplerSettings:
        """The bias of the disallowed tokens."""
        bias = math.log(self.penalty) if self.penalty else -math.inf
        return _only("disallowed_tokens", logit_bias=dict.fromkeys(self.disallowed_tokens, bias))

    @property
    def _phrases(self) -> Iterable[Any] | Mapping[Any, float]:
        """The slops, those by default where nothing else is disallowed."""
        if self.slops is not None:
            return self.slops
        return () if self.disallowed_phrases or self.disallowed_tokens else DEFAULT_SLOPS

    def _get_ready(self, provider: ModelProvider) -> None:
        """Find the model's tokenizer where there are phrases; without one the default ones ban nothing."""
        if not self._phrases or provider.read_text():
            return
        if self.slops is not None:
            raise SettingsError(
                "slops are texts, and this model tells no tokenizer: set its attribute tokenizer, give "
                "disallowed_phrases as token ids, or sample from TransformersProvider(model, tokenizer)"
            )
        warn(
            "AntiSlopSampler bans nothing here, because this model tells no tokenizer: set its attribute "
            "tokenizer, or sample from TransformersProvider(model, tokenizer)"
        )

    def decoder(self, provider: Provider, seed: int) -> Decoder:
        """Sampling with an AntiSlopStrategy."""
        slops = self._factors(provider.tokenizer)
        if not slops:
            return Sampling(self.settings, seed, provider.tokenizer)
        is_text = not isinstance(provider.tokenizer, IdTokenizer)  # characters for tokens have no case
        strategy = AntiSlopStrategy(provider, slops, ignore_case=self.ignore_case and is_text)
        return Backtracking(strategy, self.settings, seed, provider.tokenizer)

    def _factors(self, tokenizer: Tokenizer) -> dict[Any, float]:
        """Return what to look for, with its factors."""
        bare = tokenizer if isinstance(tokenizer, IdTokenizer) else None
        slops = () if bare is not None else self._phrases
        if isinstance(slops, str):
            raise SettingsError(f"slops must be a list of phrases; got only {slops!r}")
        found: dict[Any, float] = dict(
            slops if isinstance(slops, Mapping) else dict.fromkeys(slops, self.penalty)
        )
        for phrase in self.disallowed_phrases:
            found[decoded(tokenizer, phrase) if bare is None else bare.spelled(phrase)] = self.penalty
        return found


@helpful()
@dataclass(frozen=True)
class BeamSearchSampler(TokenSampler):
    """Finds the likeliest texts with ``beam_width`` unfinished ones at a time; nothing is drawn."""

    beam_width: int = 5
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        self._search(1)

    def _search(self, n: int) -> BeamSearch:
        check_integer("beam_width", self.beam_width, 1)
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


@helpful()
@dataclass(frozen=True)
class QAlignSampler(TokenSampler):
    """Draws texts in proportion to p(text) * exp(reward(text) / beta), and returns the best of the chain.

    p is the model's distribution at ``temperature``; ``num_steps`` is how many changes are proposed.
    ``reward`` is any function of the new text; for a bare PyTorch model, of a tensor of the new tokens,
    int64 (1, n).
    """

    reward: Callable[[Any], float]
    num_steps: int = 16
    beta: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        QAlign(self.reward, str, self.num_steps, self.beta, 0)

    @property
    def settings(self) -> SamplerSettings:
        """Temperature only."""
        return _only("temperature", temp=self.temperature)

    def decoder(self, provider: Provider, seed: int) -> Decoder:
        """The chain, as a decoder that yields its best text."""
        tokenizer = provider.tokenizer
        text = tokenizer.answer if isinstance(tokenizer, IdTokenizer) else partial(decoded, tokenizer)
        return QAlign(self.reward, text, self.num_steps, self.beta, seed, self.settings, tokenizer)


def _only(name: str, **values: Any) -> SamplerSettings:
    """Return the model's own distribution with these settings; errors name the argument ``name``."""
    try:
        return replace(SimpleSampling, **values)
    except SettingsError as error:
        field = next(iter(values))
        raise SettingsError(str(error).replace(f"{field} must", f"{name} must")) from None


def _seeds(seed: int, n: int) -> list[int]:
    """Return ``n`` seeds, the first of them ``seed``."""
    return [seed, *map(int, np.random.default_rng(seed).integers(MAX_SEED + 1, size=n - 1))]
