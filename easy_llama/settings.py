"""SamplerSettings: how the next token is chosen, and the numpy steps that follow from it.

``None`` switches a step off; a field that is not given has llama.cpp's default. Settings are checked when
they are made. The order of the steps is llama.cpp's: logit bias, penalties, DRY, top-n-sigma, top-k,
typical, top-p, min-p, XTC, temperature. Mirostat replaces all but logit bias and temperature.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, cast

from . import draws, steps
from .engine import Step, Tokenizer
from .errors import SettingsError
from .setting_checks import MAX_SEED, checked, refuse_contradictions

__all__ = ["LogitBias", "SamplerSettings", "resolve_biases"]

LogitBias: TypeAlias = Mapping[Any, float] | Sequence[tuple[int | str, float]] | None
"""Token, by its id or by a text that is one token -> number that is added to its logit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """How the next token is chosen.

    - ``max_len_tokens``: longest generation in tokens; below 1 is unlimited (to the end of the context)
    - ``temp``: temperature, 0 is greedy, 1 the model's own distribution; 0.2 to 1.5 is usual
    - ``top_p``: nucleus sampling, 0.8 to 0.98 is usual (https://arxiv.org/abs/1904.09751)
    - ``min_p``: least probability as a share of the highest, 0.02 to 0.2 (https://arxiv.org/abs/2407.01082)
    - ``frequency_penalty``: subtracted per occurrence among the last tokens, 0 to 1
    - ``presence_penalty``: subtracted once for tokens that occur, 0 to 1
    - ``repeat_penalty``: divides the logits of tokens that occur, 1.0 to 1.3
    - ``top_k``: keep the k most likely tokens; below 1 is off
    - ``seed``: of the draws, 0 to 4,294,967,294; None draws one, which ``model.stats.seed`` records
    - ``penalty_last_n``: how many of the last tokens, prompt included, the penalties look at
    - ``typical_p``: keep the typically surprising, 0.2 to 0.95; 1 is off (https://arxiv.org/abs/2202.00666)
    - ``top_n_sigma``: keep logits within n standard deviations of the best, 1 (https://arxiv.org/abs/2411.07641)
    - ``xtc_probability``: how often XTC removes the likeliest tokens, 0.5; 0 is off (llama.cpp PR 9742)
    - ``xtc_threshold``: probability from which on XTC removes all but the last, 0.05 to 0.2
    - ``dry_multiplier``: strength of the penalty on long repetitions, 0.8; 0 is off (llama.cpp PR 9702)
    - ``dry_base``: the penalty grows by this factor with every token of the repetition, 1.75
    - ``dry_allowed_length``: repetitions below this length are free, 2 to 4 tokens
    - ``dry_penalty_last_n``: how many of the last tokens DRY looks at, 64 to the whole context
    - ``dry_sequence_breakers``: texts that no repetition reaches across
    - ``dynatemp_range``: the temperature moves by up to this with the entropy, 0 is off (https://arxiv.org/abs/2309.02772)
    - ``dynatemp_exponent``: how it moves: 1 evenly, above 1 it stays low for longer
    - ``mirostat``: 1 or 2 hold the surprise at ``mirostat_tau``, 0 is off (https://arxiv.org/abs/2007.14966)
    - ``mirostat_tau``: the surprise aimed at, 3 to 8 bits
    - ``mirostat_eta``: how fast mirostat corrects itself, 0.05 to 0.2
    - ``adaptive_target``: prefer tokens of about this probability, 0.3 to 0.7 (llama.cpp PR 17927)
    - ``adaptive_decay``: how long adaptive-p remembers: 0.9 is about 10 tokens, 0.99 about 100
    - ``logit_bias``: {token id, or text that is one token: number added to its logit}; -inf bans it
    - ``grammar``: GBNF that the text must follow (llama.cpp ``grammars/README.md``)
    - ``json_schema``: JSON schema that the text must follow: a dictionary or a pydantic model class
    - ``penalty_alpha``: contrastive search with ``top_k`` candidates, 0.6 (https://arxiv.org/abs/2202.06417)
    - ``num_beams``: beam search with that many beams, 2 to 10; 1 is off
    - ``length_penalty``: of beam search: above 0 favours longer texts, 0.6 to 2
    - ``early_stopping``: of beam search: True ends at the first ``num_beams`` texts, "never" proves the best
    """

    max_len_tokens: int = -1
    temp: float | None = 0.8
    top_p: float | None = 0.95
    min_p: float | None = 0.05
    frequency_penalty: float | None = 0.0
    presence_penalty: float | None = 0.0
    repeat_penalty: float | None = 1.0
    top_k: int | None = 40
    seed: int | None = None
    penalty_last_n: int = 64
    typical_p: float | None = 1.0
    top_n_sigma: float | None = None
    xtc_probability: float | None = 0.0
    xtc_threshold: float = 0.1
    dry_multiplier: float | None = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*")
    dynatemp_range: float | None = 0.0
    dynatemp_exponent: float = 1.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_target: float | None = None
    adaptive_decay: float = 0.9
    logit_bias: LogitBias = ()
    grammar: str | None = None
    json_schema: Mapping[str, Any] | type | None = field(default=None, hash=False)
    penalty_alpha: float | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, checked(one.name, getattr(self, one.name)))
        refuse_contradictions(
            grammar=self.grammar,
            json_schema=self.json_schema,
            alpha=self.penalty_alpha,
            num_beams=self.num_beams,
        )

    # --- which steps are on -------------------------------------------------------------------------------

    @property
    def penalizes(self) -> bool:
        """Whether any of the three penalties is on."""
        neutral = (self.repeat_penalty or 1.0) == 1.0
        return bool(self.penalty_last_n) and not (
            neutral and not self.frequency_penalty and not self.presence_penalty
        )

    @property
    def breaks_repeats(self) -> bool:
        """Whether DRY is on."""
        return bool(self.dry_multiplier and self.dry_penalty_last_n)

    @property
    def window(self) -> int:
        """How many of the last tokens the steps look at."""
        if self.mirostat:
            return 0
        penalties = self.penalty_last_n if self.penalizes else 0
        return max(penalties, self.dry_penalty_last_n if self.breaks_repeats else 0)

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token that the steps leave is always taken."""
        return self.temp == 0 and (not self.dynatemp_range or bool(self.mirostat))

    @property
    def draws_with_state(self) -> bool:
        """Whether what is drawn changes how the next token is drawn: mirostat or adaptive-p."""
        return self.draw_rule() is not None

    @property
    def is_constrained(self) -> bool:
        """Whether a grammar or a JSON schema limits the text."""
        return self.grammar is not None or self.json_schema is not None

    def draw_rule(self) -> draws.DrawRule | None:
        """Return mirostat or adaptive-p if one is on; greedy decoding needs neither."""
        if self.is_greedy:
            return None
        if self.mirostat:
            kind = draws.Mirostat if self.mirostat == 1 else draws.MirostatV2
            return kind(self.mirostat_tau, self.mirostat_eta)
        if self.adaptive_target is not None:
            return draws.AdaptiveP(self.adaptive_target, self.adaptive_decay)
        return None

    # --- the steps in numpy -------------------------------------------------------------------------------

    def named_steps(
        self, tokenizer: Tokenizer | None = None, coin: Callable[[int], float] | None = None
    ) -> list[tuple[str, Step]]:
        """The steps that are on, in order, with their names.

        ``tokenizer`` resolves texts in ``logit_bias`` and DRY's breakers; SettingsError where it is needed
        and missing. ``coin`` gives XTC a number in [0, 1) for a position; without it they come from ``seed``.
        """
        chain = self._bias_steps(tokenizer)
        if self.mirostat:
            return chain + self._temperature_steps()
        chain += self._repetition_steps(tokenizer)
        if self.top_n_sigma:
            chain.append(("top_n_sigma", steps.top_n_sigma(self.top_n_sigma)))
        if self.top_k is not None and self.top_k > 0:
            chain.append(("top_k", steps.top_k(self.top_k)))
        if self.typical_p is not None and self.typical_p < 1:
            chain.append(("typical", steps.typical(self.typical_p)))
        if self.top_p is not None and self.top_p < 1:
            chain.append(("top_p", steps.top_p(self.top_p)))
        if self.min_p is not None and self.min_p > 0:
            chain.append(("min_p", steps.min_p(self.min_p)))
        if self.xtc_probability and self.xtc_threshold <= 0.5:
            coin = coin or _coin(steps.stream_seed(self.seed or 0, steps.XTC))
            chain.append(("xtc", steps.xtc(self.xtc_probability, self.xtc_threshold, coin)))
        return chain + self._temperature_steps()

    def steps(
        self, tokenizer: Tokenizer | None = None, coin: Callable[[int], float] | None = None
    ) -> list[Step]:
        """The steps that are on, in order: numpy functions ``(tokens, logits) -> logits``."""
        return [step for _, step in self.named_steps(tokenizer, coin)]

    def model_steps(self, tokenizer: Tokenizer | None = None) -> list[Step]:
        """The steps that change the model's distribution and remove nothing: bias, penalties, DRY.

        For searches, which do not draw.
        """
        return [step for _, step in self._bias_steps(tokenizer) + self._repetition_steps(tokenizer)]

    def _bias_steps(self, tokenizer: Tokenizer | None) -> list[tuple[str, Step]]:
        if not self.logit_bias:
            return []
        return [("logit_bias", steps.logit_bias(resolve_biases(self, tokenizer)))]

    def _repetition_steps(self, tokenizer: Tokenizer | None) -> list[tuple[str, Step]]:
        chain: list[tuple[str, Step]] = []
        if self.penalizes:
            repeat, often, there = self.repeat_penalty, self.frequency_penalty, self.presence_penalty
            step = steps.penalties(self.penalty_last_n, repeat or 1.0, often or 0.0, there or 0.0)
            chain.append(("penalties", step))
        if self.breaks_repeats:
            texts = self.dry_sequence_breakers
            if texts and tokenizer is None:
                raise SettingsError(
                    "dry_sequence_breakers are texts, so DRY needs a tokenizer here; pass one, or "
                    "dry_sequence_breakers=() for none"
                )
            breakers = steps.dry_breakers(tokenizer, texts) if tokenizer is not None else {}
            step = steps.dry(
                self.dry_multiplier or 0.0,
                self.dry_base,
                self.dry_allowed_length,
                self.dry_penalty_last_n,
                breakers,
            )
            chain.append(("dry", step))
        return chain

    def _temperature_steps(self) -> list[tuple[str, Step]]:
        if self.dynatemp_range and not self.mirostat:
            temp = 1.0 if self.temp is None else self.temp
            step = steps.dynamic_temperature(temp, self.dynatemp_range, self.dynatemp_exponent)
            return [("temperature", step)]
        if self.temp is None or self.temp == 1:
            return []
        return [("temperature", steps.temperature(self.temp))]

    # --- numbers ------------------------------------------------------------------------------------------

    def real_seed(self) -> int:
        """Return the seed, drawing one if none is set."""
        return secrets.randbelow(MAX_SEED + 1) if self.seed is None else int(self.seed)

    def limit(self, room: int) -> int:
        """Return how many tokens may be generated where ``room`` are left in the context."""
        return room if self.max_len_tokens < 1 else min(self.max_len_tokens, room)


def resolve_biases(settings: SamplerSettings, tokenizer: Tokenizer | None) -> dict[int, float]:
    """Return ``logit_bias`` by token id, numbers for the same token added up.

    Raises SettingsError for a text that isn't exactly one token.
    """
    biases: dict[int, float] = {}
    for key, bias in cast("tuple[tuple[int | str, float], ...]", settings.logit_bias):
        token = _one_token(key, tokenizer) if isinstance(key, str) else key
        biases[token] = biases.get(token, 0.0) + bias
    return biases


def _one_token(text: str, tokenizer: Tokenizer | None) -> int:
    if tokenizer is None:
        raise SettingsError(f"logit_bias names the text {text!r}, so a tokenizer is needed here; pass one")
    tokens = tokenizer.encode(text, bos=False)
    if len(tokens) != 1:
        raise SettingsError(
            f"logit_bias: {text!r} is {len(tokens)} tokens, {tokens}, and only one can have a bias; give "
            "token ids, or use AntiSlopStrategy for whole phrases"
        )
    return tokens[0]


def _coin(seed: int) -> Callable[[int], float]:
    return lambda position: steps.uniform(seed, position)
