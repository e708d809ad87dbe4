"""In how many ways can a text be read by a grammar? A search for texts with very many readings.

llama.cpp holds every reading of the text so far (a stack of what may come next), and when it tests a token
it follows every reading of the token's characters anew. The search walks as llama.cpp does, from each rule,
always on from the text with the most readings, and stops after a fixed amount of work. So it is no proof; it
finds what doubles with every few characters, and that is what blocks a process.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from ..errors import SettingsError
from .gbnf import Chars, Gbnf, Item, Named

__all__ = ["MAX_READINGS", "most_readings"]

MAX_READINGS = 100_000  # of one token; llama.cpp follows about a million in a second
MAX_STACKS = 500  # with one item on top; testing the whole vocabulary takes about 1 ms for each
_TOKEN = 16  # characters; longer tokens of any vocabulary are mostly runs of one character,
_RUN = 128  # such as a line of dashes or an indentation
_WORK = 40_000  # readings followed in one check: about 0.05 s; half of it shared by all beginnings, but
# more of it for a beginning with an ambiguous text: a common grammar has up to 4 readings, JSON with numbers
# that can be read in two ways up to 256
_SHARES = ((1000, 10 * _WORK), (8, _WORK))
_LIMIT = 500_000  # of work, at which a grammar counts as too ambiguous: about 1 s
_KINDS = 6  # of next characters that are tried at a point

_END = -1


def most_readings(grammar: Gbnf) -> int:
    """Return the largest number of readings that was found for a text of a token's length.

    Raises SettingsError with the text when it has more than ``MAX_READINGS``, or when the number of stacks
    grows beyond ``MAX_STACKS``.
    """
    return _Search(grammar).run()


@dataclass(order=True)
class _Point:
    """A text that was read: its stacks, and how many readings of the newest characters lead to each."""

    urgency: tuple[int, int, int]
    stacks: Counter[int] = field(compare=False)
    text: str = field(compare=False, default="")
    token: str = field(compare=False, default="")  # the newest characters, whose readings are counted


class _Search:
    """The rules as numbered positions; a stack is the number of a (position, stack below)."""

    def __init__(self, grammar: Gbnf) -> None:
        self.names = grammar.names
        self.items: list[Item] = []
        self.next: list[int] = []  # the position after, or _END
        self.first: list[list[int]] = []  # where the alternatives of each rule begin
        for rule in grammar.rules:
            self.first.append([self._place(alternative) for alternative in rule])
        self.beginnings = _beginnings(grammar)
        self.nodes: list[tuple[int, int]] = [(_END, 0)]
        self.numbers: dict[tuple[int, int], int] = {}
        self.tops: dict[int, frozenset[int]] = {}
        self.work = 0
        self.most = 1

    def _place(self, alternative: list[Item]) -> int:
        if not alternative:
            return _END
        begin = len(self.items)
        self.items += alternative
        self.next += [*range(begin + 1, len(self.items)), _END]
        return begin

    def run(self) -> int:
        for explore in (self.explore_runs, self.explore):  # the quicker search of all rules first
            self.work = 0
            for rule in self.beginnings:
                if self.work > 4 * _WORK:
                    break
                explore(self.begin(rule), rule)
        return self.most

    def begin(self, rule: int) -> Counter[int]:
        """The stacks at the beginning of ``rule``."""
        stacks: Counter[int] = Counter()
        for position in self.first[rule]:
            stacks.update(dict.fromkeys(self.opened(self.push(position, 0), rule), 1))
        return stacks

    # --- stacks ----------------------------------------------------------------------------------------

    def push(self, position: int, below: int) -> int:
        """The stack with ``position`` on ``below``; nothing where the position is an end."""
        if position == _END:
            return below
        node = (position, below)
        if node not in self.numbers:
            self.numbers[node] = len(self.nodes)
            self.nodes.append(node)
        return self.numbers[node]

    def opened(self, stack: int, rule: int) -> frozenset[int]:
        """The stacks that ``stack`` stands for, all with a character or token on top, or empty."""
        if stack not in self.tops:
            todo, seen, tops = [stack], set[int](), set[int]()
            while todo:
                if (current := todo.pop()) in seen:
                    continue
                seen.add(current)
                if len(seen) > MAX_READINGS or self.work > _LIMIT:
                    self.fail(rule, "")
                position, below = self.nodes[current]
                item = self.items[position] if current else None
                if isinstance(item, int):
                    rest = self.push(self.next[position], below)
                    todo += [self.push(begin, rest) for begin in self.first[item]]
                else:
                    tops.add(current)
            self.work += len(seen) // 4 + 1
            self.tops[stack] = frozenset(tops)
        return self.tops[stack]

    # --- the search ------------------------------------------------------------------------------------

    def explore(self, begin: Counter[int], rule: int) -> None:
        """Search from the beginning of ``rule`` through texts of a token's length."""
        ticket = count()
        heap = [_Point((-1, 0, next(ticket)), begin)]
        best: dict[frozenset[int], int] = {}
        done = self.work
        while heap and self.work - done < self.share(-heap[0].urgency[0]):
            point = heapq.heappop(heap)
            for sample, readings, stacks in self.steps(point, rule):
                text, token = point.text + sample, point.token + sample
                self.most = max(self.most, readings)
                crowd = self.crowd(stacks)
                if readings > MAX_READINGS or crowd > MAX_STACKS:
                    self.fail(rule, text)
                if not sample or len(token) >= _TOKEN:
                    readings, stacks, token = 1, Counter(dict.fromkeys(stacks, 1)), ""
                key, readings = frozenset(stacks), max(readings, crowd)
                if readings > best.get(key, 0):
                    best[key] = readings
                    heapq.heappush(heap, _Point((-readings, len(text), next(ticket)), stacks, text, token))

    def explore_runs(self, begin: Counter[int], rule: int) -> None:
        """Follow runs of one character, such as a line of dashes: the longest tokens of a vocabulary."""
        tops = self.top_items(begin)
        for sample in _samples([item for item, _ in tops]):
            stacks, before = begin, Counter[int]()
            if isinstance(sample, str) or chr(sample).isalnum():
                continue
            for n in range(_RUN):
                fitting = [stack for item, stack in self.top_items(stacks) if _fits(item, sample)]
                before, stacks = stacks, self.after(stacks, fitting, rule)
                if stacks in (before, Counter()):
                    break
                if stacks.total() > MAX_READINGS or self.crowd(stacks) > MAX_STACKS:
                    self.fail(rule, chr(sample) * (n + 1))

    def share(self, readings: int) -> int:
        """How much work may be done from one beginning, given the readings of its most ambiguous text."""
        even = max(100, min(1000, _WORK // 2 // len(self.beginnings)))
        return next((share for least, share in _SHARES if readings >= least), even)

    def crowd(self, stacks: Counter[int]) -> int:
        """How many stacks differ only below their top. A list of words has many stacks, but no such ones."""
        return max(Counter(self.nodes[stack][0] for stack in stacks).values())

    def steps(self, point: _Point, rule: int) -> Iterator[tuple[str, int, Counter[int]]]:
        """What is one character or token further, the most ambiguous first: it, its readings, the stacks."""
        tops = self.top_items(point.stacks)
        found: dict[tuple[int, ...], tuple[int, int | str]] = {}
        samples = _samples([item for item, _ in tops])
        self.work += len(tops) * len(samples) // 8
        for sample in samples:
            fitting = tuple(stack for item, stack in tops if _fits(item, sample))
            if fitting:
                found.setdefault(fitting, (sum(point.stacks[stack] for stack in fitting), sample))
        ranked = sorted(found.items(), key=lambda entry: -entry[1][0])
        for fitting, (readings, sample) in ranked[:_KINDS]:
            stacks = self.after(point.stacks, fitting, rule)
            yield (chr(sample) if isinstance(sample, int) else ""), readings, stacks

    def top_items(self, stacks: Counter[int]) -> list[tuple[Item, int]]:
        """The stacks that are not empty, each with its top."""
        return [(self.items[self.nodes[stack][0]], stack) for stack in stacks if stack]

    def after(self, stacks: Counter[int], fitting: Sequence[int], rule: int) -> Counter[int]:
        """The stacks after what fits the tops of those in ``fitting``."""
        further: Counter[int] = Counter()
        for stack in fitting:
            position, below = self.nodes[stack]
            opened = self.opened(self.push(self.next[position], below), rule)
            self.work += len(opened)
            for top in opened:
                further[top] += stacks[stack]
        return further

    def fail(self, rule: int, text: str) -> None:
        name = self.names[rule].partition("_")[0]
        example = f"a text that begins with {text!r}" if text else "even the empty text"
        raise SettingsError(
            f"the grammar can read {example} in the rule {name!r} in very many ways, and llama.cpp would "
            "follow them all; let no two alternatives or neighbours begin with the same "
            'characters: instead of x | x "+" y write x ("+" y)?, instead of a? a? a? write a{0,3}'
        )


def _fits(item: Item, sample: int | str) -> bool:
    if isinstance(sample, str):
        return isinstance(item, Named) and item.negated != (item.text == sample)
    if not isinstance(item, Chars):
        return False
    for low, high in item.ranges:
        if low <= sample <= high:
            return not item.negated
    return item.negated


def _samples(items: list[Item]) -> list[int | str]:
    """One character or token of every kind that the items tell apart, common characters first."""
    chars, tokens = {0x20, 0x61}, set[str]()
    for item in set(items):
        if isinstance(item, Chars):
            chars.update(edge for a, b in item.ranges for edge in (a, b + 1))
        elif isinstance(item, Named):
            tokens.update((item.text, ""))
    known = sorted(char for char in chars if 0 < char <= 0x10FFFF)
    return [0x20, 0x61, *known, *sorted(tokens)]


def _beginnings(grammar: Gbnf) -> list[int]:
    """The rules to search from, the best first: the root, what refers back, and the rest.

    Left out are the steps of a bounded repetition, which is like its last one.
    """
    back, rest = [grammar.root], list[int]()
    for i, rule in enumerate(grammar.rules):
        references = {item for alternative in rule for item in alternative if isinstance(item, int)}
        if len(rule) == 2 and not rule[1] and references and max(references) == i - 1:
            continue
        (back if any(item <= i for item in references) else rest).append(i)
    return list(dict.fromkeys(back + rest))
