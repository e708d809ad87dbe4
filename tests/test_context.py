"""Planning a context: lengths, bases, cache sizes, and what is said when a wish can't be met."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from easy_llama.engines.llama.gguf import GGUFHeader, Value
from easy_llama.engines.llama.open import F16, Q8_0, head_size, kv_cache_bytes
from easy_llama.engines.llama.plan import LoadOptions, plan_context, scaled_rope_base
from easy_llama.errors import EasyLlamaWarning, SettingsError

GIB = 2**30
# the shape of Llama 3.1 8B
LLAMA_8B: dict[str, Value] = {
    "general.architecture": "llama", "llama.block_count": 32, "llama.context_length": 131072,
    "llama.embedding_length": 4096, "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8,
    "llama.rope.freq_base": 500000.0,
}  # fmt: skip


def header(**changes: Value | None) -> GGUFHeader:
    values = dict(LLAMA_8B)
    for key, value in changes.items():
        name = f"llama.{key.replace('__', '.')}"
        if value is None:
            values.pop(name)
        else:
            values[name] = value
    return GGUFHeader(Path("big.gguf"), 3, values, {}, [], 0)


def test_the_size_of_a_cache() -> None:
    # 2 x 32 layers x 8 heads x 128 numbers x 2 bytes = 128 KiB a token
    assert kv_cache_bytes(header(), 1) == 128 * 1024
    assert kv_cache_bytes(header(), 131072) == 16 * GIB
    assert kv_cache_bytes(header(), 1, Q8_0, Q8_0) == 128 * 1024 * 34 // 64
    assert kv_cache_bytes(header(), 1, Q8_0, F16) == 128 * 1024 * (34 + 64) // 128
    assert head_size(header()) == 128
    assert kv_cache_bytes(header(attention__key_length=64), 1) == 64 * 1024
    per_block: Value = [8] * 31 + [4]
    assert kv_cache_bytes(header(attention__head_count_kv=per_block), 1) == 128 * 1024


def test_a_native_context_that_fits_is_taken_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan = plan_context(header(), LoadOptions(), free_bytes=32 * GIB)
    assert plan.n_ctx == 131072
    assert plan.rope_freq_base == 0, "the file's own"


def test_a_native_context_that_does_not_fit_is_capped_with_one_warning() -> None:
    with pytest.warns(EasyLlamaWarning, match=r"131072 tokens.*16\.0 GiB.*context_length is") as caught:
        plan = plan_context(header(), LoadOptions(), free_bytes=4 * GIB)
    assert len(caught) == 1
    assert plan.n_ctx % 256 == 0
    assert 0.8 * 4 * GIB < kv_cache_bytes(header(), plan.n_ctx) <= 0.9 * 4 * GIB


def test_a_wish_that_does_not_fit_is_an_error_with_the_length_that_does() -> None:
    with pytest.raises(SettingsError, match=r"context_length=\d+") as caught:
        plan_context(header(), LoadOptions(context_length=131072), free_bytes=4 * GIB)
    fitting = int(str(caught.value).split("context_length=")[1].split()[0])
    assert plan_context(header(), LoadOptions(context_length=fitting), free_bytes=4 * GIB).n_ctx == fitting
    with pytest.raises(SettingsError):
        plan_context(header(), LoadOptions(context_length=fitting + 256), free_bytes=4 * GIB)


def test_a_longer_context_raises_the_base() -> None:
    with pytest.warns(EasyLlamaWarning, match="2 times the native 131072") as caught:
        plan = plan_context(header(), LoadOptions(context_length=262144), free_bytes=64 * GIB)
    assert len(caught) == 1
    assert plan.rope_freq_base == scaled_rope_base(500000.0, 2) > 500000.0


def test_a_base_of_ones_own_is_taken_as_it_is() -> None:
    wishes = LoadOptions(context_length=262144, rope_freq_base=1e6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plan_context(header(), wishes, free_bytes=64 * GIB).rope_freq_base == 1e6


def test_a_file_without_a_base_can_be_shortened_and_not_stretched() -> None:
    without = header(rope__freq_base=None)
    assert plan_context(without, LoadOptions(context_length=4096), free_bytes=64 * GIB).rope_freq_base == 0
    with pytest.raises(SettingsError, match=r"big\.gguf names no RoPE.*rope_freq_base=10000"):
        plan_context(without, LoadOptions(context_length=200_000), free_bytes=64 * GIB)


def test_cache_types() -> None:
    for flash_attn, types in ((False, (Q8_0, F16)), (True, (Q8_0, Q8_0))):
        wishes = LoadOptions(quantize_kv_cache=True, flash_attn=flash_attn)
        plan = plan_context(header(), wishes, free_bytes=64 * GIB)
        assert (plan.type_k, plan.type_v) == types
    with pytest.raises(SettingsError, match=r"multiple of 32; big\.gguf has 36"):
        plan_context(
            header(attention__key_length=36), LoadOptions(quantize_kv_cache=True), free_bytes=64 * GIB
        )


def test_the_scaled_base_grows_with_the_ratio_and_only_above_1() -> None:
    bases = [scaled_rope_base(10000.0, ratio) for ratio in (0.5, 1, 1.5, 2, 4, 8)]
    assert bases[0] == bases[1] == 10000
    assert bases == sorted(bases)
    assert bases[3] > 20000
