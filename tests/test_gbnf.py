"""GBNF grammars: what llama.cpp can be given, and what would end or block it.

What could end or block the process runs in a process of its own.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

import easy_llama as ez
from easy_llama.constraints.gbnf import parse_gbnf
from easy_llama.constraints.gbnf_check import check_grammar
from easy_llama.constraints.gbnf_readings import MAX_READINGS, most_readings
from easy_llama.engines.llama.grammar import Grammar
from easy_llama.errors import SettingsError

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws  # escapes
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
ORDINARY = {
    "json": JSON,
    "arithmetic": r"""
        root  ::= (expr "=" ws term "\n")+
        expr  ::= term ([-+*/] term)*
        term  ::= ident | num | "(" ws expr ")" ws
        ident ::= [a-z] [a-z0-9_]* ws
        num   ::= [0-9]+ ws
        ws    ::= [ \t\n]*
    """,
    "chess": """
        # the first move, then numbered ones
        root    ::= "1. " move " " move "\\n" ([1-9] [0-9]? ". " move " " move "\\n")+
        move    ::= (pawn | nonpawn | castle) [+#]?
        nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
        pawn    ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
        castle  ::= "O-O" "-O"?
    """,
    "program": r"""
        root      ::= statement+
        statement ::= (
            name ws "=" ws sum ";" |
            name "(" arguments? ")" ";" |
            "while" "(" test ")" "{" statement* "}" |
            "if" "(" test ")" "{" statement* "}" ("else" "{" statement* "}")? |
            "//" [^\n]* "\n" |
            "/*" ( [^*] | "*" [^/] )* "*/"
        )
        test      ::= sum ("<=" | "<" | "==") sum
        sum       ::= factor (("+" | "-") factor)*
        factor    ::= name | [0-9]+ | "-" factor | name "(" arguments? ")" | "(" ws sum ws ")"
        arguments ::= sum ("," ws sum)*
        name      ::= [a-zA-Z_] [a-zA-Z_0-9]*
        ws        ::= [ \t\n]+
    """,
    "words": "root ::= char+ ([ \\t\\n] char+)*\nchar ::= ascii | [ぁ-ゟ、-〾]\nascii ::= [a-zA-Z] | [0-9]",
    "list": 'root ::= item+\nitem ::= "- " [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ "\\n"',
    "paragraphs": 'root ::= part*\npart ::= sentence*\nsentence ::= [a-z]+ ". "',
    "choice": "root ::= " + " | ".join(f'"user-{i:03d}"' for i in range(300)),
    "form": 'root ::= "Q: " [^\\n]{1,500} "\\nA: " ("yes" | "no" | [^\\nyn] [^\\n]{0,1999}) "\\n"',
    "options": 'root ::= "-a"? "-b"? "-c"? "-d"? "-e"? "."',
    "brackets": "root ::= " + "(" * 100 + '"a"' + ")" * 100,
    "nothing": 'root ::= ""',
    "crlf": 'root ::= x\r\nx ::= "a" |\r\n "b"\r\n',
    "thinking": "root ::= <[5]> thought <[6]> .*\nthought ::= !<[6]>*",
}


def chain(rule: str, n: int) -> str:
    """A grammar of ``n`` rules, each of which begins with the next one."""
    rules = (rule.replace("{1}", str(i + 1)).format(i, i + 1) for i in range(n))
    return "\n".join(["root ::= r0", *rules, f'r{n} ::= "a"'])


REFUSED: list[tuple[object, str]] = [
    ("", "empty"),
    (" \n\t", "empty"),
    (None, "text in GBNF"),
    (b"root ::= 'a'", "text in GBNF"),
    ('x ::= "a"', 'no rule named "root"'),
    ("# only a comment", 'no rule named "root"'),
    ('root ::= "a"\0 "b"', "NUL"),
    ('root ::= "\ud800"', "not valid Unicode"),
    ("root ::= missing", "uses the rule 'missing'"),
    ('root ::= "a"\nroot ::= "b"', "line 2.*defined twice"),
    ('root ::= ("a"', r"\) is missing"),
    ('root ::= "a', 'closing "'),
    ("root ::= [a", r"\] of this class"),
    ("root ::= []", "empty class"),
    ("root ::= [^]", "empty class"),
    ("root ::= [z-a]", "lower to the higher"),
    (r'root ::= "\q"', "no such escape"),
    (r'root ::= "\x4"', "no such escape"),
    ('root = "a"', '"::=" must follow'),
    ('my_rule ::= "a"', "letters, digits and - only"),
    ('root ::= "a" )', "end of the line"),
    ("root ::= *", "nothing before"),
    ('root ::= ""*', "nothing before"),
    ('root ::= "a"{3,1}', "above the highest"),
    ('root ::= "a"{5,3000}', "more than 2,000"),
    ('root ::= "a"{100000}', "more than 2,000"),
    ('root ::= "a"{99999999999999999999}', "number of repetitions"),
    ('root ::= "a"{x}', "number of repetitions"),
    ('root ::= ("a"{0,1000}){1000}', "nested repetitions"),
    ('root ::= "' + "a" * 1000 + '"{0,2000}', "300,000 elements"),
    ("root ::= " + "(" * 101 + '"a"' + ")" * 101, "100 brackets"),
    ("root ::= " + "(" * 100_000 + '"a"' + ")" * 100_000, "at most 200,000"),
    ('root ::= "' + "a" * 200_000 + '"', "at most 200,000"),
    # left recursion, seen by llama.cpp
    ('root ::= root "a" | "b"', "'root' can begin with itself"),
    ('root ::= a\na ::= b "x" | "y"\nb ::= a', "begin with itself"),
    ('root ::= ("a" |)*', "begin with itself"),
    # and hidden from it: it hangs or aborts
    ('root ::= e root "x" | "y"\ne ::= f\nf ::= ""', "begin with itself"),
    ('root ::= e root\ne ::= f\nf ::= ""', "only refers to itself"),
    ('root ::= "a" b\nb ::= e b\ne ::= f\nf ::= ""', "only refers to itself"),
    # its search for left recursion takes for ever, or overflows the stack
    (chain("r{} ::= r{} | r{1}", 40), "begin in too many ways"),
    (chain("r{} ::= r{}", 9000), "begin in too many ways"),
    # a token that may stand within text: it aborts
    ('root ::= "Hi" !<[5]>*', "names a token after text"),
    ("root ::= .* <think>", "names a token after text"),
    ("root ::= x <[5]>\nx ::= y*\ny ::= [a-z] | <[6]>", "names a token after text"),
    ("root ::= ([a-z] | <[5]>)*", "names a token after text"),
    ("root ::= <[5>", "a token is written"),
    # texts with very many readings: it follows them all
    ('root ::= (" " | " ")* "x"', r"'    .*very many ways"),
    ('root ::= (" "+)* "x"', "very many ways"),
    ('root ::= line*\nline ::= [^\\n]+ "\\n"?', "very many ways"),
    ('root ::= sum\nsum ::= term | term "+" sum | term "-" sum\nterm ::= [0-9]+ | "(" sum ")"', r"'\(\(\("),
    ('root ::= s\ns ::= "x" s "a" | "x" s "b" | "y"', "'xxxx"),
    ('root ::= s\ns ::= "if " c ": " s ";" | "if " c ": " s " or " s | "x"\nc ::= [a-z]+', "if a: if a: "),
    ("root ::= " + "[a-z]? " * 40, "very many ways"),
    ("root ::= " + "[a-z]? " * 200, "very many ways"),
    ('root ::= "[" ' + "[a-z]? " * 40 + '"]"', "very many ways"),
    ('root ::= x{0,900}\nx ::= "a" |', "too many ways|very many ways"),
]  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_grammars_are_taken(name: str, model: ez.Model) -> None:
    check_grammar(ORDINARY[name])
    grammar = Grammar(model.llama, ORDINARY[name])
    assert any(grammar.allows(token) for token in range(model.n_vocab))


@pytest.mark.parametrize(("text", "fault"), REFUSED, ids=range(len(REFUSED)))
def test_what_would_crash_hang_or_be_ignored_is_refused(text: str, fault: str, model: ez.Model) -> None:
    with pytest.raises(SettingsError, match=f"(?s){fault}"):
        check_grammar(text)
    with pytest.raises(SettingsError, match=f"(?s){fault}"):
        Grammar(model.llama, text)


def test_readings_are_counted_as_llama_cpp_follows_them() -> None:
    assert most_readings(parse_gbnf('root ::= "abc" [0-9]+')) == 1
    assert most_readings(parse_gbnf('root ::= ([0-9] | [1-9] [0-9]?) "x"')) == 2
    # three letters out of five optional ones in a row: 10 ways, as many as two out of five
    assert most_readings(parse_gbnf("root ::= " + "[a-z]? " * 5)) == 10
    assert most_readings(parse_gbnf(JSON)) < MAX_READINGS / 100


def test_an_error_names_line_and_column() -> None:
    with pytest.raises(SettingsError, match=r"^line 3, column 12 of the grammar: .*'"):
        check_grammar('root ::= x\nx ::= "a"\ny ::= ("b" \'c\')')


# --- a process of its own ------------------------------------------------------------------------------

WORKER = """
import random, sys
import llama_cpp
import easy_llama as ez
from easy_llama.constraints.gbnf_check import check_grammar
from easy_llama.engines.llama.grammar import Grammar
from easy_llama.errors import SettingsError
from tests.test_gbnf import JSON, ORDINARY, random_grammar
from tests.test_grammar import masked

model = ez.Model(n_threads=1)
ends = model.tokenizer.end_tokens

def walk(text, rng, steps):
    '''Build the grammar and take tokens that the mask leaves.'''
    grammar = Grammar(model.llama, text)
    for _ in range(steps):
        allowed = [token for token in masked(grammar, range(model.n_vocab)) if token not in ends]
        if not allowed:
            break
        grammar.accept(rng.choice(allowed))
"""


def worker(code: str, timeout: int = 300) -> str:
    """Run ``code`` after WORKER in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER + code],
        capture_output=True, text=True, check=False, timeout=timeout,
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


