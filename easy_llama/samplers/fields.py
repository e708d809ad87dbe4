"""The fields of SamplerSettings and the steps they stand for: one table of each.

Defaults, checks, help, flags, docstring and the table in DOCS.md come from the rows of SamplerFields. What is
on, in which order, and how a step is made of the fields comes from STEPS, for numpy and for llama.cpp's
chain. To add a sampler step: write it in ``steps/basic.py``, add its field and its row here, and a line to
the table in ``engines/llama/samplers.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from .. import steps
from ..engine import Step, Tokenizer
from ..errors import SettingsError
from . import kinds

__all__ = [
    "FIELDS",
    "MAX_SEED",
    "STEPS",
    "FieldRow",
    "LogitBias",
    "SamplerFields",
    "StepNeeds",
    "StepRow",
    "describe",
    "resolve_biases",
]

MAX_SEED = 0xFFFFFFFE  # llama.cpp reads 0xFFFFFFFF as "draw one"
_MAX_LENGTH = 1_000_000_000
_MAX_LAST_N = 1 << 24
_OFF = "to switch it off"  # what None does to most fields

LogitBias: TypeAlias = Mapping[Any, float] | Sequence[tuple[int | str, float]] | None
"""Token, by its id or by a text that is one token -> number that is added to its logit."""


# --- the fields ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FieldRow:
    """What is known of a field: its ``kind`` of value, a line of ``help``, ``usual`` values, a ``source``."""

    kind: kinds.Kind
    help: str
    usual: str = ""
    source: str = ""


def _row(default: Any, kind: kinds.Kind, help: str, usual: str = "", source: str = "", **options: Any) -> Any:
    return field(default=default, metadata={"row": FieldRow(kind, help, usual, source)}, **options)


def _number(
    default: float | None, low: float, high: float, *texts: str, off: str = "to switch it off"
) -> Any:
    return _row(default, kinds.Number(low, high, off), *texts)


def _count(default: int | None, low: int, high: int, *texts: str, off: str = "") -> Any:
    return _row(default, kinds.Number(low, high, off, whole=True), *texts)


@dataclass(frozen=True, slots=True, repr=False)
class SamplerFields:
    """The fields: default, range, help, usual values, source. Values are checked when an object is made."""

    max_len_tokens: int = _row(
        -1, kinds.Number(-_MAX_LENGTH, _MAX_LENGTH, "", whole=True, bounded=False),
        "Longest generation in tokens; below 1 is unlimited, to the end of the context.",
    )  # fmt: skip
    temp: float | None = _row(
        0.8, kinds.Number(0, steps.MAX_TEMP, near_zero=steps.MIN_TEMP),
        "Temperature; 0 always takes the likeliest token.", "0.2 to 1.5",
    )  # fmt: skip
    top_p: float | None = _number(
        0.95, 0, 1, "Nucleus sampling: keep this much probability.", "0.8 to 0.98",
        "https://arxiv.org/abs/1904.09751",
    )  # fmt: skip
    min_p: float | None = _number(
        0.05, 0, 1, "Keep tokens at least this likely compared with the likeliest.", "0.02 to 0.2",
        "https://arxiv.org/abs/2407.01082",
    )  # fmt: skip
    frequency_penalty: float | None = _number(
        0.0, -100, 100, "Penalty for each occurrence among the last tokens.", "0 to 1",
    )  # fmt: skip
    presence_penalty: float | None = _number(
        0.0, -100, 100, "Penalty for having occurred among the last tokens.", "0 to 1",
    )  # fmt: skip
    repeat_penalty: float | None = _number(
        1.0, 0.01, 100, "Divide the logits of tokens that occurred.", "1 to 1.3",
        "https://arxiv.org/abs/1909.05858",
    )  # fmt: skip
    top_k: int | None = _count(
        40, -1, _MAX_LENGTH, "Keep the k likeliest tokens; below 1 is off.", "20 to 100",
        "https://arxiv.org/abs/1805.04833", off=_OFF,
    )  # fmt: skip
    _: KW_ONLY  # the eight above have the order of easy-llama's documents
    seed: int | None = _count(
        None, 0, MAX_SEED, "Seed of the draws; without one it is drawn, and model.stats.seed tells it.",
        off="to draw one",
    )  # fmt: skip
    penalty_last_n: int = _count(
        64, 0, _MAX_LAST_N, "How many of the last tokens, the prompt's too, the penalties look at.",
    )  # fmt: skip
    typical_p: float | None = _number(
        1.0, 0, 1, "Keep the typically surprising tokens up to this probability; 1 is off.", "0.2 to 0.95",
        "https://arxiv.org/abs/2202.00666",
    )  # fmt: skip
    top_n_sigma: float | None = _number(
        None, 0, 100, "Keep logits within this many standard deviations of the highest.", "1",
        "https://arxiv.org/abs/2411.07641",
    )  # fmt: skip
    xtc_probability: float | None = _number(
        0.0, 0, 1, "How often XTC removes the likeliest tokens; 0 is off.", "0.5",
        "https://github.com/ggml-org/llama.cpp/pull/9742",
    )  # fmt: skip
    xtc_threshold: float = _number(
        0.1, 0, 1, "Probability from which on XTC removes all tokens but the last.", "0.05 to 0.2", off="",
    )  # fmt: skip
    dry_multiplier: float | None = _number(
        0.0, 0, 100, "Strength of DRY, the penalty on lengthening a repetition; 0 is off.", "0.8",
        "https://github.com/ggml-org/llama.cpp/pull/9702",
    )  # fmt: skip
    dry_base: float = _number(
        1.75, 1, 100, "DRY's penalty grows by this factor with every token it repeats.", "1.75", off="",
    )  # fmt: skip
    dry_allowed_length: int = _count(
        2, 0, _MAX_LAST_N, "Repetitions below this length are free.", "2 to 4",
    )  # fmt: skip
    dry_penalty_last_n: int = _count(
        64, 0, _MAX_LAST_N, "How many of the last tokens DRY looks at.", "64 or more",
    )  # fmt: skip
    dry_sequence_breakers: Sequence[str] = _row(
        ("\n", ":", '"', "*"), kinds.Texts(), "Texts that no repetition reaches across, as a JSON list.",
    )  # fmt: skip
    dynatemp_range: float | None = _number(
        0.0, 0, 100, "Move the temperature by up to this with the entropy; 0 is off.", "0.5",
        "https://arxiv.org/abs/2309.02772",
    )  # fmt: skip
    dynatemp_exponent: float = _number(
        1.0, 0, 100, "How the temperature moves; above 1 it stays low for longer.", "1", off="",
    )  # fmt: skip
    mirostat: int = _row(
        0, kinds.Number(0, 2, whole=True, none=0),
        "Hold the surprise at a target: 1 or 2, the version; 0 is off. Replaces all other steps but bias and "
        "temperature.", "2", "https://arxiv.org/abs/2007.14966",
    )  # fmt: skip
    mirostat_tau: float = _number(
        5.0, 0, 100, "The surprise that mirostat aims at, in bits.", "3 to 8", off="",
    )  # fmt: skip
    mirostat_eta: float = _number(0.1, 0, 1, "How fast mirostat corrects itself.", "0.05 to 0.2", off="")
    adaptive_target: float | None = _number(
        None, 0, 1, "Prefer tokens of about this probability.", "0.3 to 0.7",
        "https://github.com/ggml-org/llama.cpp/pull/17927",
    )  # fmt: skip
    adaptive_decay: float = _number(  # llama.cpp cuts it at 0.99
        0.9, 0, 0.99, "How long the adaptive target remembers; 0.9 is about 10 tokens.", "0.9", off="",
    )  # fmt: skip
    logit_bias: LogitBias = _row(
        (), kinds.Biases(),
        'Added to logits: {"12": -1.5} by id, {"yes": 2} or [["12", 2]] by text; -Infinity bans.',
    )  # fmt: skip
    grammar: str | None = _row(
        None, kinds.Gbnf(), "GBNF that the text must follow.", "",
        "https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md",
    )  # fmt: skip
    json_schema: Mapping[str, Any] | type | None = _row(
        None, kinds.Schema(), "JSON schema that the text must follow.", "", "https://json-schema.org",
        hash=False,
    )  # fmt: skip
    penalty_alpha: float | None = _number(
        None, 0, 1, "Contrastive search over top-k candidates with this alpha.", "0.6, with top_k 4",
        "https://arxiv.org/abs/2202.06417",
    )  # fmt: skip
    num_beams: int = _count(1, 1, 256, "Beam search with that many beams; 1 is off.", "2 to 8")
    length_penalty: float = _number(
        1.0, -10, 10, "Of beam search: above 0 favours longer texts.", "0.6 to 2",
        "https://arxiv.org/abs/1609.08144", off="",
    )  # fmt: skip
    early_stopping: bool | Literal["never"] = _row(
        False, kinds.EarlyStopping(),
        "Of beam search: end at the first texts that are complete; never proves the best.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name, row in FIELDS.items():
            object.__setattr__(self, name, row.kind.check(name, getattr(self, name)))
        if self.grammar is not None and self.json_schema is not None:
            raise SettingsError(
                "grammar and json_schema can't be used together; a JSON schema becomes a grammar, so give one"
            )
        if self.num_beams > 1 and self.penalty_alpha is not None:
            raise SettingsError(
                f"num_beams={self.num_beams} (beam search) and penalty_alpha={self.penalty_alpha!r} "
                "(contrastive search) exclude each other; give num_beams=1 or penalty_alpha=None"
            )

    def changed(self) -> dict[str, Any]:
        """Return the fields that are not at their defaults, with their values."""
        values = {one.name: (getattr(self, one.name), one.default) for one in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    # --- what is on ------------------------------------------------------------------------------------

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
    def moves_temperature(self) -> bool:
        """Whether the temperature depends on the entropy."""
        return bool(self.dynatemp_range and not self.mirostat)

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token that the steps leave is always taken."""
        return self.temp == 0 and not self.moves_temperature

    @property
    def is_constrained(self) -> bool:
        """Whether a grammar or a JSON schema limits the text."""
        return self.grammar is not None or self.json_schema is not None

    @property
    def active_steps(self) -> list[StepRow]:
        """The rows of STEPS that are on, in order."""
        return [row for row in STEPS if (row.with_mirostat or not self.mirostat) and row.is_on(self)]


