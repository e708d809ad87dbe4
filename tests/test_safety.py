"""No input ends the process, and no interruption leaves a wrong state: what a hard review found once.

What could end the process runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest

import easy_llama as ez
from easy_llama.decoding import Sampling
from easy_llama.errors import EngineError, ModelFileError
from easy_llama.samplers import GreedyDecoding, SamplerSettings
from tests.test_gguf import write_gguf

SHORT = SamplerSettings(temp=0.0, max_len_tokens=8)


def survives(code: str, *args: str) -> str:
    """Run ``code`` in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", "import easy_llama as ez, threading, time, sys\n" + code, *args],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


def test_every_small_context_length_loads() -> None:
    survives("""
for n in [*range(1, 18), 255, 257]:
    model = ez.Model(context_length=n, n_threads=1)
    assert model.context_length == n
    if n > 1:
        model.generate([5], sampler=ez.SamplerSettings(max_len_tokens=2))
    model.unload()
""")


def test_unloading_under_a_generation_of_another_thread_is_an_error_there() -> None:
    out = survives("""
errors = set()
def work(model, call):
    try:
        while True:
            call(model)
    except ez.EasyLlamaError as error:
        errors.add(type(error).__name__)
settings = ez.SamplerSettings(temp=1.0, max_len_tokens=300)
for i in range(30):
    model = ez.Model(n_threads=1)
    call = (lambda m: m.generate([5, 6], sampler=settings)) if i % 2 else (lambda m: m.tokenize("Once " * 50))
    thread = threading.Thread(target=work, args=(model, call))
    thread.start()
    time.sleep(0.01 + i % 5 * 0.005)
    model.unload()
    thread.join()
print(errors)
""")
    assert out.strip() == "{'ModelUnloadedException'}"


def test_loading_in_several_threads_leaves_the_streams_alone() -> None:
    out = survives("""
def work():
    for _ in range(5):
        ez.Model(n_threads=1).unload()
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
lines = 0
while any(t.is_alive() for t in threads):
    print("line", flush=True)
    lines += 1
    time.sleep(0.002)
for t in threads: t.join()
print("end", lines)
""")
    *lines, end = out.splitlines()
    assert end == f"end {len(lines)}", "every line printed while models were loading has arrived"


def test_a_stream_that_moves_to_another_thread_is_no_deadlock() -> None:
    survives("""
model = ez.Model(n_threads=1)
caught = []
def generate():
    try:
        model.generate("Hi")
    except ez.errors.EngineBusyError as error:
        caught.append(error)
stream = model.stream("The sky")
next(stream)                                    # this thread begins it,
def take_over():
    next(stream)                                # another one goes on with it,
    generate()                                  # and would wait for itself
thread = threading.Thread(target=take_over)
thread.start()
thread.join()
stream.close()
holder = []
def begin():
    holder.append(model.stream("The sky"))
    next(holder[0])
thread = threading.Thread(target=begin)         # a thread that ends with its stream unfinished
thread.start()
thread.join()
generate()
assert len(caught) == 2, caught
holder[0].close()
model.generate("Hi", sampler=ez.SamplerSettings(max_len_tokens=2))
""")


def test_a_picker_without_logits_or_closed_is_an_error() -> None:
    with ez.Model(n_threads=1) as model:
        picker = model.engine.picker(GreedyDecoding, 1)
        with pytest.raises(EngineError, match="extend the engine first"):
            picker([], None)  # type: ignore[arg-type]
        logits = model.engine.extend([5, 6])
        assert picker([5, 6], logits) == int(logits.argmax())
        picker.close()
        picker.close()
        with pytest.raises(EngineError, match="closed"):
            picker([5, 6], logits)


# --- files that libllama aborts on ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"attention.head_count": 4, "attention.head_count_kv": 3}, "can't share"),
        ({"attention.head_count": 2, "embedding_length": 66}, "even count"),
        ({"expert_count": 4, "expert_used_count": 8}, "8 of 4 experts"),
        ({"expert_count": 4}, "0 of 4 experts"),
    ],
)
def test_counts_that_do_not_fit_each_other(tmp_path: Path, values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ModelFileError, match=fault):
        ez.Model(write_gguf(tmp_path / "m.gguf", **values))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda w: w.add_layer_norm_rms_eps(-1.0), "epsilon is -1"),
        (lambda w: w.add_layer_norm_rms_eps(float("nan")), "epsilon is nan"),
        (lambda w: w.add_tokenizer_model("no_vocab"), "no vocabulary"),
        (lambda w: w.add_tensor("output_norm.weight", np.ones(32, dtype=np.float16)), "norm"),
        (lambda w: w.add_tensor("output.weight", np.ones((4, 32), dtype=np.int32)), "integer type"),
        (lambda w: w.add_uint16("split.no", 1), "later part"),
    ],
)
def test_values_and_tensors_that_llama_cpp_cannot_use(tmp_path: Path, change: Any, fault: str) -> None:
    with pytest.raises(ModelFileError, match=fault):
        ez.Model(write_gguf(tmp_path / "m.gguf", change))


@pytest.mark.parametrize("path", ["a" * 5000, "~nobody_of_this_name/x.gguf", "\0"])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(ModelFileError):
        ez.Model(path)


# --- state after interruptions and by hand -------------------------------------------------------------


