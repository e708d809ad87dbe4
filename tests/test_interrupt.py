"""Ctrl-C: a real signal to a real process, during a prompt and during a generation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

PRELUDE = """
import json, os, signal, sys, threading, time, warnings
import easy_llama as ez
warnings.simplefilter("ignore")

def interrupt_after(seconds):
    def send():
        time.sleep(seconds)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    sent = []
    threading.Thread(target=send, daemon=True).start()
    return sent

def position(model):
    from llama_cpp import llama_get_memory, llama_memory_seq_pos_max
    return llama_memory_seq_pos_max(llama_get_memory(model.engine.context()), 0)
"""


def run(code: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result: dict[str, float] = json.loads(done.stdout)
    return result


def test_a_long_prompt_stops_keeps_what_it_has_and_the_model_goes_on() -> None:
    result = run("""
model = ez.Model(context_length=32768, n_threads=1)
prompt = [5 + i % 500 for i in range(32000)]
sent = interrupt_after(1.0)
try:
    model.ingest(prompt)
    print("finished")
except KeyboardInterrupt:
    waited = time.perf_counter() - sent[0]
held = len(model.engine.tokens)
is_prefix = model.engine.tokens == prompt[:held]
cells = ez.model.Model.__name__ and position(model) + 1
after = signal.getsignal(signal.SIGINT) is signal.default_int_handler
short = prompt[:held + 300]
before = model.engine.n_evaluated
resumed = model.engine.extend(short[held:]).copy()
evaluated = model.engine.n_evaluated - before
text = model.generate("The sky is blue, and", sampler=ez.samplers.GreedyDecoding)
print(json.dumps(dict(waited=waited, held=held, is_prefix=is_prefix, cells=cells, handler=after,
                      evaluated=evaluated, text=len(text))))
""")
    assert 0 < result["held"] < 32000
    assert result["held"] == result["cells"]
    assert result["is_prefix"]
    assert result["handler"]
    assert result["evaluated"] == 300
    assert result["text"]
    # the promise is 0.2 s; the margin is for a busy machine, where uninterrupted it takes much longer
    assert result["waited"] < 2


def test_a_generation_stops_and_the_model_goes_on() -> None:
    result = run("""
model = ez.Model(context_length=16384, n_threads=1)
model.tokenizer.__dict__["end_tokens"] = frozenset()
sent = interrupt_after(0.5)
pieces = []
try:
    for chunk in model.stream("Once", sampler=ez.samplers.SimpleSampling):
        pieces.append(chunk["choices"][0]["text"])
except KeyboardInterrupt:
    waited = time.perf_counter() - sent[0]
consistent = len(model.engine.tokens) == position(model) + 1
text = model.generate("The sky is blue, and", sampler=ez.SamplerSettings(temp=0.0, max_len_tokens=9))
print(json.dumps(dict(waited=waited, pieces=len(pieces), consistent=consistent, text=len(text))))
""")
    assert result["pieces"] > 0
    assert result["consistent"]
    assert result["text"]
    assert result["waited"] < 2


def test_a_handler_of_the_caller_is_called_and_the_evaluation_goes_on() -> None:
    result = run("""
model = ez.Model(context_length=8192, n_threads=1)
calls = []
signal.signal(signal.SIGINT, lambda *args: calls.append(args))
interrupt_after(0.3)
prompt = [5 + i % 500 for i in range(8000)]
model.ingest(prompt)
while not calls:
    time.sleep(0.01)
whole = model.engine.tokens == prompt
print(json.dumps(dict(calls=len(calls), whole=whole)))
""")
    assert result == {"calls": 1, "whole": True}


def test_other_threads_are_left_alone() -> None:
    result = run("""
model = ez.Model(n_threads=1)
out = []
def work():
    out.append(model.generate([5] * 300, sampler=ez.SamplerSettings(max_len_tokens=3)))
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(json.dumps(dict(out=len(out))))
""")
    assert result == {"out": 1}
    assert signal.SIGINT
