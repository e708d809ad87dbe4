"""The PyTorch examples of DOCS.md run as they stand, with tiny models in place of downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

import easy_llama as ez
from tests.test_docs import needs_torch, scripts

SCRIPTS = [script for script in scripts("DOCS.md") if needs_torch(script)]


@pytest.fixture
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """``from_pretrained`` of the names in the examples gives the bundled model."""
    path = ez.model.BUNDLED_MODEL

    def from_pretrained(kind: Any) -> Any:
        real = kind.from_pretrained
        loaded = real(str(path.parent), gguf_file=path.name)
        return lambda name, **options: loaded

    for kind in (transformers.AutoModelForCausalLM, transformers.AutoTokenizer):
        monkeypatch.setattr(kind, "from_pretrained", from_pretrained(kind))


def test_there_are_five() -> None:
    assert len(SCRIPTS) == 5


@pytest.mark.parametrize(
    "script", SCRIPTS, ids=lambda script: script.split("easy_llama import ")[1].split("\n")[0]
)
def test_an_example(
    script: str,
    no_downloads: None,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    script = script.replace("'cuda'", "'cpu'")  # there may be no GPU
    exec(compile(script, "DOCS.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()
