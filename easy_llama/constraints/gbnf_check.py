"""Which grammars llama.cpp can work with, decided before it sees them.

Refused are grammars that it refuses itself (left recursion), that make it abort (rules that begin with
themselves behind something empty; tokens named in the middle of text) and that make it work without end:
it follows every way in which a text can be read, and their number may double with every character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from ..errors import SettingsError
from .gbnf import Chars, Gbnf, Item, Named, check_text, parse_gbnf
from .gbnf_readings import most_readings

__all__ = ["check_grammar", "named_tokens"]

MAX_DEPTH = 1000  # rules that begin with each other; llama.cpp recurses: 8 MB of stack hold over 50,000
MAX_VISITS = 5_000_000  # of llama.cpp's search for left recursion, which visits shared rules again: 0.1 s

_Graph = list[list[tuple[int, bool]]]  # for each rule: the rules it can begin with, and whether more follows


def check_grammar(text: str) -> None:
    """Raise SettingsError unless llama.cpp can be given the grammar ``text`` (GBNF).

    The notation is llama.cpp's (``grammars/README.md`` there). The error names the line and column, or the
    rule, and what to do. Allowed are 200,000 characters, 100 brackets in each other, 2,000 repetitions,
    300,000 elements (characters and references, with repetitions written out) and 100,000 ways to read the
    text of a token. Takes up to 0.1 s, 0.6 s for the largest grammars; the newest results are kept.
    """
    named_tokens(text)


@lru_cache(maxsize=64)
def _checked(text: str) -> frozenset[Named]:
    grammar = parse_gbnf(text)
    empty = _least(grammar, lambda rule, known: any(_all_in(alternative, known) for alternative in rule))
    _refuse_left_recursion(grammar, empty)
    _refuse_dead_rules(grammar, empty)
    named = frozenset(item for item in grammar.items() if isinstance(item, Named))
    if named:
        _refuse_tokens_inside_text(grammar, empty)
    most_readings(grammar)
    return named


def named_tokens(text: str) -> frozenset[Named]:
    """Check ``text`` and return the tokens of a vocabulary that it names."""
    check_text(text)  # before the cache, which needs something hashable
    return _checked(text)


# --- left recursion ------------------------------------------------------------------------------------


def _refuse_left_recursion(grammar: Gbnf, empty: set[int]) -> None:
    """llama.cpp's own search takes only rules with an empty alternative for empty; the rest hangs it."""
    seen = {i for i, rule in enumerate(grammar.rules) if [] in rule}
    graph = _first_rules(grammar, seen)
    order = _components(graph)
    for component in order:
        if len(component) > 1 or any(to == component[0] for to, _ in graph[component[0]]):
            _fail_left_recursive(grammar, component)
    _refuse_long_search(grammar, graph, [component[0] for component in order])
    full = _first_rules(grammar, empty)
    for component in _components(full):
        if any(more and to in component for rule in component for to, more in full[rule]):
            _fail_left_recursive(grammar, component)


def _fail_left_recursive(grammar: Gbnf, component: list[int]) -> None:
    name = grammar.names[min(component)].partition("_")[0]
    raise SettingsError(
        f"the grammar's rule {name!r} can begin with itself (left recursion), which llama.cpp can't follow; "
        "let something that is never empty stand before it, and repeat only what is never empty: instead of "
        '(a? b?)* write (a | b)*, instead of x ::= x "," y | y write x ::= y ("," y)*'
    )


def _refuse_long_search(grammar: Gbnf, graph: _Graph, order: list[int]) -> None:
    """Bound depth and length of llama.cpp's search; ``order`` has every rule after those it begins with."""
    visits, depths = [0] * len(graph), [0] * len(graph)
    for rule in order:
        visits[rule] = min(1 + sum(visits[to] for to, _ in graph[rule]), MAX_VISITS)
        depths[rule] = 1 + max((depths[to] for to, _ in graph[rule]), default=0)
    if max(depths) > MAX_DEPTH or sum(visits) >= MAX_VISITS:
        name = grammar.names[max(order, key=visits.__getitem__)].partition("_")[0]
        raise SettingsError(
            f"the grammar's rule {name!r} can begin in too many ways through other rules; let alternatives "
            "share their beginning: instead of a | a b write a b?"
        )


