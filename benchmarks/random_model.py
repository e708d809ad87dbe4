"""Models with random weights and a vocabulary of any size, for speed: what they write means nothing."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import gguf
import numpy as np

__all__ = ["random_model"]

_SPECIAL = ("<unk>", "<s>", "</s>")


def random_model(n_vocab: int, *, n_embd: int = 256, n_layer: int = 6, n_ctx: int = 2048) -> Path:
    """Return the path of a llama model (F16) with ``n_vocab`` tokens: bytes, then letters, then words.

    It is written once to the directory for temporary files. The end token has no logit of its own, so a
    text practically never ends.
    """
    path = Path(tempfile.gettempdir()) / f"easy_llama_random_{n_vocab}_{n_embd}_{n_layer}.gguf"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        _write(unfinished, n_vocab, n_embd, n_layer, n_ctx)
        unfinished.replace(path)
    return path


def vocabulary(n_vocab: int) -> tuple[list[str], list[int], list[float]]:
    """Return texts, types and scores: three special tokens, 256 bytes, then pronounceable words."""
    kind = gguf.TokenType
    texts = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL, *[kind.BYTE] * 256]
    for text in itertools.chain((chr(c) for c in range(32, 127)), _words()):
        if len(texts) == n_vocab:
            break
        texts.append(text)
        types.append(kind.NORMAL)
    return texts, [int(one) for one in types], [-float(i) for i in range(n_vocab)]


def _words() -> itertools.chain[str]:
    starts, ends = "bcdfghjklmnprstvwz", "aeiou"
    syllables = ["".join(pair) for pair in itertools.product(starts, ends)]
    by_length = (itertools.product(syllables, repeat=n) for n in range(1, 5))
    return itertools.chain.from_iterable(("▁" + "".join(parts) for parts in group) for group in by_length)


def _write(path: Path, n_vocab: int, n_embd: int, n_layer: int, n_ctx: int) -> None:
    rng = np.random.default_rng(1234)
    n_ff, n_head = 3 * n_embd, n_embd // 32
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(n_layer)
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(n_embd)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_head)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(n_vocab)
    texts, types, scores = vocabulary(n_vocab)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(texts)
    writer.add_token_types(types)
    writer.add_token_scores(scores)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def add(name: str, *shape: int, scale: float = 0.06) -> None:
        values = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        if name == "output.weight":
            values[: 3 + 256] = 0  # special tokens and bytes
        writer.add_tensor(name, values.astype(np.float16))

    def add_norm(name: str) -> None:
        writer.add_tensor(name, np.ones(n_embd, dtype=np.float32))

    add("token_embd.weight", n_vocab, n_embd, scale=1.0)
    add("output.weight", n_vocab, n_embd, scale=0.2)
    add_norm("output_norm.weight")
    for i in range(n_layer):
        block = f"blk.{i}."
        for name in ("attn_norm", "ffn_norm"):
            add_norm(f"{block}{name}.weight")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}{name}.weight", n_embd, n_embd)
        for name in ("ffn_gate", "ffn_up"):
            add(f"{block}{name}.weight", n_ff, n_embd)
        add(f"{block}ffn_down.weight", n_embd, n_ff)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