def random_grammar(rng: random.Random) -> str:
    """Up to five rules that refer to each other at random; many are ambiguous or recursive."""
    names = ["root", "x", "y", "z", "w"]
    terminals = [
        "[a-z]",
        "[0-9]",
        "[^a]",
        ".",
        "[ \\t\\n]",
        '" "',
        '"a"',
        '"ab"',
        '"("',
        '")"',
        '"é"',
        "[あ-ん]",
    ]
    repeats = ["", "", "", "*", "+", "?", "{0,3}", "{1,20}", "{2}"]

    def item(depth: int) -> str:
        kind = rng.random()
        if kind < 0.3:
            return rng.choice(names) + rng.choice(repeats)
        if kind < 0.5 and depth:
            return f"({alternatives(depth - 1)})" + rng.choice(repeats)
        return rng.choice(terminals) + rng.choice(repeats)

    def alternatives(depth: int) -> str:
        sequences = [
            [item(depth) for _ in range(rng.choice([1, 1, 2, 3]))] for _ in range(rng.choice([1, 1, 2]))
        ]
        return " | ".join(map(" ".join, sequences)) + rng.choice(["", "", "", ' | ""'])

    n = rng.choice([1, 2, 3])
    bodies = [alternatives(2) if i < n else rng.choice(terminals) for i in range(len(names))]
    return "\n".join(f"{name} ::= {body}" for name, body in zip(names, bodies, strict=True))