def _first_rules(grammar: Gbnf, empty: set[int]) -> _Graph:
    """The rules with which each rule can begin, where the rules in ``empty`` may be passed over."""
    graph: _Graph = []
    for rule in grammar.rules:
        edges = []
        for alternative in rule:
            for i, item in enumerate(alternative, 1):
                if not isinstance(item, int):
                    break
                edges.append((item, i < len(alternative)))
                if item not in empty:
                    break
        graph.append(edges)
    return graph


def _components(graph: _Graph) -> list[list[int]]:
    """The strongly connected components, each after those it leads to (Tarjan's algorithm)."""
    number, low = [0] * len(graph), [0] * len(graph)
    found: list[list[int]] = []
    path: list[int] = []
    on_path, count = [False] * len(graph), 0
    for root in range(len(graph)):
        work = [] if number[root] else [(root, iter(graph[root]))]
        while work:
            node, edges = work[-1]
            if not number[node]:
                count += 1
                number[node] = low[node] = count
                path.append(node)
                on_path[node] = True
            for to, _ in edges:
                if not number[to]:
                    work.append((to, iter(graph[to])))
                    break
                if on_path[to]:
                    low[node] = min(low[node], low[to])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    found.append([])
                    while on_path[node]:
                        found[-1].append(path.pop())
                        on_path[found[-1][-1]] = False
    return found


# --- properties of rules -------------------------------------------------------------------------------


def _least(grammar: Gbnf, holds: Callable[[list[list[Item]], set[int]], bool]) -> set[int]:
    """The smallest set of rules for which ``holds(rule, the set)`` is true."""
    users: list[set[int]] = [set() for _ in grammar.rules]
    for i, rule in enumerate(grammar.rules):
        for alternative in rule:
            for item in alternative:
                if isinstance(item, int):
                    users[item].add(i)
    known: set[int] = set()
    pending = list(range(len(grammar.rules)))
    while pending:
        i = pending.pop()
        if i not in known and holds(grammar.rules[i], known):
            known.add(i)
            pending.extend(users[i])
    return known


def _all_in(alternative: list[Item], known: set[int]) -> bool:
    return all(item in known for item in alternative)


def _refuse_dead_rules(grammar: Gbnf, empty: set[int]) -> None:
    """Refuse rules that reach no character: llama.cpp would abort where one of them is next."""

    def begins(rule: list[list[Item]], known: set[int]) -> bool:
        return any(_reaches(alternative, known, empty) for alternative in rule)

    dead = set(range(len(grammar.rules))) - _least(grammar, begins) - empty
    if dead:
        name = grammar.names[min(dead)].partition("_")[0]
        raise SettingsError(f"the grammar's rule {name!r} only refers to itself; give it some text")


def _reaches(alternative: list[Item], known: set[int], empty: set[int]) -> bool:
    for item in alternative:
        if not isinstance(item, int) or item in known:
            return True
        if item not in empty:
            return False
    return False


# --- named tokens --------------------------------------------------------------------------------------


def _refuse_tokens_inside_text(grammar: Gbnf, empty: set[int]) -> None:
    """Refuse a named token that may follow a character.

    llama.cpp then allows any token whose beginning fits the text before it, and aborts when it is taken.
    """
    begin = _least(grammar, lambda rule, known: any(_meets(a, Named, known, empty) for a in rule))
    end = _least(grammar, lambda rule, known: any(_meets(a[::-1], Chars, known, empty) for a in rule))
    for rule in grammar.rules:
        for alternative in rule:
            for left, right in _neighbours(alternative, empty):
                if _is_or_in(left, Chars, end) and _is_or_in(right, Named, begin):
                    raise SettingsError(
                        "the grammar names a token after text, at which llama.cpp aborts; between named "
                        "tokens write tokens: <think> !</think>* </think>"
                    )


def _meets(alternative: list[Item], kind: type, known: set[int], empty: set[int]) -> bool:
    """Whether ``kind`` can come first in the alternative."""
    for item in alternative:
        if _is_or_in(item, kind, known):
            return True
        if item not in empty:
            return False
    return False


def _is_or_in(item: Item, kind: type, known: set[int]) -> bool:
    return isinstance(item, kind) or item in known


def _neighbours(alternative: list[Item], empty: set[int]) -> Iterator[tuple[Item, Item]]:
    """Pairs of items that can stand next to each other."""
    for i, left in enumerate(alternative):
        for right in alternative[i + 1 :]:
            yield left, right
            if right not in empty:
                break
