"""Tiny random models: one of each kind that the engine treats in its own way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from easy_llama.engines.pytorch.engine import TorchEngine

N_VOCAB, N_CTX = 40, 64


def _make(family: str, **options: Any) -> Any:
    torch.manual_seed(1)
    config = getattr(transformers, f"{family}Config")(vocab_size=N_VOCAB, num_hidden_layers=2, **options)
    kind = "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    model = getattr(transformers, kind)(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(5)  # random weights are small: a mistake would hardly show in the logits
    return model.eval()


_ATTENTION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": N_CTX,
}


def llama() -> Any:
    """Keys and values, rotary positions."""
    return _make("Llama", **_ATTENTION)


def gpt2() -> Any:
    """Keys and values, learned positions."""
    return _make("GPT2", n_embd=32, n_head=4, n_positions=N_CTX)


def mistral(window: int = 16) -> Any:
    """A window over the newest keys in every layer."""
    return _make("Mistral", sliding_window=window, **_ATTENTION)


def gemma(window: int = 6) -> Any:
    """A window in every other layer."""
    return _make("Gemma2", sliding_window=window, head_dim=8, **_ATTENTION)


def mamba() -> Any:
    """A recurrent state. Several tokens after it give wrong logits, without an error."""
    return _make("Mamba", hidden_size=32, state_size=4)


def lfm2() -> Any:
    """A convolution and attention."""
    return _make("Lfm2", full_attn_idxs=[1], **_ATTENTION)


def minimax() -> Any:
    """Linear attention beside keys and values. Its cache's ``reorder_cache`` forgets the first of these."""
    return _make("MiniMax", num_local_experts=2, num_experts_per_tok=2, block_size=4, **_ATTENTION)


class PlainModule(torch.nn.Module):
    """The least that is asked for: logits, and no cache."""

    def __init__(self, n_vocab: int = N_VOCAB) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embedding = torch.nn.Embedding(n_vocab, 16)
        self.mix = torch.nn.GRU(16, 16, batch_first=True)
        self.dropout = torch.nn.Dropout(0.5)
        self.output = torch.nn.Linear(16, n_vocab)
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, input_ids: torch.Tensor) -> Any:
        self.shapes.append(tuple(input_ids.shape))
        mixed, _ = self.mix(self.embedding(input_ids))
        return SimpleNamespace(logits=self.output(self.dropout(mixed)) * 5)


class HiddenModule(PlainModule):
    """Hidden states, but no cache."""

    def forward(self, input_ids: torch.Tensor, output_hidden_states: bool = False) -> Any:
        mixed, _ = self.mix(self.embedding(input_ids))
        states = (mixed,) if output_hidden_states else None
        return SimpleNamespace(logits=self.output(mixed) * 5, hidden_states=states)


class Wrapper:
    """No module at all: something that can be called. It takes one sequence at a time."""

    def __init__(self, inside: Callable[..., Any]) -> None:
        self.inside = inside
        self.config = SimpleNamespace(eos_token_id=3)

    def __call__(self, input_ids: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.inside(input_ids[:1]).logits)


class Counting(torch.nn.Module):
    """A cache of its own kind, changed in place and without any method: how often each token came."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.weight = torch.nn.Parameter(torch.randn(N_VOCAB, N_VOCAB))

    def forward(self, input_ids: torch.Tensor, past_key_values: Any = None, use_cache: bool = False) -> Any:
        counts = torch.zeros(len(input_ids), N_VOCAB) if past_key_values is None else past_key_values
        logits = []
        for column in input_ids.T:
            counts *= 0.9
            counts[torch.arange(len(counts)), column] += 1
            logits.append(counts @ self.weight)
        return SimpleNamespace(
            logits=torch.stack(logits, dim=1), past_key_values=counts if use_cache else None
        )


def reference(model: Any, tokens: list[int]) -> NDArray[np.float32]:
    """The logits after ``tokens`` by the model alone, in one call and without a cache."""
    fresh = copy.deepcopy(model).eval()
    for module in fresh.modules():
        module._forward_hooks.clear()  # they watch the engine's calls
    with torch.no_grad():
        logits: NDArray[np.float32] = fresh(torch.tensor([tokens])).logits[0, -1].float().numpy()
    return logits


def right(engine: TorchEngine, model: Any, logits: NDArray[np.float32]) -> bool:
    """Whether these are the logits after the engine's tokens, but for rounding (Mamba's alone is 2e-4)."""
    expected = reference(model, engine.tokens)
    return bool(np.abs(logits - expected).max() <= 2e-3 * np.ptp(expected))
