"""The report: one HTML file with texts side by side, every token coloured by its probability.

It needs no network and no script, and its policy forbids both. What a model wrote is data: everything is
escaped, control characters are made visible.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Protocol

from ..terminal.escape import shortened
from .chart import MARKERS, band_text, bar, marker, numbers_text, scatter
from .outcome import Outcome
from .rows import COLUMNS, HINTS, cells
from .style import BANDS, STYLESHEET, band_of

__all__ = ["html_of", "write_html"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}
# of the rest, those that turn the direction of the text around could make it read as what it is not
_CONTROLS |= dict.fromkeys([*range(128, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
_TITLE = "Decoding methods compared"
_LONG = 1_200  # characters of a prompt that is folded away, 15 lines
_MANY = 6  # methods that wrote the same; their names are folded away

_Group = list[tuple[int, Outcome]]


class Comparison(Protocol):
    """What a section of the report tells; ``Study`` says what each is."""

    @property
    def prompt(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def n_prompt(self) -> int: ...
    @property
    def max_len_tokens(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def date(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def outcomes(self) -> Sequence[Outcome]: ...


def write_html(path: str | os.PathLike[str], studies: Mapping[str, Comparison]) -> Path:
    """Write one report on ``studies``, by their titles, and return its path."""
    file = Path(path)
    file.write_text(html_of(studies), encoding="utf-8")
    return file


def html_of(studies: Mapping[str, Comparison]) -> str:
    """Return the report as a text."""
    names = {title: f"s{n}" for n, title in enumerate(studies, 1)}
    links = "".join(f'<a href="#{name}">{_data(title)}</a>' for title, name in names.items())
    nav = f"<nav>{links}</nav>" if len(studies) > 1 else ""
    body = "".join(_section(names[title], title, study) for title, study in studies.items())
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_TITLE}</title><style>{STYLESHEET}</style></head>\n<body><main><h1>{_TITLE}</h1>\n"
        "<p>The same prompt, continued by each method. Every token is coloured by the probability that the "
        "model itself gives it, before any method changes that; point at one to see it.</p>"
        f"{_legend()}{nav}\n{body}</main></body></html>\n"
    )


def _data(text: str) -> str:
    """Escape what somebody else wrote."""
    return escape(text.translate(_CONTROLS))


def _legend() -> str:
    bands = "".join(
        f'<li><span class="b{band}">{band_text(band)}</span></li>' for band in range(len(BANDS) + 1)
    )
    return f'<ul class="legend"><li>probability</li>{bands}</ul>'


def _section(name: str, title: str, study: Comparison) -> str:
    groups = _groups(study.outcomes)
    cards = "\n".join(_card(f"{name}-{group[0][0]}", group) for group in groups)
    return (
        f'<section><h2 id="{name}">{_data(title)}</h2>'
        f'<p class="soft">{_data(study.model)}, seed {study.seed}, texts of up to '
        f"{study.max_len_tokens} tokens. Made on {_data(study.date)} with easy_llama "
        f"{_data(study.version)}.</p>"
        f"{_prompt(study)}"
        f"{_plot(study.outcomes)}{_table(name, groups)}"
        f'<div class="cards">\n{cards}\n</div></section>\n'
    )


def _prompt(study: Comparison) -> str:
    """Return the prompt, folded away where it is long."""
    title, text = f"The prompt, {study.n_prompt} tokens", f"<pre>{_data(study.prompt)}</pre>"
    if len(study.prompt) > _LONG or study.prompt.count("\n") > _LONG // 80:
        return f"<details><summary>{title}</summary>{text}</details>"
    return f"<p>{title}:</p>{text}"


def _groups(outcomes: Sequence[Outcome]) -> list[_Group]:
    """Gather the methods that wrote the same, with their numbers."""
    groups: dict[object, _Group] = {}
    for number, outcome in enumerate(outcomes, 1):
        groups.setdefault((outcome.tokens, outcome.finish_reason), []).append((number, outcome))
    return list(groups.values())


def _plot(outcomes: Sequence[Outcome]) -> str:
    svg = scatter(outcomes)
    if not svg:
        return ""
    there = {outcome.family for outcome in outcomes}
    families = "".join(
        f"<li>{marker(name)}{'own settings' if name == 'settings' else name}</li>"
        for name in MARKERS
        if name in there
    )
    n_empty = sum(not outcome.tokens for outcome in outcomes)
    empty = f" Methods that wrote nothing are not shown: {n_empty}." if n_empty else ""
    return (
        f'<div class="plot">{svg}<div><ul>{families}</ul><p class="soft">Left: what the model expects; '
        "right: what surprises it, with an arrow where it is far beyond the border. Top: no pair of tokens "
        "comes twice; bottom: the text repeats itself. The numbers are those of the methods in the table."
        f"{empty}</p></div></div>"
    )


def _table(name: str, groups: Sequence[_Group]) -> str:
    cards = {number: f"{name}-{group[0][0]}" for group in groups for number, _ in group}
    heads = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    hints = "".join(f"<dt>{column}</dt><dd>{escape(hint)}</dd>" for column, hint in HINTS.items())
    rows = "".join(
        f'<tr><th scope="row"><span class="n">{number}</span>{marker(one.family)}'
        f'<a href="#{cards[number]}">{_data(one.label)}</a></th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells(one))
        + f"<td>{bar(one)}</td></tr>\n"
        for number, one in sorted((pair for group in groups for pair in group), key=lambda pair: pair[0])
    )
    return (
        '<div class="wide" role="group" aria-label="figures" tabindex="0"><table><thead><tr>'
        f'<th scope="col">method</th>{heads}<th scope="col">tokens by probability</th></tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>"
        f"<details><summary>What the columns say</summary><dl>{hints}</dl></details>"
    )


def _card(name: str, group: _Group) -> str:
    outcome = group[0][1]
    labels = "".join(
        f'<li title="{_data(one.description)}"><span class="n">{number}</span>{marker(one.family)}'
        f"{_data(one.label)}</li>"
        for number, one in group
    )
    labels = f"<ul>{labels}</ul>"
    if len(group) > _MANY:
        numbers = numbers_text(number for number, _ in group)
        labels = f"<details><summary>{numbers} wrote the same</summary>{labels}</details>"
    described = f"<small>{_data(outcome.description)}</small>" if len(group) == 1 else ""
    return (
        f'<article id="{name}">{labels}{described}'
        f'<div class="text" role="group" aria-label="text {group[0][0]}" tabindex="0">'
        f"{_tokens(outcome)}</div><small>{_summary(outcome)}</small></article>"
    )


def _tokens(outcome: Outcome) -> str:
    """Return the text, a span for every token; those without text of their own show as a box."""
    out = []
    for token, piece, logprob, rank in zip(
        outcome.tokens, outcome.pieces, outcome.logprobs, outcome.ranks, strict=True
    ):
        chance = math.exp(logprob)
        band = band_of(chance)
        classes = " ".join([f"b{band}"] * (band > 0) + ["e"] * (not piece))
        shown = repr(piece) if piece else f"token {token}, no text of its own"
        attribute = f' class="{classes}"' if classes else ""
        title = f"{shown} probability {_chance(chance)}, rank {rank}"
        out.append(f'<span{attribute} title="{_data(title)}">{_data(piece)}</span>')
    return "".join(out)


def _summary(outcome: Outcome) -> str:
    if outcome.end_logprob is None:
        end = "cut off by the limit or a full context"
    else:
        end = f"ended by itself (probability {_chance(math.exp(outcome.end_logprob))})"
    parts = [f"{outcome.n_tokens} tokens", end]
    if outcome.perplexity is not None:
        parts.insert(1, f"perplexity {outcome.perplexity:.3g}")
    if outcome.longest_repeat > 1:
        parts.append(f"longest repetition: {_data(shortened(repr(outcome.repeated_text)))}")
    return ", ".join(parts)


def _chance(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"
