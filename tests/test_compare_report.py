"""The report of compared methods, its colours, the command and the example."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

import easy_llama as ez
from easy_llama.cli.compare import compare as command
from easy_llama.study import Study, compare, write_html
from easy_llama.study.chart import numbers_text, scatter
from easy_llama.study.methods import NAMES
from easy_llama.study.page import html_of as page_of
from easy_llama.study.style import BANDS, DARK, LIGHT, STYLESHEET, band_of
from easy_llama.terminal.escape import harmless

from .test_compare import chain
from .toys import toy

ROOT = Path(__file__).parent.parent


# --- the report --------------------------------------------------------------------------------------------

_VOID = {"meta", "!doctype"}


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in order, and only known tags and attributes occur."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []  # of the cards
        self.titles: list[str] = []  # of the tokens
        self.prompts: list[str] = []
        self._into: list[str] | None = None
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)
        if ("class", "text") in attrs:
            self.texts.append("")
            self._into = self.texts
        elif tag == "pre":
            self.prompts.append("")
            self._into = self.prompts
        elif self._into is self.texts and tag == "span":
            self.titles.append(dict(attrs)["title"] or "")

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("div", "pre"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


KNOWN_TAGS = {
    "a", "article", "body", "circle", "dd", "details", "div", "dl", "dt", "g", "h1", "h2", "head", "html",
    "li", "main", "meta", "nav", "p", "path", "pre", "rect", "section", "small", "span", "style", "summary",
    "svg", "table", "tbody", "td", "text", "th", "thead", "title", "tr", "ul",
}  # fmt: skip


def check_page(page: str) -> Page:
    read = Page(page)
    assert set(read.tags) <= KNOWN_TAGS
    for name, value in read.attributes:
        assert name not in {"src", "srcset", "style"}
        assert not name.startswith("on")
        assert name != "href" or value.startswith("#s")
    ids = {value for name, value in read.attributes if name == "id"}
    links = {value[1:] for name, value in read.attributes if name == "href"}
    assert links <= ids
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in read.attributes
    assert "url(" not in STYLESHEET
    assert "@import" not in STYLESHEET
    return read


NASTY: list[str | bytes] = [
    "<script>alert(1)</script>", "</style>", "<!--", "&amp;", "\"'>", "\x00\x1b[31m", "\u202e", "\n", "]]>",
    "<img src=x onerror=alert(1)>", b"\xe2\x82", b"\xac", "{braces}", "",
]  # fmt: skip


def test_what_a_model_writes_is_data_in_the_report(tmp_path: Path) -> None:
    provider = toy(NASTY, spread=3.0)
    prompt = "<!--</style>&amp;\n"
    study = compare(provider, prompt, ["sampling", "temperature"], max_len_tokens=60)
    path = study.to_html(str(tmp_path / "report.html"))
    page = path.read_text(encoding="utf-8")
    read = check_page(page)
    different = list({(one.tokens, one.finish_reason): one for one in study}.values())
    assert read.texts == [
        one.text.translate({0: "\u2400", 27: "\u241b", 0x202E: "\ufffd"}) for one in different
    ]
    assert read.prompts == [prompt]
    assert len(read.titles) == sum(one.n_tokens for one in different)
    assert "<script" not in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)


def test_a_token_tells_its_probability_and_rank() -> None:
    study = compare(chain(), "a", ["greedy"])
    read = Page(html_of(study))
    assert read.titles == ["'b' probability 0.6000, rank 1", "' c' probability 0.8000, rank 1"]
    assert "ended by itself (probability 0.5000)" in html_of(study)
    cut = compare(chain(), "a", ["greedy"], max_len_tokens=1)
    assert "cut off by the limit or a full context" in html_of(cut)


def test_a_report_tells_how_it_was_made() -> None:
    study = compare(chain(), "a", ["sampling"], seed=7)
    assert (study.seed, study.version) == (7, ez.__version__)
    assert study.date == date.fromisoformat(study.date).isoformat()
    assert {"seed": 7, "date": study.date, "version": ez.__version__}.items() <= study.to_dict().items()
    page = html_of(replace(study, date="2026-07-31", model="<m>"))
    assert "&lt;m&gt;, seed 7, texts of up to 1000 tokens. Made on 2026-07-31 with easy_llama " in page
    assert f"easy_llama {ez.__version__}." in page
    drawn = compare(chain(), "a", ["sampling"], seed=None)
    assert drawn.seed == drawn["sampling"].seed


@pytest.mark.parametrize(
    ("prompt", "folded"),
    [("short", False), ("a line\n" * 10, False), ("a line\n" * 40, True), ("x" * 2000, True)],
)
def test_only_a_long_prompt_is_folded_away(prompt: str, folded: bool) -> None:
    page = html_of(replace(compare(chain(), "a", ["greedy"]), prompt=prompt))
    assert check_page(page).prompts == [prompt]
    assert ("<details><summary>The prompt" in page) == folded


def html_of(study: Study) -> str:
    return page_of({"A title with <b>": study})


def test_methods_that_wrote_the_same_share_a_card() -> None:
    study = compare(chain(), "a", ["greedy", "temperature", "beam"], seed=1)
    page = html_of(study)
    different = {(one.tokens, one.finish_reason) for one in study}
    assert 1 < len(different) < len(study)
    assert page.count("<article") == len(different)
    for one in study:
        assert page.count(f">{one.label}</a>") == 1
        assert page.count(f"{one.label}</li>") == 1


def test_every_combination_can_be_drawn(tmp_path: Path) -> None:
    """Empty texts, one text, many points on one place, gibberish far outside."""
    empty = compare(chain(), "a", ["greedy"], end_tokens=[1])
    assert "<svg viewBox" not in html_of(empty)  # two texts or less make no plot
    mixed = compare(toy([f"<{i}>" for i in range(9)]), [0], ["greedy", "sampling", "temperature", "nucleus"])
    surprising = replace(
        mixed.outcomes[1], tokens=(5,), pieces=("x",), logprobs=(-90.0,), ranks=(9,), text="x"
    )
    mixed = replace(mixed, outcomes=(*mixed.outcomes, surprising, *empty.outcomes))
    page = write_html(tmp_path / "both.html", {"1": mixed, "2": empty}).read_text(encoding="utf-8")
    check_page(page)
    [plot] = re.findall(r'<svg viewBox="0 0 400 270".*?</svg>', page)
    assert plot.count('class="mark') == sum(one.n_tokens > 0 for one in mixed)
    assert f"{len(mixed) - 1} \u2192" in plot  # the arrow of what lies beyond the border
    assert "Methods that wrote nothing are not shown: 1." in page
    for x, y in re.findall(r'<text [^>]*x="([\d.-]+)" y="([\d.-]+)"', plot):
        assert 0 <= float(x) <= 400
        assert 0 <= float(y) <= 270


def test_where_it_is_crowded_a_line_leads_to_the_label() -> None:
    [one] = compare(chain(), "a", ["greedy"])
    side = [(x, y) for x in range(4) for y in range(4)]
    crowd = [
        replace(one, tokens=tuple([0] * (10 + y) + [n]), logprobs=(-10.0 - 0.3 * x,) * (11 + y))
        for n, (x, y) in enumerate(side)
    ]
    apart = [replace(crowd[0], tokens=(*range(n),), logprobs=(-16.0,) * n) for n in (20, 30)]
    assert 'class="lead"' in scatter([*crowd, *apart])
    assert 'class="lead"' not in scatter([crowd[0], *apart])


@pytest.mark.parametrize(
    ("numbers", "text"), [([3], "3"), ([1, 2], "1, 2"), ([4, 1, 2, 3, 9], "1-4, 9"), ([], "")]
)
def test_runs_of_numbers(numbers: list[int], text: str) -> None:
    assert numbers_text(numbers) == text


def luminance(colour: str) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_is_enough_and_bands_differ_in_lightness(colours: dict[str, str]) -> None:
    bands = [colours[f"b{i}"] for i in range(len(BANDS) + 1)]
    for back in (*bands, colours["page"], colours["card"]):
        assert contrast(colours["ink"], back) >= 4.5
    for text in ("soft", "link"):
        assert contrast(colours[text], colours["page"]) >= 4.5
        assert contrast(colours[text], colours["card"]) >= 4.5
    lightness = [luminance(band) for band in bands]
    assert lightness == sorted(lightness, reverse=colours is LIGHT)
    for one, following in pairwise(bands):
        assert contrast(one, following) >= 1.09
    assert contrast(bands[0], bands[-1]) >= 3


def test_bands_of_probability() -> None:
    assert [band_of(p) for p in (1.0, 0.9, 0.89, 0.5, 0.2, 0.05, 0.01, 0.0099, 0.0)] == [
        0,
        0,
        1,
        1,
        2,
        3,
        4,
        5,
        5,
    ]


# --- the command and the example ---------------------------------------------------------------------------


def test_the_command_prints_a_table_and_writes_a_report(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    args = ["Once upon a time", "--methods", "greedy, beam", "--max-len-tokens", "6", "--threads", "1"]
    done = CliRunner().invoke(command, [*args, "--html", str(file), "--texts"])
    assert done.exit_code == 0, done.output
    assert "--- greedy\n" in done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith(("method ", "greedy ", "beam "))]
    assert len(lines) == 1 + 1 + 9
    assert f"report: {file}" in done.output
    check_page(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["x", "--methods", "greedy,nonsense"], "no method 'nonsense'; choose among greedy, sampling"),
        (["x", "--methods", ","], "methods is empty"),
        (["word " * 600], "the context holds 512"),
        (["x", "--max-len-tokens", "0"], "max_len_tokens must be an integer of at least 1"),
        (["x", "--html", "/no/such/folder/x.html"], "there is no folder"),
    ],
)
def test_the_command_refuses(args: list[str], message: str) -> None:
    done = CliRunner().invoke(command, args)
    assert done.exit_code == 1
    assert isinstance(done.exception, ez.EasyLlamaError)
    assert message in str(done.exception)


def test_the_command_in_a_process_of_its_own() -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        whole = [sys.executable, "-m", "easy_llama", "compare", *args]
        return subprocess.run(whole, capture_output=True, text=True, check=False)

    done = run("Once upon a time", "--methods", "greedy,nucleus", "--max-len-tokens", "4")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["method", "greedy"] + ["nucleus"] * 6
    wrong = run("x", "--methods", "all")
    assert wrong.returncode == 1
    assert wrong.stderr == f"easy-llama: there is no method 'all'; choose among {', '.join(NAMES)}\n"


def test_a_text_can_not_steer_the_terminal() -> None:
    assert harmless("a\x1b[2Jb\r\n\tc\u202e") == "a\\x1b[2Jb\\r\n\tc\\u202e"


def test_the_example_runs(tmp_path: Path) -> None:
    file = tmp_path / "study.html"
    example = ROOT / "examples" / "decoding_study.py"
    args = ["--model", str(ez.model.BUNDLED_MODEL), "--max-len-tokens", "3", "--html", str(file)]
    done = subprocess.run([sys.executable, str(example), *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\ngreedy ") == 4
    assert done.stdout.count("\ncontrastive ") == 4
    read = check_page(file.read_text(encoding="utf-8"))
    assert len(read.prompts) == 4


def test_the_committed_report_is_whole_and_of_this_version() -> None:
    file = ROOT / "examples" / "decoding_study.html"
    assert file.stat().st_size < 600_000
    page = file.read_text(encoding="utf-8")
    read = check_page(page)
    assert STYLESHEET in page, "run examples/decoding_study.py again"
    assert "seed 0, texts of up to 1000 tokens. Made on 20" in page
    assert ["hedgehog named Sonic" in read.prompts[0], "100 rubles" in read.prompts[1]] == [True, True]
    assert len(read.prompts) == 2
    assert '{"contractor": "Mike", "sum": 100, "currency": "RUB"}' in read.texts
