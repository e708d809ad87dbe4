"""Two prompts, every decoding method: a story and a transfer as JSON. Writes decoding_study.html beside it.

    python examples/decoding_study.py
    python examples/decoding_study.py --model Qwen2-0.5B-Instruct-Q8_0.gguf
    python examples/decoding_study.py --hf Qwen/Qwen2-0.5B-Instruct

Runs on the bundled model, and on a model of yours when one is given: a GGUF file, or a name or folder for
Hugging Face's transformers (which needs the extra ``torch``).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import easy_llama as ez
from easy_llama.engine import Provider
from easy_llama.study import Study, compare, write_html

PROMPTS = {
    "A story about a hedgehog": (
        "<|im_start|>system\nYou are a storyteller. Generate a story based on user message.<|im_end|>\n"
        "<|im_start|>user\nGenerate me a short story about a tiny hedgehog named Sonic.<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "A transfer as JSON": (
        '<|im_start|>system\nYou are a strict JSON machine. Generate only a JSON with format {"contractor": '
        'name, "sum": decimal, "currency": currency code} based on user message. You prohibited to discuss. '
        "Only return dict in json format.<|im_end|>\n"
        "<|im_start|>user\nTransfer 100 rubles to Mike<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
}
END_TOKEN = 151645  # <|im_end|> of Qwen2
METHODS = ["greedy", "sampling", "temperature", "nucleus", "beam", "contrastive"]


def main() -> None:
    """Run the study and write the report."""
    parser = argparse.ArgumentParser(description="Every decoding method on two prompts.")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--model", metavar="FILE.gguf", help="a GGUF file")
    given.add_argument("--hf", metavar="NAME_OR_PATH", help="a model for transformers")
    parser.add_argument("--max-len-tokens", type=int, default=1000, help="longest text (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (0)")
    default = Path(__file__).with_suffix(".html")
    parser.add_argument("--html", metavar="FILE", default=default, help="the report to write")
    options = parser.parse_args()

    with ez.Model(n_threads=1) as model:  # so small a model is slower with more
        studies = run(model, "the bundled model", options.max_len_tokens, options.seed)
    if options.model:
        with ez.Model(options.model) as model:
            studies |= run(model, model.filename, options.max_len_tokens, options.seed)
    elif options.hf:
        studies |= run(load_hf(options.hf), options.hf, options.max_len_tokens, options.seed)
    print(f"\nreport: {write_html(options.html, studies)}")


def run(provider: Provider, name: str, max_len_tokens: int, seed: int) -> dict[str, Study]:
    """Return a study of each prompt by its title, and print their tables."""
    ends = [END_TOKEN] if provider.engine.n_vocab > END_TOKEN else []
    studies = {}
    for title, prompt in PROMPTS.items():
        study = compare(
            provider, prompt, METHODS, max_len_tokens=max_len_tokens, seed=seed, end_tokens=ends,
            progress=lambda label: print(f"{label} ...", file=sys.stderr),
        )  # fmt: skip
        is_named = isinstance(provider, ez.Model)
        studies[f"{title}: {name}"] = study if is_named else replace(study, model=name)
        print(f"\n{title}: {name}")
        study.table()
    return studies


def load_hf(name: str) -> Provider:
    """Load a model and its tokenizer from the hub or a folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from easy_llama import TransformersProvider

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return TransformersProvider(
        AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name), device
    )


if __name__ == "__main__":
    main()
