"""A GGUF file in memory: its engine, its tokenizer and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp

from .engine import LlamaEngine
from .gguf import GGUFHeader, read_gguf, shard_paths
from .handles import model_handle
from .open import ContextPlan, open_llama
from .plan import LoadOptions, native_context, plan_context
from .vocab import LlamaTokenizer

__all__ = ["LoadedModel", "ModelFacts", "load_model"]


@dataclass(frozen=True)
class ModelFacts:
    """What a loaded model is: from its file, from llama.cpp, and how its context was made.

    Token ids are None where the model has no such token.
    """

    metadata: dict[str, Any]
    verbose: bool
    context_length: int
    n_ctx_train: int
    rope_freq_base_train: float | None
    rope_freq_base: float | None
    flash_attn: bool
    n_gpu_layers: int
    type_k: int
    type_v: int
    n_vocab: int
    n_layer: int
    n_gqa: int
    bos_token: int | None
    eos_token: int | None
    eot_token: int | None
    nl_token: int | None
    sep_token: int | None
    prefix_token: int | None
    middle_token: int | None
    suffix_token: int | None
    cls_token: int | None


class LoadedModel(NamedTuple):
    """What ``Model`` generates with."""

    engine: LlamaEngine
    tokenizer: LlamaTokenizer
    facts: ModelFacts


def load_model(path: Path, options: LoadOptions) -> LoadedModel:
    """Load the model at ``path``, any part of a split one.

    Raises ModelFileError and SettingsError, before llama.cpp sees what would end the process.
    """
    paths = shard_paths(path)
    header = read_gguf(paths[0])
    for shard in paths[1:]:
        read_gguf(shard)
    plan = plan_context(header, options)
    llama = open_llama(header, plan)
    engine = LlamaEngine(llama, n_ctx=plan.n_ctx)
    tokenizer = LlamaTokenizer(llama, engine.lock)
    return LoadedModel(engine, tokenizer, _facts(header, plan, llama, tokenizer))


def _facts(
    header: GGUFHeader, plan: ContextPlan, llama: llama_cpp.Llama, tokenizer: LlamaTokenizer
) -> ModelFacts:
    model, special = model_handle(llama), tokenizer.special_token
    n_head, n_head_kv = llama_cpp.llama_model_n_head(model), llama_cpp.llama_model_n_head_kv(model)
    base, cls_token = header.get("rope.freq_base"), header.metadata.get("tokenizer.ggml.cls_token_id")
    base_train = base if isinstance(base, float) else None
    return ModelFacts(
        metadata=dict(header.metadata),
        verbose=plan.verbose,
        context_length=plan.n_ctx,
        n_ctx_train=native_context(header),
        rope_freq_base_train=base_train,
        rope_freq_base=plan.rope_freq_base or base_train,
        flash_attn=plan.flash_attn,
        n_gpu_layers=plan.n_gpu_layers,
        type_k=plan.type_k,
        type_v=plan.type_v,
        n_vocab=tokenizer.n_vocab,
        n_layer=llama_cpp.llama_model_n_layer(model),
        n_gqa=n_head // n_head_kv if n_head_kv else 1,
        bos_token=special("bos"),
        eos_token=special("eos"),
        eot_token=special("eot"),
        nl_token=special("nl"),
        sep_token=special("sep"),
        prefix_token=special("fim_pre"),
        middle_token=special("fim_mid"),
        suffix_token=special("fim_suf"),
        # llama.cpp answers with BOS where a model has no classifier token; the file tells the truth
        cls_token=cls_token if isinstance(cls_token, int) else None,
    )
