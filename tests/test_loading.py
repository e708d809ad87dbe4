"""Loading and unloading: options, memory, silence, files that are broken in part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import easy_llama as ez
from easy_llama.errors import EasyLlamaWarning, SettingsError
from easy_llama.samplers import DefaultSampling, GreedyDecoding
from tests.conftest import chatml

SEEDED = replace(DefaultSampling, seed=1, max_len_tokens=40)


def test_unload_load_reload_and_with() -> None:
    with ez.Model(n_threads=1) as model:
        text = model.generate("The sky is blue, and", sampler=GreedyDecoding)
        model.unload()
        model.unload()
        assert "unloaded" in repr(model)
        uses: list[Callable[[], object]] = [
            lambda: model.generate("x"), lambda: model.stream("x"), lambda: model.tokenize("x"),
            lambda: model.detokenize([1]), lambda: model.get_length("x"), lambda: model.ingest("x"),
            lambda: model.candidates("x", 1), lambda: model.vocab, lambda: model.llama,
            lambda: model.stream_print("x"), lambda: model.print_candidates("x", 1),
        ]  # fmt: skip
        for use in uses:
            with pytest.raises(ez.model.ModelUnloadedException):
                use()
        assert model.context_length == 512
        model.load()
        model.load()
        assert model.generate("The sky is blue, and", sampler=GreedyDecoding) == text
        model.reload()
        assert model.engine.tokens == []
    with pytest.raises(ez.model.ModelUnloadedException):
        model.generate("x")


@pytest.mark.parametrize(
    "name",
    [
        "model_path", "context_length", "n_gpu_layers", "offload_kqv", "flash_attn", "verbose",
        "quantize_kv_cache", "n_threads", "rope_freq_base",
    ],
)  # fmt: skip
def test_a_wrong_value_is_blamed_on_its_argument(name: str) -> None:
    may_be_none = {"model_path", "context_length", "n_threads", "rope_freq_base"}
    wrong: list[Any] = [[], {}, object(), float("nan"), 1.5j, 10**400, -(10**400)]
    wrong += [] if name == "model_path" else ["yes", "1", "", b"x"]
    wrong += [] if name in may_be_none else [None]
    wrong += [0, 1, 0.0] if name in ("offload_kqv", "flash_attn", "verbose", "quantize_kv_cache") else [True]
    wrong += [512.0] if name in ("context_length", "n_gpu_layers", "n_threads") else []
    for value in wrong:
        with pytest.raises(SettingsError) as caught:
            ez.Model(**{name: value})
        text = str(caught.value)
        assert text.startswith(f"{name} must be"), text
        assert f"got {value!r:.60}" in text
        assert len(text) < 250


def test_unloading_in_the_middle_of_a_stream_ends_it_with_an_error() -> None:
    model = ez.Model(n_threads=1)
    stream = model.stream("Once upon a time")
    next(stream)
    model.unload()
    with pytest.raises(ez.model.ModelUnloadedException):
        list(stream)
    model.load()
    assert model.generate("The sky is", sampler=SEEDED)
    model.unload()


def test_closing_the_llama_by_hand_is_an_error_and_not_a_crash() -> None:
    model = ez.Model(n_threads=1)
    model.generate("x", sampler=SEEDED)
    model.llama.close()
    with pytest.raises(ez.model.ModelUnloadedException):
        model.generate("y", sampler=SEEDED)
    model.unload()


def test_unload_frees_the_memory() -> None:
    process = psutil.Process()

    def round_trip() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ez.Model(context_length=65536, n_threads=1)  # a cache of 33 MB
        model.generate("Once upon a time", sampler=SEEDED)
        model.unload()
        size: int = process.memory_info().rss
        return size

    settled = [round_trip() for _ in range(4)][-1]
    last = [round_trip() for _ in range(20)][-1]
    assert last - settled < 33_000_000, "20 rounds kept less than one cache"


def test_a_model_that_is_dropped_frees_its_memory_without_the_garbage_collector() -> None:
    import gc

    gc.collect()
    gc.disable()
    try:
        model = ez.Model(n_threads=1)
        model.generate("x", sampler=SEEDED)
        llama_model = model.llama._model
        del model
        assert llama_model.model is None
    finally:
        gc.enable()


def test_a_longer_context_raises_the_base_and_says_so() -> None:
    with pytest.warns(EasyLlamaWarning, match=r"2 times the native 512.*perplexity") as caught:
        model = ez.Model(context_length=1024, n_threads=1)
    assert len(caught) == 1
    assert model.ctx_scale == 2
    assert model.rope_freq_base_train == 10000
    assert model.rope_freq_base is not None
    assert model.rope_freq_base > 10000
    model.generate([5] * 900, sampler=SEEDED)
    model.unload()


def test_the_warning_points_at_who_loads() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = ez.Model(context_length=1024, n_threads=1)
        model.unload()
        model.load()
        model.reload()
    model.unload()
    assert [warning.filename for warning in caught] == [__file__] * 3


def test_a_shorter_context_changes_nothing_else() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ez.Model(context_length=100, n_threads=1)
    assert (model.context_length, model.rope_freq_base) == (100, 10000.0)
    with pytest.raises(ez.model.ExceededContextLengthException):
        model.generate([5] * 100)
    model.unload()


def test_a_quantised_cache() -> None:
    for flash_attn, type_v in ((False, 1), (True, 8)):
        with ez.Model(quantize_kv_cache=True, flash_attn=flash_attn, n_threads=1) as model:
            assert (model.type_k, model.type_v, model.flash_attn) == (8, type_v, flash_attn)
            assert "Paris" in model.generate(chatml("What is the capital of France?"), sampler=GreedyDecoding)


def test_gpu_layers_without_a_gpu_build_warn_once() -> None:
    import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this build has GPU support")
    with pytest.warns(EasyLlamaWarning, match="no GPU support") as caught:
        ez.Model(n_gpu_layers=-1, n_threads=1).unload()
    assert len(caught) == 1


# --- the process around it -----------------------------------------------------------------------------


def run_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **env}
    )


def test_it_is_silent_on_both_streams_and_at_exit() -> None:
    done = run_python(
        "import easy_llama as ez; m = ez.Model(n_threads=1); m.generate('Once upon', "
        "sampler=ez.SamplerSettings(max_len_tokens=5)); m.candidates('x', 3)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verbose_shows_the_log_through_logging() -> None:
    done = run_python("import easy_llama as ez; ez.Model(n_threads=1, verbose=True)")
    assert done.stdout == ""
    assert "llama_context" in done.stderr
    done = run_python(
        "import logging;"
        "logging.basicConfig(level=logging.DEBUG, format='%(name)s|%(levelname)s|%(message)s');"
        "import easy_llama as ez; ez.Model(n_threads=1, verbose=True)"
    )
    assert "easy_llama.llama_cpp|INFO|llama" in done.stderr


def test_loading_random_headers_never_ends_the_process(tmp_path: Path) -> None:
    code = """
