"""The llama architecture in PyTorch, with llama.cpp's tensor names and RoPE layout.

RoPE rotates neighbouring pairs (llama.cpp's "norm" type), so the export copies tensors as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of the bundled model: 1.3 million parameters, 2.5 MB as F16."""

    n_vocab: int = 1024
    n_ctx: int = 512
    n_embd: int = 160
    n_layer: int = 4
    n_head: int = 5
    n_head_kv: int = 1
    n_ff: int = 448
    rope_base: float = 10000.0
    norm_eps: float = 1e-5


class Block(nn.Module):
    """One transformer block: grouped-query attention and a SwiGLU feed-forward part."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_head, self.n_head_kv = shape.n_head, shape.n_head_kv
        head = shape.n_embd // shape.n_head
        self.attn_norm = nn.RMSNorm(shape.n_embd, shape.norm_eps)
        self.attn_q = nn.Linear(shape.n_embd, shape.n_head * head, bias=False)
        self.attn_k = nn.Linear(shape.n_embd, shape.n_head_kv * head, bias=False)
        self.attn_v = nn.Linear(shape.n_embd, shape.n_head_kv * head, bias=False)
        self.attn_output = nn.Linear(shape.n_head * head, shape.n_embd, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.n_embd, shape.norm_eps)
        self.ffn_gate = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.ffn_up = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.ffn_down = nn.Linear(shape.n_ff, shape.n_embd, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map (batch, time, n_embd) to the same shape."""
        batch, time, _ = x.shape
        h = self.attn_norm(x)
        q = rotate(self.attn_q(h).view(batch, time, self.n_head, -1).transpose(1, 2), cos, sin)
        k = rotate(self.attn_k(h).view(batch, time, self.n_head_kv, -1).transpose(1, 2), cos, sin)
        v = self.attn_v(h).view(batch, time, self.n_head_kv, -1).transpose(1, 2)
        repeat = self.n_head // self.n_head_kv
        k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(batch, time, -1))
        h = self.ffn_norm(x)
        out: Tensor = x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply RoPE to neighbouring pairs of the last axis; ``cos`` and ``sin`` are (time, head / 2)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Llama(nn.Module):
    """A decoder-only transformer with tied input and output embeddings."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.n_vocab, shape.n_embd)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.output_norm = nn.RMSNorm(shape.n_embd, shape.norm_eps)
        half = shape.n_embd // shape.n_head // 2
        frequencies = shape.rope_base ** (-torch.arange(half) / half)
        angles = torch.outer(torch.arange(shape.n_ctx), frequencies)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.apply(self._init)

    def _init(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (batch, time, n_vocab) for token ids (batch, time)."""
        x = self.token_embd(tokens)
        time = tokens.shape[1]
        assert isinstance(self.cos, Tensor)  # for the type checker
        assert isinstance(self.sin, Tensor)
        for block in self.blk:
            x = block(x, self.cos[:time], self.sin[:time])
        return F.linear(self.output_norm(x), self.token_embd.weight)