def test_llama_cpp_survives_every_random_grammar_that_is_taken() -> None:
    out = worker("""
taken = 0
for seed in range(600):
    rng = random.Random(seed)
    text = random_grammar(rng)
    try:
        check_grammar(text)
    except SettingsError:
        continue
    taken += 1
    walk(text, rng, 8)
print(taken)
""")
    assert int(out) > 100


def test_llama_cpp_survives_damaged_grammars() -> None:
    out = worker("""
texts, taken = list(ORDINARY.values()), 0
for seed in range(600):
    rng = random.Random(seed)
    text = list(rng.choice(texts))
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(text))
        signs = list('"()[]{}|*+?!<>.^-,#0 a9') + ['::=', '\\n', '\\\\']
        text[at : at + rng.choice([0, 1, 1, 3])] = rng.choice(signs)
    text = "".join(text)
    try:
        check_grammar(text)
        walk(text, rng, 3)
        taken += 1
    except SettingsError:
        pass
print(taken)
""")
    assert int(out) > 50


def test_what_is_refused_does_end_or_block_llama_cpp() -> None:
    """Two of the grammars above, given to llama.cpp unchecked: the check has its reasons."""
    code = """
import ctypes
sampler = llama_cpp.llama_sampler_init_grammar(model.llama._model.vocab, TEXT.encode(), b"root")
one = (llama_cpp.llama_token_data * 1)()
array = llama_cpp.llama_token_data_array(data=one, size=1, selected=-1, sorted=False)
for token in range(model.n_vocab):
    one[0].id, one[0].logit = token, 1.0
    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
    if one[0].logit == 1.0:
        llama_cpp.llama_sampler_accept(llama_cpp.llama_sampler_clone(sampler), token)
print("survived")
"""
    for text in (
        'root ::= "a" b\nb ::= e b\ne ::= f\nf ::= ""',
        'root ::= "H" !<[5]>',
    ):
        program = WORKER + f"TEXT = {text!r}" + code
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=300)
        assert done.returncode != 0
        assert b"survived" not in done.stdout
        with pytest.raises(SettingsError):
            check_grammar(text)


def test_memory_is_given_back() -> None:
    out = worker("""
import psutil
text = "root ::= " + " ".join(f'"{i}" [a-z]{{0,2000}}' for i in range(10))   # about a megabyte each
grammar = Grammar(model.llama, text)
before = psutil.Process().memory_info().rss
for _ in range(200):
    Grammar(model.llama, text).close()
    grammar.rewind(model.tokenizer.encode("0abcd", bos=False))
    grammar.rewind(())
print((psutil.Process().memory_info().rss - before) // 2**20)
""")
    assert int(out) < 100
