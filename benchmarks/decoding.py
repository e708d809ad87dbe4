"""``python -m benchmarks.decoding``: what strategies, beams and grammars cost beside plain streaming.

One process, one thread. The contenders take turns in every round; each number is the ratio to plain
streaming in the same round: median (quartiles). ``--peer`` adds backtrack_sampler, where it is installed.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

import easy_llama as ez
from easy_llama.decoding import AntiSlopStrategy, CreativeWritingStrategy, Strategy
from easy_llama.engine import prefill
from easy_llama.engines.llama.chain import LlamaChain
from easy_llama.model import BUNDLED_MODEL

from .random_model import random_model

PROMPT = "Once upon a time"
SEED = 3
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}

Contender = Callable[[], tuple[float, float]]
"""Runs once and returns (seconds, tokens that count)."""


class Runs:
    """The contenders on one model, all generating ``n`` tokens from the same prompt."""

    def __init__(self, model: ez.Model, n: int) -> None:
        self.model, self.n = model, n
        self.settings = ez.SamplerSettings(max_len_tokens=n, seed=SEED)
        model.tokenizer.__dict__["end_tokens"] = frozenset()  # nothing ends a text early
        self.prompt = model.tokenize(PROMPT)
        plain = list(model.generation(self.prompt, sampler=self.settings).pieces())
        self.text = "".join(plain)

    def stream(
        self, strategy: Strategy | None = None, settings: ez.SamplerSettings | None = None
    ) -> tuple[float, float]:
        """Seconds and kept tokens of a stream."""
        self.model.engine.rollback(0)
        prefill(self.model.engine, self.prompt)
        start = time.perf_counter()
        generation = self.model.generation(self.prompt, sampler=settings or self.settings, strategy=strategy)
        for _ in generation.chunks():
            pass
        seconds = time.perf_counter() - start
        assert len(generation.tokens) == self.n
        return seconds, self.n

    def no_match(self) -> Contender:
        """Anti-slop with 1,000 phrases that do not come up."""
        rng = random.Random(1)
        letters = "bcdfghjklmnpqrstvwxyz"
        phrases = {"".join(rng.choices(letters, k=rng.randint(6, 12))) + " of" for _ in range(1000)}
        strategy = AntiSlopStrategy(self.model, phrases)

        def run() -> tuple[float, float]:
            found = self.stream(strategy)
            assert not strategy.report
            return found

        return run

    def rewinds(self) -> tuple[Contender, AntiSlopStrategy]:
        """Anti-slop with as many phrases, of which some come up about once in 16 tokens: beginnings of words,
        because they come up in other texts, too."""
        beginnings, often = Counter(re.findall(r" [a-z]{2}", self.text)), list[str]()
        wanted = self.n / 6  # some are avoided together
        for beginning, count in sorted(beginnings.items(), key=lambda item: (-item[1], item[0])):
            if count <= wanted:
                often.append(beginning)
                wanted -= count
        rare = [f"qx{i}jq" for i in range(1000 - len(often))]
        strategy = AntiSlopStrategy(self.model, [*often, *rare])
        return (lambda: self.stream(strategy)), strategy

    def creative(self) -> Contender:
        """Creative writing; evaluated tokens count, not kept ones."""
        strategy = CreativeWritingStrategy(self.model)

        def run() -> tuple[float, float]:
            before = self.model.engine.n_evaluated
            seconds, _ = self.stream(strategy)
            return seconds, self.model.engine.n_evaluated - before - len(self.prompt)

        return run

    def contrastive(self) -> Contender:
        """Contrastive search with 4 candidates at each step."""
        settings = ez.SamplerSettings(penalty_alpha=0.6, top_k=4, max_len_tokens=self.n)
        return lambda: self.stream(settings=settings)

    def beams(self, num_beams: int = 5) -> Contender:
        """Beam search; the tokens of the longest beam count."""

        def run() -> tuple[float, float]:
            prefill(self.model.engine, self.prompt)
            n = min(self.n, (self.model.context_length - len(self.prompt)) // num_beams)
            start = time.perf_counter()
            found = self.model.beams(
                self.prompt, num_beams, sampler=ez.SamplerSettings(max_len_tokens=n, seed=SEED)
            )
            return time.perf_counter() - start, max(len(beam.tokens) for beam in found)

        return run


def compare(model: ez.Model, n: int, rounds: int, peer: bool) -> None:
    """Print the ratios on one model."""
    runs = Runs(model, n)
    with_rewinds, strategy = runs.rewinds()
    contenders: dict[str, Contender] = {
        "plain stream": runs.stream,
        "anti-slop, 1,000 phrases, no match": runs.no_match(),
        "anti-slop, 1,000 phrases, rewinds": with_rewinds,
        "creative writing, per evaluated token": runs.creative(),
        "contrastive search, 4 candidates": runs.contrastive(),
        "beam search, 5 beams": runs.beams(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(rounds + 1):
        for name, contender in contenders.items():
            taken, counted = contender()
            if i:  # the first round warms up
                seconds[name].append(taken / counted)
    plain = seconds["plain stream"]
    print(f"\n{model.filename}: {model.n_vocab:,} tokens of vocabulary, {n} tokens a run, {rounds} rounds")
    print(f"  {'plain stream':42} {statistics.median(plain) * 1e6:9.0f} us a token")
    for name, times in seconds.items():
        if name != "plain stream":
            ratios = [one / base for one, base in zip(times, plain, strict=True)]
            print(f"  {name:42} {spread(ratios)} times as long", end="")
            fast = [1 / ratio for ratio in ratios]
            print(f", {spread(fast)} times the tokens per second" if "beam" in name else "")
    print(f"  (rewinds: one for {n / max(1, len(strategy.report)):.0f} kept tokens)")
    if peer:
        peers(model, plain)


def peers(model: ez.Model, plain: list[float]) -> None:
    """backtrack_sampler on the same file; few tokens, because it is slow."""
    import backtrack_sampler as bt
    import llama_cpp
    import torch
    from backtrack_sampler.provider.llamacpp_provider import LlamacppProvider

    torch.set_num_threads(1)
    llama = llama_cpp.Llama(
        str(model._path), n_ctx=512, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
    )
    provider = LlamacppProvider(llama, llama_cpp.LlamaRAMCache(), torch.device("cpu"))
    phrases = [f"qx{i}jq" for i in range(10)]
    for name, strategy in {
        "AntiSlopStrategy, 10 phrases": bt.AntiSlopStrategy(provider, phrases),
        "CreativeWritingStrategy": bt.CreativeWritingStrategy(provider),
    }.items():
        sampler, n = bt.BacktrackSampler(provider, strategy), 24
        start = time.perf_counter()
        count = sum(1 for _ in sampler.generate(prompt=PROMPT, max_new_tokens=n))
        ratio = (time.perf_counter() - start) / max(1, count) / statistics.median(plain)
        print(f"  backtrack_sampler {name:30} {ratio:9.1f} times as long, per kept token")


def json_token(rounds: int) -> None:
    """Print what a token costs that obeys a JSON schema at the first try, at 151,936 tokens."""
    with ez.Model(random_model(151_936, n_embd=64, n_layer=2), n_threads=1) as model:
        engine, prompt = model.engine, model.tokenize("x")
        logits = prefill(engine, prompt).copy()
        opening = [token for char in '{"name":"' for token in model.tokenizer.encode(char, bos=False)[-1:]]
        letter = model.tokenizer.encode("a", bos=False)[-1]
        times: dict[str, list[float]] = {"free": [], "under a JSON schema": []}
        for name, taken in times.items():
            settings = ez.SamplerSettings(seed=1, json_schema=SCHEMA if "JSON" in name else None)
            pick: Any = engine.picker(settings, 1, prompt)
            assert isinstance(pick, LlamaChain)
            history = list(prompt)
            for token in [*opening, *[letter] * rounds * 20]:
                row = logits.copy()
                row[token] = logits.max() + 20
                start = time.perf_counter()
                drawn = pick(history, row)
                taken.append(time.perf_counter() - start)
                assert drawn == token
                history.append(token)
            del taken[: len(opening)]
            pick.close()
        print(f"\n{model.n_vocab:,} tokens of vocabulary, ms to choose a token")
        for name, taken in times.items():
            print(f"  {name:42} {spread([one * 1e3 for one in taken])}")


def spread(values: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:8.3f} ({low:.3f} .. {high:.3f})"


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", action="store_true", help="with backtrack_sampler")
    args = parser.parse_args()
    for path, n in ((BUNDLED_MODEL, 256), (random_model(32_000), 128)):
        with ez.Model(path, n_threads=1) as model:
            compare(model, n, args.rounds, args.peer)
    json_token(args.rounds)


if __name__ == "__main__":
    main()