def test_statistics_of_an_interrupted_prompt_are_true() -> None:
    if os.name != "posix":
        pytest.skip("sends POSIX signals")
    survives("""
import os, signal, warnings
warnings.simplefilter("ignore")
model = ez.Model(context_length=16384, n_threads=1)
threading.Thread(target=lambda: (time.sleep(0.4), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
try:
    model.generate([5 + i % 500 for i in range(16000)])
except KeyboardInterrupt:
    pass
stats = model.stats
assert stats.evaluated == len(model.engine.tokens) > 0, stats
assert stats.reused == 0 and stats.generated == 0 and stats.prompt_seconds > 0.1, stats
""")


def test_an_exception_thrown_into_a_stream_frees_the_context(model: ez.Model) -> None:
    stream = model.stream("The sky is")
    next(stream)
    with pytest.raises(ValueError, match="stop it") as caught:
        stream.throw(ValueError("stop it"))
    assert model.generate("Hi", sampler=SHORT), f"although {caught} is alive"


def test_the_last_chunk_has_its_own_finish_reason_whatever_other_threads_do(model: ez.Model) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            model.ingest([5])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            last = list(model.stream("The sky", sampler=SamplerSettings(max_len_tokens=2)))[-1]
            assert last["choices"][0]["finish_reason"] in ("stop", "length")
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_interrupt_while_sequences_are_emptied_costs_none(
    model: ez.Model, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    engine, remove, calls = model.engine, llama_cpp.llama_memory_seq_rm, iter(range(1, 100))

    def interrupted(*args: Any) -> Any:
        if next(calls) == nth:
            raise KeyboardInterrupt
        return remove(*args)

    engine.extend_hidden([5, 6])
    engine.look_ahead([1, 2, 3])
    with monkeypatch.context() as patch:
        patch.setattr(llama_cpp, "llama_memory_seq_rm", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.rollback(2)
    engine.rollback(2)
    engine.rollback(0)
    assert engine.n_forks_free == 15
    forks = [engine.fork() for _ in range(15)]
    for fork in forks:
        fork.close()


def test_a_late_close_does_not_empty_the_sequence_of_another(model: ez.Model) -> None:
    model.engine.extend([5, 6])
    first = model.engine.fork()
    first.close()
    second = model.engine.fork()
    expected = second.extend([7, 8]).copy()
    first.close()
    del first
    second.rollback(2)
    assert np.array_equal(second.extend([7, 8]), expected)
    second.close()


# --- forks ---------------------------------------------------------------------------------------------


def test_forks_in_threads_of_their_own_draw_their_own_text(model: ez.Model) -> None:
    prompts = [model.tokenize(f"Once upon a time there were {n} animals") for n in range(4)]
    expected = [list(Sampling(GreedyDecoding, 1)(model.engine, p, frozenset(), 25)) for p in prompts]
    forks = [model.engine.fork() for _ in prompts]
    found: dict[int, list[int]] = {}

    def work(i: int) -> None:
        found[i] = list(Sampling(GreedyDecoding, 1)(forks[i], prompts[i], frozenset(), 25))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for fork in forks:
        fork.close()
    assert [found[i] for i in range(4)] == expected


def test_a_picker_chooses_from_the_logits_of_its_engine(model: ez.Model) -> None:
    engine = model.engine
    fork = engine.fork()
    logits = engine.extend(model.tokenize("The dog says woof, but the cat says"))
    best = int(logits.argmax())
    fork.extend(model.tokenize("What is the capital of"))
    assert int(logits.argmax()) == best, "while there are forks a row is a copy"
    assert engine.picker(GreedyDecoding, 1)(engine.tokens, logits) == best
    fork.close()
    with pytest.raises(EngineError, match="fork is closed"):
        fork.extend([1])


def test_forks_that_are_dropped_are_free_again(model: ez.Model) -> None:
    for _ in range(40):
        model.engine.fork().extend([5])
    forks = [model.engine.fork() for _ in range(15)]
    with pytest.raises(EngineError, match="all 16 sequences"):
        model.engine.fork()
    for fork in forks:
        fork.close()


# --- values at the edges -------------------------------------------------------------------------------


def test_a_top_k_above_the_vocabulary_is_off(model: ez.Model) -> None:
    huge = SamplerSettings(top_k=10**9, top_p=None, temp=2.5, max_len_tokens=9)
    texts = {model.generate("Once", sampler=replace(huge, seed=seed)) for seed in range(4)}
    assert len(texts) > 1


@pytest.mark.parametrize("value", [10**400, 2**32 + 1, -(10**30)])
def test_numbers_beyond_all_bounds_are_refused(value: int) -> None:
    for field in ("top_k", "seed", "max_len_tokens", "penalty_last_n"):
        with pytest.raises(ez.errors.SettingsError, match=field):
            SamplerSettings(**{field: value})  # type: ignore[arg-type]  # the names are not known to mypy


@pytest.mark.parametrize("prompt", [bytearray(b"ab"), memoryview(b"ab"), np.ones((2, 2), dtype=int), [[1]]])
def test_prompts_that_are_neither_text_nor_ids(model: ez.Model, prompt: Any) -> None:
    with pytest.raises(ez.errors.PromptError):
        model.generate(prompt)


@pytest.mark.parametrize("tokens", [["a"], [None], [1.5], [True]])
def test_tokens_that_are_none(model: ez.Model, tokens: Any) -> None:
    with pytest.raises(ez.errors.PromptError):
        model.detokenize(tokens)


def test_load_brings_back_a_model_whose_engine_was_closed_by_hand() -> None:
    model = ez.Model(n_threads=1)
    model.engine.close()
    with pytest.raises(ez.model.ModelUnloadedException):
        model.generate("x")
    model.load()
    assert model.generate("The sky is", sampler=SHORT)
    model.unload()
