"""What the tests share: the bundled model on one thread, and the real vocabularies where they are."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import easy_llama as ez

os.environ.setdefault("GGML_NO_BACKTRACE", "1")
# what the person who runs the tests keeps for himself is nothing to them: an empty config, no models
os.environ["EASY_LLAMA_CONFIG"] = os.devnull
os.environ["EASY_LLAMA_MODELS"] = os.devnull
# a shell starts what runs in the background with Ctrl-C ignored, and so would be all that the tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"

# no test depends on a time: the machine may be busy
settings.register_profile("easy_llama", deadline=None, max_examples=100)
settings.load_profile("easy_llama")


@pytest.fixture(scope="session")
def loaded() -> Iterator[ez.Model]:
    """The bundled model, loaded once; tests must not unload it."""
    with ez.Model(n_threads=1) as model:
        yield model


@pytest.fixture
def model(loaded: ez.Model) -> ez.Model:
    """The bundled model with an empty cache, so that counts and last bits do not depend on the order."""
    loaded.engine.rollback(0)
    return loaded


def chatml(*messages: str, system: str | None = None) -> str:
    """A ChatML prompt of user, assistant, user, ... messages that asks for the next answer."""
    text = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    for i, message in enumerate(messages):
        role = "assistant" if i % 2 else "user"
        text += f"<|im_start|>{role}\n{message}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"
