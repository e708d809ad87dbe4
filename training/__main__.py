"""``python -m training``: corpus, tokenizer, training and export in one run."""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch

from .dialogues import document
from .export import write_gguf
from .tokenizer import train_tokenizer
from .train import train

STEPS = 5000
TARGET = Path(__file__).parent.parent / "easy_llama" / "data" / "tiny.gguf"


def main() -> None:
    """Parse the flags, run the recipe, say what came out."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps of 8 x 512 tokens")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=TARGET)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    start = time.monotonic()
    rng = random.Random(args.seed)
    tokenizer = train_tokenizer(document(rng) for _ in range(60_000))
    model, loss = train(
        tokenizer,
        steps=args.steps,
        seed=args.seed,
        checkpoint=lambda model: write_gguf(model, tokenizer, args.output),
    )
    write_gguf(model, tokenizer, args.output)
    size = args.output.stat().st_size
    print(
        f"held-out loss {loss:.4f}, seed {args.seed}, {time.monotonic() - start:.0f} s, "
        f"{args.output} ({size / 1e6:.2f} MB)"
    )


if __name__ == "__main__":
    main()
