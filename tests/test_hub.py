"""Names on the hub: told from paths, found in the cache without a network, refused clearly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import easy_llama as ez
from easy_llama.errors import ModelFileError
from easy_llama.hub import fetch, is_hub_name
from tests.command import COMMAND
from tests.fake_hub import COMMIT, GATED, fake_hub

NAME = "owner/some-repo:tiny.gguf"


def test_names_and_paths() -> None:
    assert is_hub_name(NAME)
    for path in (
        "tiny.gguf",
        "models/tiny.gguf",
        "C:/models/tiny.gguf",
        "/a/b:c.gguf",
        "owner/repo",
    ):
        assert not is_hub_name(path), path
    with pytest.raises(ModelFileError, match=r"owner/repo:file\.gguf"):
        fetch("models/deep/tiny.gguf")


def in_process(code: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python where the hub's cache is ``home`` and there is no network."""
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


@pytest.mark.parametrize("name", [NAME, "owner/some-repo"])
def test_a_hub_whose_host_is_unknown_is_asked_once(tmp_path: Path, name: str) -> None:
    pytest.importorskip("huggingface_hub")
    proxies = {f"{kind}_proxy": "" for kind in ("http", "https", "all")}
    proxies |= {name.upper(): "" for name in proxies}
    unknown = {"HF_ENDPOINT": "https://hub.invalid", "HF_HUB_OFFLINE": "0"}
    done = command(tmp_path, "info", name, **unknown, **proxies)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "is there a network?" in done.stderr


def cache(home: Path, *files: str, repo: str = "owner--some-repo") -> None:
    """Put the bundled model into the hub's cache under the names of ``files``."""
    folder = home / "hub" / f"models--{repo}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for file in files:
        path = folder / "snapshots" / COMMIT / file
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ez.model.BUNDLED_MODEL, path)


def command(home: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command where the hub's cache is ``home``; without HF_ENDPOINT there is no network."""
    variables = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "" if env else "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [*COMMAND, *args], capture_output=True, text=True, check=False, encoding="utf-8",
        env={**os.environ, **variables, **env},
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        NAME,
        "owner/some-repo",
        "hf://owner/some-repo/tiny.gguf",
        "https://huggingface.co/owner/some-repo/resolve/main/tiny.gguf?download=true",
    ],
)
def test_a_file_in_the_cache_is_loaded_by_its_hub_name(tmp_path: Path, name: str) -> None:
    pytest.importorskip("huggingface_hub")
    cache(tmp_path, "tiny.gguf", "mmproj-tiny.gguf")
    done = command(tmp_path, "generate", "The sky is blue, and", "--temp", "0", "-m", name)
    assert done.stdout.removeprefix("The sky is blue, and").startswith(" the birds"), done.stderr
    code = f"import easy_llama as ez; print(ez.Model({name!r}, n_threads=1).filename)"
    assert in_process(code, tmp_path).stdout == "tiny.gguf\n"


def test_several_files_in_the_cache_are_listed(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    cache(tmp_path, "tiny-Q4_K_M.gguf", "tiny-Q4_K.gguf")
    done = command(tmp_path, "info", "owner/some-repo")
    assert done.stderr == (
        "easy-llama: owner/some-repo has 2 GGUF files in the cache; write one of "
        "owner/some-repo:tiny-Q4_K.gguf, owner/some-repo:tiny-Q4_K_M.gguf\n"
    )
    assert "tiny-Q4_K.gguf" in command(tmp_path, "info", "owner/some-repo:q4_k").stdout
    assert "tiny-Q4_K_M.gguf" in command(tmp_path, "info", "owner/some-repo:Q4_K_M").stdout
    done = command(tmp_path, "info", "owner/some-repo:Q8_0")
    assert "it is not in the cache, and HF_HUB_OFFLINE is set" in done.stderr


def test_files_are_downloaded_and_named(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    data = ez.model.BUNDLED_MODEL.read_bytes()
    repos = {
        "o/one": {"a.gguf": data, "README.md": b"x", "mmproj-a.gguf": b"y"},
        "o/two": {"m-Q4_K_M.gguf": data, "q8/m-Q8_0.gguf": data},
        "o/split": {f"q4/b-0000{i}-of-00002.gguf": data for i in (1, 2)},
        "o/other": {"model.safetensors": b"z"},
    }
    names = [
        "o/one", "o/two", "o/two/q8/m-Q8_0.gguf", "o/two:Q5", "o/two:m-Q4.gguf", "o/split", "o/other",
        "o/other:model.safetensors", "o/none", GATED, "x",
    ]  # fmt: skip
    with fake_hub(repos) as url:
        address = f"{url}/o/two/blob/main/q8/m-Q8_0.gguf"
        typed = [address if name == "o/two/q8/m-Q8_0.gguf" else name for name in names]
        # every name in one process, as each import of the hub's library takes its time
        code = (
            "import sys\nfrom easy_llama.cli.entry import run\nfor name in sys.argv[1:]:\n"
            "    sys.argv = ['easy-llama', 'pull', name]\n    run()\n"
        )
        online = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code, *typed], text=True, check=True, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **online, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    said = dict(zip(names, done.stdout.splitlines(), strict=True))  # a line for each
    assert said["o/one"] == "o/one:a.gguf is there (2.6 MB). To use it: easy-llama chat o/one:a.gguf"
    assert "2 GGUF files on the hub; write one of o/two:m-Q4_K_M.gguf, o/two:q8/m-" in said["o/two"]
    assert said["o/two/q8/m-Q8_0.gguf"].startswith("o/two:q8/m-Q8_0.gguf is there")
    assert "no GGUF file Q5 on the hub; write one of o/two:m-Q4_K_M.gguf, " in said["o/two:Q5"]
    assert "o/two has no file m-Q4.gguf; it has o/two:m-Q4_K_M.gguf" in said["o/two:m-Q4.gguf"]
    assert "(5.2 MB)" in said["o/split"], "both parts"
    assert "o/other has no GGUF file on the hub; look for" in said["o/other"]
    assert "easy_llama loads no others" in said["o/other:model.safetensors"]
    assert "the hub has no repository o/none, or it is private" in said["o/none"]
    assert f"is gated: accept its terms at https://huggingface.co/{GATED}" in said[GATED]
    assert "x is no file on the Hugging Face hub" in said["x"]
    listed = command(tmp_path, "models", "--json")
    sizes = {one["name"]: one["size"] for one in json.loads(listed.stdout)}
    assert sizes == {
        "tiny": len(data), "o/one:a.gguf": len(data), "o/two:q8/m-Q8_0.gguf": len(data),
        "o/split:q4/b-00001-of-00002.gguf": 2 * len(data),
    }  # fmt: skip
    for name in sizes:
        assert command(tmp_path, "info", name).returncode == 0, name


def test_the_cache_is_used_without_asking_a_network(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    cache(tmp_path, "tiny.gguf")
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    for name in (NAME, "owner/some-repo"):
        done = command(tmp_path, "info", name, **nobody)
        assert (done.returncode, done.stderr) == (0, "")
    # a newer state of the repository was seen, of which this file was not fetched again
    folder, newer = tmp_path / "hub" / "models--owner--some-repo", COMMIT[::-1]
    (folder / "refs" / "main").write_text(newer)
    (folder / "snapshots" / newer).mkdir()
    (folder / "snapshots" / newer / "README.md").write_text("x")
    assert command(tmp_path, "info", NAME).returncode == 0
