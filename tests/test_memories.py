"""Memories that can't simply be cut, and records that must stay true after an interrupt.

Small random models: gemma2 has a sliding window of 16 tokens, mamba a state instead of a cache.
"""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest

import easy_llama as ez
from easy_llama.engine import extend_all, prefill
from easy_llama.samplers import GreedyDecoding, SamplerSettings
from tests.test_safety import survives

SHORT = SamplerSettings(temp=0.0, max_len_tokens=8)

# --- memories that can't be cut ------------------------------------------------------------------------


def random_model(path: Path, kind: str) -> Path:
    """Write a small random model: ``gemma2`` has a sliding window of 16 tokens, ``mamba`` a state."""
    rng = np.random.default_rng(5)
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(2)
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_vocab_size(300)

    def add(name: str, *shape: int, scale: float = 0.2, norm: bool = False) -> None:
        values = np.ones(shape) if norm else rng.normal(0, scale, shape)
        writer.add_tensor(name, values.astype(np.float32))

    if kind == "gemma2":
        writer.add_feed_forward_length(96)
        writer.add_head_count(2)
        writer.add_head_count_kv(2)
        writer.add_key_length(32)
        writer.add_value_length(32)
        writer.add_sliding_window(16)
        writer.add_rope_freq_base(10000.0)
    else:
        writer.add_feed_forward_length(0)
        writer.add_head_count(0)
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(128)
        writer.add_ssm_state_size(16)
        writer.add_ssm_time_step_rank(4)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    tokens = [f"t{i}" for i in range(300)]
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * 300)
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(299)
    add("token_embd.weight", 300, 64, scale=1.0)
    add("output_norm.weight", 64, norm=True)
    for i in range(2):
        block = f"blk.{i}."
        if kind == "gemma2":
            for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
                add(f"{block}{name}.weight", 64, norm=True)
            for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
                add(f"{block}{name}.weight", 64, 64)
            add(f"{block}ffn_gate.weight", 96, 64)
            add(f"{block}ffn_up.weight", 96, 64)
            add(f"{block}ffn_down.weight", 64, 96)
        else:
            add(f"{block}attn_norm.weight", 64, norm=True)
            add(f"{block}ssm_in.weight", 256, 64)
            add(f"{block}ssm_conv1d.weight", 128, 4)
            add(f"{block}ssm_conv1d.bias", 128)
            add(f"{block}ssm_x.weight", 36, 128)
            add(f"{block}ssm_dt.weight", 128, 4)
            add(f"{block}ssm_dt.bias", 128)
            writer.add_tensor(f"{block}ssm_a", -np.ones((128, 16), dtype=np.float32))
            add(f"{block}ssm_d", 128, norm=True)
            add(f"{block}ssm_out.weight", 64, 128)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", ["gemma2", "mamba"])
def test_rollback_and_forks_where_the_memory_cannot_simply_be_cut(tmp_path: Path, kind: str) -> None:
    tokens = [(7 * i) % 290 for i in range(700)]
    with ez.Model(random_model(tmp_path / "m.gguf", kind), n_threads=1) as model:
        engine = model.engine
        expected = prefill(engine, [*tokens[:100], 1, 2]).copy()
        for held in (tokens, tokens[:130], [*tokens[:100], 5]):
            prefill(engine, held)
            logits = prefill(engine, [*tokens[:100], 1, 2])
            assert np.allclose(logits, expected, atol=2e-2), f"after {len(held)} tokens"
            assert engine.tokens == [*tokens[:100], 1, 2]
        engine.rollback(100)
        fork = engine.fork()
        fork.extend([9, 9])
        assert np.allclose(engine.extend([1, 2]), expected, atol=2e-2)
        fork.rollback(100)
        assert np.allclose(fork.extend([1, 2]), expected, atol=2e-2)
        fork.close()
        assert engine.discard(10, 20) == (kind == "gemma2")


@pytest.mark.parametrize("kind", ["gemma2", "mamba"])
def test_searches_and_strategies_where_the_memory_cannot_simply_be_cut(tmp_path: Path, kind: str) -> None:
    prompt = [(7 * i) % 290 for i in range(60)]
    with ez.Model(random_model(tmp_path / "m.gguf", kind), n_threads=1) as model:
        engine = model.engine
        prefill(engine, prompt)
        forks = [engine.fork() for _ in range(3)]
        alone = extend_all(forks, [1, 2, 3], batch=False).copy()
        again = [engine.fork() for _ in range(3)]
        assert np.allclose(extend_all(again, [1, 2, 3]), alone, atol=2e-2)
        for fork in (*forks, *again):
            fork.close()
        engine.rollback(0)
        engine.extend_hidden(prompt)
        logits, hidden = engine.look_ahead([1, 2, 3])
        engine.take(2)
        assert engine.tokens == [*prompt, 3]
        after = engine.extend([4]).copy()
        engine.rollback(0)
        assert np.allclose(engine.extend_hidden([*prompt, 3]), logits[2], atol=2e-2)
        assert np.allclose(engine.hidden[-1], hidden[2], atol=2e-2)
        assert np.allclose(engine.extend([4]), after, atol=2e-2)
        for settings in (SamplerSettings(num_beams=3, max_len_tokens=6), CONTRASTIVE):
            assert model.generate(prompt, sampler=settings)
            assert engine.n_forks_free == 15
        plain = model.generate(prompt, sampler=SamplerSettings(temp=0.0, max_len_tokens=20))
        slop = ez.AntiSlopStrategy(model, [plain[8:14]])
        text = model.generate(prompt, sampler=SamplerSettings(temp=0.0, max_len_tokens=20), strategy=slop)
        assert slop.report
        assert plain[8:14] not in text


