"""``python -m benchmarks.context_scaling``: which RoPE scaling serves best beyond the native context.

Perplexity on held-out text of the corpus generator (a seed that training did not use), each token of a
window predicted from all tokens before it in the window. One line for each way of scaling.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable

import llama_cpp
import numpy as np

from easy_llama.engines.llama.plan import scaled_rope_base
from easy_llama.model import BUNDLED_MODEL
from training.dialogues import document

NATIVE, HEAD, BASE = 512, 32, 10000.0
LINEAR, YARN = 1, 2

Scaling = Callable[[float], dict[str, float | int]]
WAYS: dict[str, Scaling] = {
    "no scaling": lambda r: {},
    "linear": lambda r: {"rope_scaling_type": LINEAR, "rope_freq_scale": 1 / r},
    "NTK-aware base * r^(d/(d-2))": lambda r: {"rope_freq_base": BASE * r ** (HEAD / (HEAD - 2))},
    "base * r^(2^0.25)": lambda r: {"rope_freq_base": BASE * r ** (2**0.25)},
    "base * r^1.5": lambda r: {"rope_freq_base": BASE * r**1.5},
    "base * r^2": lambda r: {"rope_freq_base": BASE * r**2},
    "base * r^3": lambda r: {"rope_freq_base": BASE * r**3},
    "YaRN": lambda r: {
        "rope_scaling_type": YARN, "rope_freq_scale": 1 / r, "yarn_orig_ctx": NATIVE, "yarn_ext_factor": 1.0,
    },
    "easy_llama": lambda r: {"rope_freq_base": scaled_rope_base(BASE, r)},
}  # fmt: skip


def held_out_tokens(tokenize: Callable[[str], list[int]], n: int) -> list[int]:
    """Return ``n`` tokens of text with a seed of its own, each document after the end-of-text token."""
    rng = random.Random(20_000_003)
    tokens: list[int] = []
    while len(tokens) < n:
        tokens += tokenize(document(rng))
    return tokens[:n]


def perplexity(ratio: int, options: dict[str, float | int], n_windows: int) -> float:
    """Perplexity over ``n_windows`` windows of ``ratio`` times the native context."""
    n_ctx = NATIVE * ratio
    llama = llama_cpp.Llama(
        str(BUNDLED_MODEL), n_ctx=n_ctx, n_batch=512, n_threads=1, logits_all=True, verbose=False, **options
    )
    tokens = held_out_tokens(lambda text: llama.tokenize(text.encode(), special=True), n_ctx * n_windows)
    total = 0.0
    for start in range(0, len(tokens), n_ctx):
        window = tokens[start : start + n_ctx]
        llama.reset()
        llama.eval(window)
        logits = llama.scores[: n_ctx - 1].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(axis=1))
        total += float((log_sum - logits[np.arange(n_ctx - 1), window[1:]]).sum())
    llama.close()
    return math.exp(total / (n_windows * (n_ctx - 1)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32768, help="held-out tokens per number")
    args = parser.parse_args()
    ratios = (1, 2, 4)
    print(f"| {'scaling':28} | " + " | ".join(f"{r} x native" for r in ratios) + " |")
    print(f"|{'-' * 30}|" + "------------|" * len(ratios))
    for name, way in WAYS.items():
        cells = [perplexity(r, way(r) if r > 1 else {}, args.tokens // (NATIVE * r)) for r in ratios]
        print(f"| {name:28} | " + " | ".join(f"{cell:10.3f}" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
