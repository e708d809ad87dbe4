"""``python -m benchmarks.pytorch``: tokens per second on a PyTorch model, beside the packages it takes after.

A random llama of 256 dimensions, 6 layers and 32,000 tokens on one thread. The fast contenders take turns in
every round; llm-samplers and backtrack_sampler, which are slow, run once, where they are installed.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import transformers

import easy_llama as ez
from easy_llama.engines.pytorch.engine import TorchEngine
from easy_llama.engines.pytorch.tensors import IdTokenizer

Run = Callable[[], int]
"""Generates once and returns the number of new tokens."""


def make_model() -> Any:
    """A random model whose texts do not end."""
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=32_000,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=2048,
        eos_token_id=None,
        bos_token_id=1,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).eval()


def contenders(model: Any, prompt: torch.Tensor, n: int) -> tuple[dict[str, Run], dict[str, Run]]:
    """Return what samples and what searches with 5 beams."""

    def ours(sampler: ez.TokenSampler) -> Run:
        return lambda: int(sampler.sample(model, prompt, max_length=n, seed=1).shape[1]) - prompt.shape[1]

    def transformers_generate(**options: Any) -> Run:
        def run() -> int:
            with torch.inference_mode():
                found = model.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    max_new_tokens=n,
                    pad_token_id=0,
                    **options,
                )
            n_new: int = found.shape[1] - prompt.shape[1]
            return n_new

        return run

    sampling = {
        "easy_llama TemperatureSampler": ours(ez.TemperatureSampler(1.0)),
        "transformers do_sample=True": transformers_generate(do_sample=True, top_k=0),
    }
    searching = {
        "easy_llama BeamSearchSampler(5)": ours(ez.BeamSearchSampler(5)),
        "transformers num_beams=5": transformers_generate(do_sample=False, num_beams=5),
    }
    return sampling, searching


def slow(model: Any, prompt: torch.Tensor, n: int) -> tuple[dict[str, Run], dict[str, Run]]:
    """Return the peers that run once."""
    sampling: dict[str, Run] = {}
    searching: dict[str, Run] = {}
    try:
        peer, beam = (importlib.import_module(f"llm_samplers{part}") for part in ("", ".beam"))
    except ImportError:
        print("(llm-samplers is not installed)")
        return sampling, searching
    n_prompt = prompt.shape[1]

    def run(sample: Any, max_length: int) -> int:
        model.config.eos_token_id = -1  # it compares with an int
        try:
            n: int = sample(model, prompt, max_length=max_length).shape[-1] - n_prompt
            return n
        finally:
            model.config.eos_token_id = None

    # in its beam search max_length counts the prompt
    sampling["llm-samplers TemperatureSampler"] = lambda: run(peer.TemperatureSampler(1.0).sample, n)
    searching["llm-samplers BeamSearchSampler(5)"] = lambda: run(
        beam.BeamSearchSampler(5).sample, n_prompt + n
    )
    return sampling, searching


def backtracking(model: Any, prompt: torch.Tensor, n: int) -> tuple[dict[str, Run], dict[str, Run]]:
    """Return anti-slop with 10 phrases that do not come up: easy_llama's and backtrack_sampler's."""
    tokenizer = IdTokenizer(32_000, frozenset())
    phrases = [tokenizer.spelled([i, i, i]) for i in range(10)]

    class Provider:
        engine = TorchEngine(model)

    provider: Any = Provider()
    provider.tokenizer = tokenizer
    ours = ez.BacktrackSampler(provider, ez.AntiSlopStrategy(provider, phrases))
    tokens = prompt[0].tolist()
    runs: dict[str, Run] = {
        "easy_llama AntiSlopStrategy": lambda: len(list(ours.generate(tokens, max_new_tokens=n, seed=1)))
    }
    try:
        peer = importlib.import_module("backtrack_sampler")
        module = importlib.import_module("backtrack_sampler.provider.transformers_provider")
    except ImportError:
        print("(backtrack_sampler is not installed)")
        return runs, {}

    class Tokenizer:
        """What its provider asks of a tokenizer; tokens stand for themselves."""

        eos_token_id, pad_token_id = -1, 0

        def encode(self, text: str, **options: Any) -> Any:
            ids = tokenizer.encode(text)
            return torch.tensor([ids]) if options.get("return_tensors") else ids

        def decode(self, ids: Any, **options: Any) -> str:
            return tokenizer.spelled(ids)

    theirs = module.TransformersProvider(model, Tokenizer(), torch.device("cpu"))
    strategy = peer.AntiSlopStrategy(theirs, phrases, with_variants=False)
    sampler = peer.BacktrackSampler(theirs, strategy)
    text = tokenizer.spelled(tokens)
    return runs, {
        "backtrack_sampler AntiSlopStrategy": lambda: len(
            list(sampler.generate(prompt=text, max_new_tokens=n))
        )
    }


def table(title: str, fast: dict[str, Run], once: dict[str, Run], rounds: int) -> None:
    """Print tokens per second, and how many times as fast the first is: round by round for the fast ones."""
    speeds: dict[str, list[float]] = {name: [] for name in (*fast, *once)}
    for i in range(rounds + 1):
        for name, run in {**fast, **(once if i == rounds else {})}.items():
            start = time.perf_counter()
            n = run()
            if i or name in once:  # the first round warms up
                speeds[name].append(n / (time.perf_counter() - start))
    first = next(iter(fast))
    print(f"\n{title}: tokens per second, median of {rounds} rounds")
    for name, found in speeds.items():
        base = speeds[first] if name in fast else [statistics.median(speeds[first])]
        ratios = [a / b for a, b in zip(base, found, strict=False)]
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        note = (
            "" if name == first else f"   easy_llama is {middle:.2f} times as fast ({low:.2f} .. {high:.2f})"
        )
        print(f"  {name:36} {statistics.median(found):8.1f}{note}")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=256)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    model, n = make_model(), args.tokens
    prompt = torch.randint(3, 32_000, (1, 64))
    sampling, searching = contenders(model, prompt, n)
    anti_slop, slow_anti_slop = backtracking(model, prompt, n)
    slow_sampling, slow_searching = slow(model, prompt, n)
    table(f"{n} tokens of anti-slop, 10 phrases", anti_slop, slow_anti_slop, args.rounds)
    table(f"{n} tokens drawn", sampling, slow_sampling, args.rounds)
    table(f"{n} tokens of beam search", searching, slow_searching, args.rounds)


if __name__ == "__main__":
    main()