CONTRASTIVE = SamplerSettings(penalty_alpha=0.6, top_k=4, max_len_tokens=6)


@pytest.mark.parametrize("kind", ["gemma2", "mamba"])
@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_an_aborted_evaluation_never_counts_as_done(tmp_path: Path, kind: str) -> None:
    """The abort callback says yes at its n-th call, for many n: as a signal at any moment would."""
    path = random_model(tmp_path / "m.gguf", kind)
    out = survives(
        """
import numpy as np, signal
import easy_llama.engines.llama.context as llama
from easy_llama.engine import extend_all, prefill
from contextlib import contextmanager
import llama_cpp
tokens = [(7 * i) % 290 for i in range(90)]
state = {"left": 0, "hit": False}
def abort(_):
    state["left"] -= 1
    if state["left"] == 0:
        state["hit"] = True
    return state["left"] == 0
callback = llama_cpp.ggml_abort_callback(abort)
@contextmanager
def interruptible(context):
    llama_cpp.llama_set_abort_callback(context, callback, None)
    yield
    llama_cpp.llama_set_abort_callback(context, llama_cpp.ggml_abort_callback(0), None)
    if state["hit"]:
        state["hit"] = False
        raise KeyboardInterrupt
model = ez.Model(sys.argv[1], n_threads=1)
engine = model.engine
expected = prefill(engine, tokens).copy()
llama.interruptible = interruptible
interrupted = 0
for n in [*range(1, 60), *range(60, 400, 17)]:
    engine.rollback(0)
    state["left"] = 10**9
    prefill(engine, tokens[:51])
    state["left"] = n
    try:
        engine.extend(tokens[51:])
    except KeyboardInterrupt:
        interrupted += 1
    state["left"] = 10**9
    assert engine.tokens == tokens[: len(engine.tokens)]
    logits = prefill(engine, tokens)
    assert np.allclose(logits, expected, atol=2e-2), (n, float(abs(logits - expected).max()))
print(interrupted)
""",
        str(path),
    )
    assert int(out) > 20


def test_a_memory_that_was_emptied_by_hand_is_filled_again(model: ez.Model) -> None:
    prompt = "The sky is blue, and"
    expected = model.generate(prompt, sampler=GreedyDecoding)
    model.llama._ctx.kv_cache_clear()
    assert model.generate(prompt + expected[:10], sampler=SHORT)
    model.llama._ctx.kv_cache_clear()
    assert model.generate(prompt, sampler=GreedyDecoding) == expected


def test_an_interrupt_in_a_rollback_leaves_a_record_that_is_not_too_long(
    model: ez.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record longer than the memory would be trusted; one that is shorter is mended."""
    engine = model.engine
    engine.extend(list(range(5, 25)))
    seen: list[int] = []

    def interrupted(*_: object) -> None:
        seen.append(len(engine.tokens))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(llama_cpp, "llama_memory_seq_rm", interrupted)  # as if Ctrl-C came before the cut
        with pytest.raises(KeyboardInterrupt):
            engine.rollback(6)
    assert seen == [6]
    assert engine.tokens == list(range(5, 11))
    logits = prefill(engine, [*range(5, 11), 40]).copy()
    engine.rollback(0)
    assert np.allclose(prefill(engine, [*range(5, 11), 40]), logits, atol=2e-2)


# --- moving the cache ----------------------------------------------------------------------------------


def test_discarding_tokens_evaluates_nothing_and_goes_on(model: ez.Model) -> None:
    engine, tokens = model.engine, model.tokenize("Once upon a time, there was a tiny hedgehog named Sonic.")
    engine.extend(tokens)
    before = engine.n_evaluated
    assert engine.discard(3, 7)
    assert engine.tokens == [*tokens[:3], *tokens[7:]]
    assert engine.n_evaluated == before
    logits = prefill(engine, [*engine.tokens, 5])
    assert engine.n_evaluated == before + 1
    assert np.isfinite(logits).all()
    assert engine.discard(0, len(engine.tokens))
    assert engine.tokens == []


def test_where_discarding_would_crash_or_hurt_it_is_refused(model: ez.Model) -> None:
    model.engine.extend([5, 6, 7, 8])
    fork = model.engine.fork()
    assert not model.engine.discard(1, 2), "a fork shares the cells"
    assert not fork.discard(1, 2)
    fork.close()
    assert model.engine.discard(1, 2)
    with pytest.raises(ez.errors.PromptError):
        model.engine.discard(2, 9)
    with ez.Model(quantize_kv_cache=True, n_threads=1) as quantised:
        quantised.engine.extend([5, 6, 7, 8])
        assert not quantised.engine.discard(1, 2), "heads of 32 and a q8_0 cache end the process"
        assert quantised.engine.tokens == [5, 6, 7, 8]
