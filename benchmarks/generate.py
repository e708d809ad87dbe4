"""``python -m benchmarks.generate``: what Model.stream costs beside llama-cpp-python and a plain loop.

One process, one thread, the bundled model, the same settings. The contenders take turns in every round; a
number is the median over the rounds of what a token takes more than in the plain loop of the same round.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator

import llama_cpp

import easy_llama as ez
from easy_llama.engine import prefill

PROMPT = "Once upon a time"
STOPS = ["<never>", "\n\nUser:"]

Contender = Callable[[], Iterator[object]]


def plain_loop(model: ez.Model) -> Iterator[int]:
    """The least that generates: decode and sample, nothing else."""
    engine, settings = model.engine, ez.samplers.DefaultSampling
    prefill(engine, model.tokenize(PROMPT))
    chain = engine.picker(settings, 1)
    context, batch = engine._context(), engine._one
    decode, sample = llama_cpp.llama_decode, llama_cpp.llama_sampler_sample
    put, struct = batch.put, batch.struct
    position = len(engine.tokens)
    while True:
        token = sample(chain._chain, context, -1)
        yield token
        put(token, position)
        decode(context, struct)
        position += 1


def llama_generate(model: ez.Model) -> Iterator[int]:
    """llama-cpp-python's generator of token ids."""
    yield from model.llama.generate(model.tokenize(PROMPT))


def stream(model: ez.Model) -> Iterator[object]:
    """Model.stream: text, stops, dicts, statistics."""
    yield from model.stream(PROMPT, stops=STOPS)


def seconds_at(run: Iterator[object], marks: list[int]) -> list[float]:
    """Return the clock after each of the given numbers of steps."""
    times, wanted = [], set(marks)
    for n, _ in enumerate(run, 1):
        if n in wanted:
            times.append(time.perf_counter())
        if n == marks[-1]:
            break
    assert len(times) == len(marks), "a contender ended early"
    return times


def measure(contenders: dict[str, Contender], windows: list[tuple[int, int]], rounds: int) -> None:
    """Print the cost of a token in every window of a generation."""
    marks = sorted({mark for window in windows for mark in window})
    cost: dict[str, dict[tuple[int, int], list[float]]] = {
        name: {window: [] for window in windows} for name in contenders
    }
    for i in range(rounds + 1):
        for name, contender in contenders.items():
            clock = dict(zip(marks, seconds_at(contender(), marks), strict=True))
            if i:  # the first round warms up
                for a, b in windows:
                    cost[name][a, b].append((clock[b] - clock[a]) / (b - a) * 1e6)
    base = next(iter(contenders))
    for window in windows:
        print(f"\ntokens {window[0]} to {window[1]}, {rounds} rounds, us per token")
        print(f"{'':28}{'median':>9}{'over the plain loop: median':>30}{'quartiles':>18}")
        for name in contenders:
            extra = [x - y for x, y in zip(cost[name][window], cost[base][window], strict=True)]
            low, _, high = statistics.quantiles(extra, n=4)
            median = statistics.median(cost[name][window])
            print(f"{name:28}{median:9.1f}{statistics.median(extra):30.1f}{f'{low:.1f} .. {high:.1f}':>18}")


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with ez.Model(context_length=1536, n_threads=1) as model:
        # all contenders run for the same length: nothing ends a text
        model.tokenizer.__dict__["end_tokens"] = frozenset()
        contenders: dict[str, Contender] = {
            "plain loop": lambda: plain_loop(model),
            "llama_cpp Llama.generate": lambda: llama_generate(model),
            "easy_llama Model.stream": lambda: stream(model),
        }
        measure(contenders, [(1, 256)], args.rounds)
        measure(contenders, [(1, 256), (768, 1024)], args.rounds)


if __name__ == "__main__":
    main()
