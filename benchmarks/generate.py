"""``python -m benchmarks.generate``: what Model.stream costs beside llama-cpp-python and a plain loop.

One process, one thread, the bundled model, the same settings; the contenders take turns in every round.
Two numbers for each: microseconds a token by the clock, and those of them spent outside ``llama_decode``.
The second is what a wrapper adds; it can be told from the first on a noisy machine, where the
computation itself varies by more than any wrapper costs.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import llama_cpp

import easy_llama as ez
from easy_llama.engine import prefill
from easy_llama.engines.llama import context as llama_context
from easy_llama.engines.llama.batch import OneToken

PROMPT = "Once upon a time"
STOPS = ["<never>", "\n\nUser:"]

Contender = Callable[[ez.Model], Iterator[int]]
"""Yields the number of tokens generated so far, at least once for every few of them."""


class DecodeClock:
    """Counts the seconds that every contender spends inside ``llama_decode``, each by the same wrapper."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._decode = llama_cpp.llama_decode

    def __call__(self, context: Any, batch: Any) -> int:
        """Decode ``batch`` and count the time."""
        start = time.perf_counter()
        status: int = self._decode(context, batch)
        self.seconds += time.perf_counter() - start
        return status

    def install(self) -> None:
        """Stand in for ``llama_decode`` wherever it is called from."""
        setattr(llama_cpp.llama_cpp, "llama_decode", self)  # noqa: B010  # another package's name
        setattr(llama_context, "_decode", self)  # noqa: B010  # a name that is private there


def plain_loop(model: ez.Model) -> Iterator[int]:
    """The least that generates: decode and sample, nothing else."""
    engine = model.engine
    prefill(engine, model.tokenize(PROMPT))
    chain: Any = engine.picker(ez.samplers.DefaultSampling, 1)
    one, context = OneToken(0), engine.context()
    put, struct = one.put, one.struct
    decode, sample = llama_context._decode, llama_cpp.llama_sampler_sample
    start = position = len(engine.tokens)
    while True:
        token = sample(chain._chain, context, -1)
        yield position - start + 1
        put(token, position)
        decode(context, struct)
        position += 1


def llama_generate(model: ez.Model) -> Iterator[int]:
    """llama-cpp-python's generator of token ids."""
    for n, _ in enumerate(model.llama.generate(model.tokenize(PROMPT)), 1):
        yield n


def stream(model: ez.Model) -> Iterator[int]:
    """Model.stream: text, two stop strings, dicts, statistics."""
    generation = model.generation(PROMPT, STOPS)
    for _ in generation.chunks():
        yield len(generation.tokens)


CONTENDERS: dict[str, Contender] = {
    "plain loop": plain_loop,
    "llama_cpp Llama.generate": llama_generate,
    "easy_llama Model.stream": stream,
}


def marks_of(run: Iterator[int], marks: list[int], decode: DecodeClock) -> list[tuple[int, float, float]]:
    """Return (tokens, clock, seconds in llama_decode) when each mark is first reached."""
    found: list[tuple[int, float, float]] = []
    for n in run:
        if n >= marks[len(found)]:
            found.append((n, time.perf_counter(), decode.seconds))
            if len(found) == len(marks):
                break
    assert len(found) == len(marks), "a contender ended early"
    return found


def measure(model: ez.Model, decode: DecodeClock, windows: list[tuple[int, int]], rounds: int) -> None:
    """Print the cost of a token in every window of a generation."""
    marks = sorted({mark for window in windows for mark in window})
    wall: dict[tuple[str, int], list[float]] = {}
    outside: dict[tuple[str, int], list[float]] = {}
    for i in range(rounds + 1):
        for name, contender in CONTENDERS.items():
            found = dict(zip(marks, marks_of(contender(model), marks, decode), strict=True))
            for w, (a, b) in enumerate(windows):
                (n0, t0, d0), (n1, t1, d1) = found[a], found[b]
                if i:  # the first round warms up
                    wall.setdefault((name, w), []).append((t1 - t0) / (n1 - n0) * 1e6)
                    outside.setdefault((name, w), []).append((t1 - t0 - (d1 - d0)) / (n1 - n0) * 1e6)
    for w, window in enumerate(windows):
        print(f"\ntokens {window[0]} to {window[1]}, {rounds} rounds, us a token: median (quartiles)")
        for name in CONTENDERS:
            print(f"  {name:26} clock {_spread(wall[name, w])}", end="   ")
            print(f"outside llama_decode {_spread(outside[name, w])}")
        peer, ours = (outside[name, w] for name in list(CONTENDERS)[1:])
        print(f"  stream over Llama.generate, round by round: {_spread(_minus(ours, peer))}")


def _minus(left: list[float], right: list[float]) -> list[float]:
    return [a - b for a, b in zip(left, right, strict=True)]


def _spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:8.1f} ({low:.1f} .. {high:.1f})"


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    decode = DecodeClock()
    decode.install()
    with ez.Model(context_length=1536, n_threads=1) as model:
        # all contenders run for the same length: nothing ends a text
        model.tokenizer.__dict__["end_tokens"] = frozenset()
        measure(model, decode, [(1, 256)], args.rounds)
        measure(model, decode, [(1, 256), (768, 1024)], args.rounds)


if __name__ == "__main__":
    main()