FIELDS: dict[str, FieldRow] = {one.name: one.metadata["row"] for one in fields(SamplerFields)}
"""The rows by the names of the fields, in order."""


def describe() -> str:
    """Return the fields as the list in a docstring."""
    lines = []
    for name, row in FIELDS.items():
        usual, source = f" Usual: {row.usual}." if row.usual else "", f" ({row.source})" if row.source else ""
        lines.append(f"    - ``{name}``: {row.help}{usual}{source}")
    return "\n".join(lines)


# --- the steps -----------------------------------------------------------------------------------------


class StepNeeds(NamedTuple):
    """What a step may need beside the fields: a ``tokenizer``, or None, and a ``coin``, which gives XTC a
    number in [0, 1) for a position."""

    tokenizer: Tokenizer | None
    coin: Callable[[int], float]


class StepRow(NamedTuple):
    """A sampler step: its name, whether the fields switch it on, and the numpy function.

    ``keeps_all`` tells that it removes nothing, so that searches use it too; ``with_mirostat`` that mirostat
    does not replace it.
    """

    name: str
    is_on: Callable[[SamplerFields], bool]
    make: Callable[[SamplerFields, StepNeeds], Step]
    keeps_all: bool = False
    with_mirostat: bool = False


def _bias(s: SamplerFields, needs: StepNeeds) -> Step:
    return steps.logit_bias(resolve_biases(s, needs.tokenizer))


