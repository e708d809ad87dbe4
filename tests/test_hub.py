"""Names on the hub: told from paths, found in the cache without a network, refused clearly."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import easy_llama as ez
from easy_llama.errors import ModelFileError
from easy_llama.hub import fetch, is_hub_name
from tests.command import COMMAND

NAME = "owner/some-repo:tiny.gguf"
REVISION = "0123456789012345678901234567890123456789"


def test_names_and_paths() -> None:
    assert is_hub_name(NAME)
    for path in (
        "tiny.gguf",
        "models/tiny.gguf",
        "C:/models/tiny.gguf",
        "/a/b:c.gguf",
        "owner/repo",
        "a/b:c.txt",
    ):
        assert not is_hub_name(path), path
    with pytest.raises(ModelFileError, match=r"owner/repo:file\.gguf"):
        fetch("owner/repo")


def in_process(code: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python where the hub's cache is ``home`` and there is no network."""
    import os

    offline = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, **offline, **env},
    )  # fmt: skip


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    done = in_process(
        "import sys; sys.modules['huggingface_hub'] = None\n"
        f"import easy_llama as ez\nfrom easy_llama.hub import fetch\n"
        f"try: fetch({NAME!r})\nexcept ez.errors.MissingExtraError as error: print(error)",
        tmp_path,
    )
    assert "pip install huggingface-hub" in done.stdout


def test_without_a_network_the_error_says_so(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    done = in_process(
        f"import easy_llama as ez\nfrom easy_llama.hub import fetch\n"
        f"try: fetch({NAME!r})\nexcept ez.errors.ModelFileError as error: print(error)",
        tmp_path,
    )
    assert NAME in done.stdout
    assert "network" in done.stdout


def test_a_file_in_the_cache_is_loaded_by_its_hub_name(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    folder = tmp_path / "hub" / "models--owner--some-repo"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION)
    (folder / "snapshots" / REVISION).mkdir(parents=True)
    shutil.copy(ez.model.BUNDLED_MODEL, folder / "snapshots" / REVISION / "tiny.gguf")
    command = [*COMMAND, "generate", "The sky is blue, and", "--temp", "0", "-m", NAME]
    done = in_process(f"import subprocess; subprocess.run({command!r}, check=True)", tmp_path)
    assert done.stdout.startswith(" the birds"), done.stderr