import random, sys, warnings, json
import easy_llama as ez
from easy_llama.model import BUNDLED_MODEL
warnings.simplefilter("ignore")
data, rng = BUNDLED_MODEL.read_bytes(), random.Random(4)
loaded = refused = 0
for i in range(120):
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(4, 3000 if rng.random() < 0.7 else 60000)
        changed[at] = rng.randrange(256)
    path = sys.argv[1]
    open(path, "wb").write(changed)
    try:
        model = ez.Model(path, n_threads=1, context_length=64)
        model.generate([5, 6, 7], sampler=ez.SamplerSettings(max_len_tokens=3))
        model.unload()
        loaded += 1
    except ez.EasyLlamaError:
        refused += 1
print(json.dumps([loaded, refused]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "fuzz.gguf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    loaded, refused = json.loads(done.stdout)
    assert loaded > 0
    assert refused > 0


def test_a_broken_chat_template_does_not_keep_the_model_from_loading(tmp_path: Path) -> None:
    data = ez.model.BUNDLED_MODEL.read_bytes()
    broken = data.replace(b"{% for message in messages %}", b"{% fir message in messages %}")
    (tmp_path / "template.gguf").write_bytes(broken)
    with pytest.warns(EasyLlamaWarning, match=r"chat template in template\.gguf is broken.*fir"):
        model = ez.Model(tmp_path / "template.gguf", n_threads=1)
    assert "Paris" in model.generate(chatml("What is the capital of France?"), sampler=GreedyDecoding)
    model.unload()