def _penalties(s: SamplerFields, needs: StepNeeds) -> Step:
    often, there = s.frequency_penalty or 0.0, s.presence_penalty or 0.0
    return steps.penalties(s.penalty_last_n, s.repeat_penalty or 1.0, often, there)


def _dry(s: SamplerFields, needs: StepNeeds) -> Step:
    if s.dry_sequence_breakers and needs.tokenizer is None:
        raise SettingsError(
            "dry_sequence_breakers are texts, so DRY needs a tokenizer here; pass one, or "
            "dry_sequence_breakers=() for none"
        )
    breakers = steps.dry_breakers(needs.tokenizer, s.dry_sequence_breakers) if needs.tokenizer else {}
    multiplier, last_n = s.dry_multiplier or 0.0, s.dry_penalty_last_n
    return steps.dry(multiplier, s.dry_base, s.dry_allowed_length, last_n, breakers)


def _temperature(s: SamplerFields, needs: StepNeeds) -> Step:
    temp = 1.0 if s.temp is None else s.temp
    if s.moves_temperature:
        return steps.dynamic_temperature(temp, s.dynatemp_range or 0.0, s.dynatemp_exponent)
    return steps.temperature(temp)


STEPS = (
    StepRow("logit_bias", lambda s: bool(s.logit_bias), _bias, keeps_all=True, with_mirostat=True),
    StepRow("penalties", lambda s: s.penalizes, _penalties, keeps_all=True),
    StepRow("dry", lambda s: s.breaks_repeats, _dry, keeps_all=True),
    StepRow("top_n_sigma", lambda s: bool(s.top_n_sigma), lambda s, _: steps.top_n_sigma(s.top_n_sigma or 0)),
    StepRow("top_k", lambda s: (s.top_k or 0) > 0, lambda s, _: steps.top_k(s.top_k or 0)),
    StepRow("typical", lambda s: _below_1(s.typical_p), lambda s, _: steps.typical(s.typical_p or 0)),
    StepRow("top_p", lambda s: _below_1(s.top_p), lambda s, _: steps.top_p(s.top_p or 0)),
    StepRow("min_p", lambda s: (s.min_p or 0) > 0, lambda s, _: steps.min_p(s.min_p or 0)),
    StepRow(
        "xtc",
        lambda s: bool(s.xtc_probability) and s.xtc_threshold <= 0.5,
        lambda s, needs: steps.xtc(s.xtc_probability or 0.0, s.xtc_threshold, needs.coin),
    ),
    StepRow(
        "temperature",
        lambda s: s.moves_temperature or s.temp not in (None, 1),
        _temperature,
        with_mirostat=True,
    ),
)
"""The steps in llama.cpp's order."""


def _below_1(value: float | None) -> bool:
    return value is not None and value < 1


def resolve_biases(settings: SamplerFields, tokenizer: Tokenizer | None) -> dict[int, float]:
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
