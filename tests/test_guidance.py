"""A person chooses the tokens: by a function, in numbered lines, and with the keys of a real terminal."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from prompt_toolkit.output.vt100 import Vt100_Output

import easy_llama as ez
from easy_llama.decoding.backtracking import Backtracking, Strategy
from easy_llama.decoding.guidance import HumanGuidanceStrategy
from easy_llama.decoding.strategies import ChainStrategy
from easy_llama.engine import prefill
from easy_llama.engines.table import TableEngine
from easy_llama.errors import EngineError, SettingsError
from easy_llama.samplers import GreedyDecoding, SamplerSettings, SimpleSampling
from easy_llama.terminal import menu
from easy_llama.terminal.escape import escaped
from easy_llama.terminal.menu import Choice, Option, choose
from tests.command import COMMAND, run

from .toys import PieceTokenizer, Plain, ToyProvider, table_of, toy

PIECES: list[str | bytes] = ["a", "b", "ab", " ", "é", b"\xc3", b"\xa9", "."]
needs_terminal = pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal")


class Person:
    """Gives the answers one after another, then ends the text; notes what was shown."""

    def __init__(self, *answers: Choice) -> None:
        self.answers = list(answers)
        self.shown: list[tuple[str, list[Option], bool]] = []

    def __call__(self, text: str, options: list[Option], can_go_back: bool) -> Choice:
        self.shown.append((text, options, can_go_back))
        return self.answers.pop(0) if self.answers else "end"


def tokens_of(
    provider: ToyProvider, strategy: Strategy, sampler: SamplerSettings = SimpleSampling, limit: int = 60
) -> list[int]:
    decoder = Backtracking(strategy, sampler, 1, provider.tokenizer)
    return list(decoder(provider.engine, [0], provider.tokenizer.end_tokens, limit))


# --- the strategy --------------------------------------------------------------------------------------


def expected_tokens(
    provider: ToyProvider, answers: Sequence[Choice], top_k: int, autopass: float, limit: int
) -> list[int]:
    """What the answers mean, written down without strategies: a list of tokens and one of choices."""
    new: list[int] = []
    asked: list[int] = []
    left = list(answers)
    while len(new) < limit:
        row = prefill(provider.engine, [0, *new]).astype(np.float64)
        chances = np.exp(row) / np.exp(row).sum()
        top = sorted(range(len(row)), key=lambda token: (-row[token], token))[:top_k]
        if autopass < 1 and chances[top[0]] >= autopass:
            token = top[0]
        else:
            answer = left.pop(0) if left else "end"
            if answer == "back":
                del new[asked[-1] :]
                asked.pop()
                continue
            if answer == "end":
                return new
            asked.append(len(new))
            token = top[answer]
        if token == provider.tokenizer.eos:
            return new
        new.append(token)
    return new


@given(st.integers(0, 10_000), st.lists(st.integers(-1, 2), max_size=30), st.sampled_from([1.0, 0.5, 0.2]))
def test_the_text_is_what_was_chosen(seed: int, moves: list[int], autopass: float) -> None:
    provider = toy(PIECES, seed)
    answers: list[Choice] = []
    # -1 goes back where there is a way back, and is the first option where there is none
    person_moves = list(moves)

    def person(text: str, options: list[Option], can_go_back: bool) -> Choice:
        move = person_moves.pop(0) if person_moves else None
        answer: Choice = "end" if move is None else "back" if move < 0 and can_go_back else max(move, 0)
        answers.append(answer)
        return answer

    strategy = HumanGuidanceStrategy(provider, 3, autopass, choose=person)
    found = tokens_of(provider, strategy, limit=40)
    assert found == expected_tokens(provider, answers, 3, autopass, 40)
    assert len(strategy.report) == answers.count("back")


def test_going_back_evaluates_nothing_and_nothing_is_shown_before_the_end() -> None:
    provider = toy(PIECES, 3)
    engine = provider.engine
    assert isinstance(engine, TableEngine)
    person = Person(0, 1, "back", 2, 1, "back", "back", "back", 1)
    tokens = iter_tokens(provider, HumanGuidanceStrategy(provider, choose=person))
    first = next(tokens)
    assert not person.answers, "all questions were asked before the first token was shown"
    found = [first, *tokens]
    assert found == [person.shown[0][1][1].token]
    assert [can for _, _, can in person.shown] == [
        False,
        True,
        True,
        True,
        True,
        True,
        True,
        True,
        False,
        True,
    ]
    # the prompt, the tokens chosen 0, 1, then 2, 1, then 1: the end is not evaluated
    assert engine.n_evaluated == 1 + 2 + 2 + 1
    assert person.shown[0] == person.shown[8], "the same place, the same options"


def iter_tokens(provider: ToyProvider, strategy: Strategy) -> Iterator[int]:
    decoder = Backtracking(strategy, SimpleSampling, 1, provider.tokenizer)
    return decoder(provider.engine, [0], provider.tokenizer.end_tokens, 60)


def test_going_back_skips_what_was_taken_without_asking() -> None:
    """After "a" comes "b" and after it "c", both for sure; only after "c" there is a choice."""
    tokenizer = PieceTokenizer(["a", "b", "c", "d"])
    table = np.full((5, 5), -20.0)
    table[0, 1] = table[1, 2] = 5.0
    table[2] = table[3] = [1.0, 0.5, 0.0, 0.9, -20.0]
    provider = ToyProvider(TableEngine(table), tokenizer)
    person = Person(0, "back", 1)
    tokens = tokens_of(provider, HumanGuidanceStrategy(provider, 2, 0.9, choose=person))
    assert [text for text, _, _ in person.shown] == ["bc", "bcabc", "bc", "bcd"]
    assert tokenizer.text(tokens) == "bcd"
    never = HumanGuidanceStrategy(provider, min_autopass=0, choose=Person())
    assert tokens_of(provider, never, limit=7) == tokens_of(provider, Plain(), GreedyDecoding, 7)


def test_always_asking_means_also_where_it_is_certain() -> None:
    provider = table_of(PieceTokenizer(["a", "b"]), [1.0, 0.0, 0.0])
    person = Person(0, 0)
    tokens_of(provider, HumanGuidanceStrategy(provider, choose=person))
    assert len(person.shown) == 3
    assert person.shown[0][1] == [Option(0, "a", 1.0)], "what can't come is not offered"


def test_a_choice_comes_however_unlikely_it_is(model: ez.Model) -> None:
    person = Person(*[19] * 12)
    strategy = HumanGuidanceStrategy(model, 20, choose=person)
    text = model.generate("Once upon a time", sampler=SamplerSettings(temp=0, top_k=1), strategy=strategy)
    assert text == "".join(options[19].text for _, options, _ in person.shown[:12])
    assert all(options[19].probability < 0.05 for _, options, _ in person.shown)
    assert [text for text, _, _ in person.shown[:2]] == ["", person.shown[0][1][19].text]


def test_the_options_are_the_models_candidates(model: ez.Model) -> None:
    person = Person(0)
    prompt = "The dog says woof, but the cat says"
    model.generate(prompt, strategy=HumanGuidanceStrategy(model, 5, choose=person))
    for option, (raw, chance) in zip(person.shown[0][1], model.candidates(prompt, 5), strict=True):
        assert option.text.replace(" ", "Ġ") == raw
        assert option.probability == pytest.approx(float(chance), rel=0.05), "another batch shape"


def test_the_end_can_be_an_option() -> None:
    provider = table_of(PieceTokenizer(["a"]), [0.4, 0.6])
    person = Person(1, 0)
    assert tokens_of(provider, HumanGuidanceStrategy(provider, choose=person)) == [0]
    option = person.shown[0][1][0]
    assert (option.token, option.text, option.is_end) == (1, "", True)
    assert option.probability == pytest.approx(0.6)


def test_half_characters_are_joined_in_the_text() -> None:
    provider = table_of(PieceTokenizer([b"\xc3", b"\xa9"]), [0.5, 0.5, 0.0])
    person = Person(0, 1)
    tokens_of(provider, HumanGuidanceStrategy(provider, choose=person))
    assert [text for text, _, _ in person.shown] == ["", "\ufffd", "é"]
    assert [option.text for option in person.shown[0][1]] == ["\ufffd", "\ufffd"]


def test_what_a_grammar_forbids_is_asked_again_without_it(model: ez.Model) -> None:
    person = Person(0, 0, 0, *[0] * 40)
    strategy = HumanGuidanceStrategy(model, 1000, choose=person)
    sampler = SamplerSettings(grammar='root ::= " blue" "."')
    text = model.generate("The sky is", sampler=sampler, strategy=strategy)
    assert " blue.".startswith(text)
    assert len(person.shown) > 2
    for (_, before, _), (_, after, _) in zip(person.shown, person.shown[1:], strict=False):
        assert after != before, "never the same question"


def test_an_end_that_is_not_allowed_is_an_error(model: ez.Model) -> None:
    sampler = SamplerSettings(grammar='root ::= " blue" "."')
    with pytest.raises(EngineError, match="can't end here: a grammar"):
        model.generate("The sky is", sampler=sampler, strategy=HumanGuidanceStrategy(model, choose=Person()))
    provider = toy(["a", "b"])
    provider.tokenizer.end_tokens = frozenset()
    with pytest.raises(EngineError, match="the model has no end token"):
        tokens_of(provider, HumanGuidanceStrategy(provider, choose=Person()))
    assert model.generate("The sky is", sampler=SamplerSettings(max_len_tokens=3))


def test_a_cut_by_another_strategy_is_asked_again() -> None:
    class Once(Strategy):
        def begin(self) -> None:
            self.is_done = False

        def keep(self, new: Sequence[int]) -> int:
            if len(new) == 3 and not self.is_done:
                self.is_done = True
                return 1
            return len(new)

    provider = toy(PIECES, 2)
    person = Person(0, 1, 2, 1, "back", 2, "back", 0)
    tokens = tokens_of(provider, ChainStrategy([HumanGuidanceStrategy(provider, choose=person), Once()]))
    questions = [text for text, _, _ in person.shown]
    assert len(questions[0]) == 0
    assert questions[1] == questions[3] == questions[5] == questions[7]
    assert len(tokens) == 2


@pytest.mark.parametrize("answer", [3, -1, True, "back", "stop", None, 1.0])
def test_an_answer_that_is_none_is_an_error(answer: Any) -> None:
    provider = toy(PIECES)
    with pytest.raises(SettingsError, match='an integer from 0 to 2, or "end"; got'):
        tokens_of(provider, HumanGuidanceStrategy(provider, choose=lambda *_: answer))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": 0}, "top_k must be an integer of at least 1; got 0"),
        ({"top_k": 2.0}, "top_k must be an integer"),
        ({"min_autopass": 1.1}, "min_autopass must be a number from 0 to 1; got 1.1"),
        ({"choose": "menu"}, "choose must be a function or None; got 'menu'"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        HumanGuidanceStrategy(toy(PIECES), **options)


def test_what_the_person_raises_is_raised() -> None:
    def interrupted(text: str, options: list[Option], can_go_back: bool) -> Choice:
        raise KeyboardInterrupt

    provider = toy(PIECES)
    with pytest.raises(KeyboardInterrupt):
        tokens_of(provider, HumanGuidanceStrategy(provider, choose=interrupted))


# --- the menu without a terminal -----------------------------------------------------------------------

OPTIONS = [Option(5, " the", 0.61), Option(6, "\n\x1b[2J", 0.3), Option(2, "", 0.09, is_end=True)]


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.mark.parametrize(
    ("typed", "can_go_back", "answer"),
    [
        ("1\n", False, 0), (" 3 \n", False, 2), ("\n", True, 0), ("b\n", True, "back"), ("B\n", True, "back"),
        ("q\n", False, "end"), ("", True, "end"), ("2", False, 1),
        ("0\n4\nx\n²\n٣\n-1\n1.0\nb\n2\n", False, 1), ("nonsense\n", False, "end"),
    ],
)  # fmt: skip
def test_answers_without_a_terminal(
    type_in: Callable[[str], None], typed: str, can_go_back: bool, answer: Choice
) -> None:
    type_in(typed)
    assert choose("Once upon", OPTIONS, can_go_back) == answer


def test_what_is_written_without_a_terminal(
    type_in: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    type_in("7\nb\n")
    assert choose("Once\x1b[31m\nupon", OPTIONS, True) == "back"
    written = capsys.readouterr()
    assert written.out == "", "the text has standard output for itself"
    assert written.err.splitlines() == [
        "",
        r"Once\x1b[31m",
        "upon",
        "  1  61.0%  ' the'",
        r"  2  30.0%  '\n\x1b[2J'",
        "  3   9.0%  (end of the text)",
        "type a number from 1 to 3; b: back, q: end, empty: 1",
    ]


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_shown(text: str) -> None:
    shown = escaped(text, keep="\n")
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert repr(Option(0, text, 0.5).text).isprintable()
    if text.isprintable():
        assert shown == text


def test_without_any_input_the_text_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert choose("", OPTIONS, False) == "end"


# --- the menu in a terminal ----------------------------------------------------------------------------

UP, DOWN, LEFT = "\x1b[A", "\x1b[B", "\x1b[D"


def press(keys: str, can_go_back: bool = True, output: Any = None, options: Any = OPTIONS) -> Choice:
    with create_pipe_input() as source, create_app_session(source, output or DummyOutput()):
        source.send_text(keys)
        return menu._Menu("Once upon\na time", options, can_go_back).ask()


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        ("\r", 0), (DOWN + "\r", 1), (UP + "\r", 2), (DOWN * 3 + "\r", 0), ("\t\t\r", 2), ("3", 2), ("2", 1),
        (LEFT, "back"), ("\x7f", "back"), ("b", "back"), ("q", "end"), ("\x04", "end"),
        ("x9" + DOWN + "z\r", 1),
    ],
)  # fmt: skip
def test_the_keys(keys: str, answer: Choice) -> None:
    assert press(keys) == answer


def test_no_way_back_from_the_beginning() -> None:
    assert press(LEFT + "\x7fb" + DOWN + "\r", can_go_back=False) == 1


def test_ctrl_c_is_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt):
        press("\x03")


def screen(rows: int, columns: int, text: str, options: Sequence[Option], selected: int = 0) -> str:
    """What the menu writes on a terminal of that size, escape sequences included."""
    out = io.StringIO()
    output = Vt100_Output(out, lambda: Size(rows, columns), enable_cpr=False)
    with create_pipe_input() as source, create_app_session(source, output):
        source.send_text("\r")
        shown = menu._Menu(text, options, True)
        shown._move(selected)
        assert shown.ask() == selected
    return out.getvalue()


def visible(written: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\s", "", written)


@pytest.mark.parametrize("columns", [80, 20])
def test_everything_is_shown_in_any_width(columns: int) -> None:
    text = "There was a long sentence that does not fit into twenty columns.\nAnd a second line"
    options = [Option(i, f" option number {i} of six", 0.1) for i in range(6)]
    shown = visible(screen(40, columns, text, options))
    for part in (text, *(repr(option.text) for option in options), "up, down, Enter", "left: back", "q: end"):
        assert visible(part) in shown


def test_a_small_terminal_shows_the_end_of_the_text_and_the_selected_option() -> None:
    text = "x" * 5000 + " the very end"
    options = [Option(i, f"option {i}", 0.01) for i in range(60)]
    shown = visible(screen(10, 20, text, options, 45))
    assert "theveryend" in shown
    assert "'option45'" in shown
    assert "toosmall" not in shown


def test_a_models_escape_sequences_do_not_reach_the_terminal() -> None:
    evil = "\x1b]0;evil\x07\x9b2J\x1b[31m\u202e"
    written = screen(20, 120, evil, [Option(1, evil, 0.5)])
    assert "\x1b]0;evil" not in written
    assert "\x07" not in written
    assert "\x9b" not in written
    assert "\u202e" not in written
    assert written.count(r"\x1b]0;evil\x07\x9b2J\x1b[31m\u202e") >= 2


def test_inside_an_event_loop() -> None:
    import asyncio

    async def inside() -> Choice:
        return press(DOWN + "\r")

    assert asyncio.run(inside()) == 1


# --- the command ---------------------------------------------------------------------------------------


def test_guiding_through_a_pipe() -> None:
    done = run("guide", "Once upon a", stdin="1\n7\n2\nb\n1\nq\n")
    assert (done.returncode, done.stdout) == (0, "Once upon a time,\n")
    assert "Once upon a time\n  1 100.0%  " in done.stderr
    assert "type a number from 1 to 3" in done.stderr
    assert run("guide", "Once upon a", "--top-k-shown", "1").stdout == "Once upon a\n"
    many = run("guide", "Once upon a", "--top-k-shown", "9999")
    assert many.stderr.count("%  ") > 100
    assert run("guide", "Once upon a", "--top-k-shown", "0").returncode == 2
    greedy = run("generate", "Once upon a time", "--temp", "0", "--echo").stdout
    assert run("guide", "Once upon a time", "--autopass", "0").stdout == greedy


@pytest.fixture
def guide(tmp_path: Path) -> Iterator[Any]:
    """``easy-llama guide`` in a pseudo-terminal."""
    pexpect = pytest.importorskip("pexpect")
    env = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", "EASY_LLAMA_DATA": str(tmp_path)}
    child = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "guide", "Once upon a"], encoding="utf-8", timeout=60, env=env,
        dimensions=(15, 50),
    )  # fmt: skip
    yield child
    child.close(force=True)


@needs_terminal
def test_guiding_with_the_keys(guide: Any) -> None:
    guide.expect("' time'")
    guide.expect("q: end")
    guide.send("\r")
    guide.expect("','")
    guide.expect("' upon'")
    guide.expect("q: end")
    guide.send(DOWN + "\r")  # " upon"
    guide.expect("' a'")
    guide.expect("q: end")
    guide.send(LEFT)
    guide.expect("' upon'")
    guide.expect("q: end")
    guide.send("1")  # ","
    guide.expect("q: end")
    guide.send("q")
    guide.expect(sys.modules["pexpect"].EOF)
    guide.close()
    assert guide.exitstatus == 0
    assert re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", guide.before).strip().endswith("Once upon a time,")


@needs_terminal
def test_ctrl_c_leaves_the_guide(guide: Any) -> None:
    guide.expect("q: end")
    guide.send("\x03")
    guide.expect(sys.modules["pexpect"].EOF)
    guide.close()
    assert guide.exitstatus == 130
