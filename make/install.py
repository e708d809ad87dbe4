"""``python -m make.install BACKEND WHEELS``: llama-cpp-python for a backend, and easy_llama with it.

llama.cpp is compiled without the parts that nothing here uses, and whole where that fails. The wheel stays in
the folder WHEELS and suits every Python; where it holds a fitting one already, nothing is compiled.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

# build flags, what ggml calls the backend, and what must be there to compile it
BACKENDS = {
    "cpu": ("", "CPU", "a C++ compiler"),
    "cuda": ("-DGGML_CUDA=on", "CUDA", "NVIDIA's CUDA toolkit"),
    "metal": ("-DGGML_METAL=on", "MTL", "Apple's Xcode tools"),
    "vulkan": ("-DGGML_VULKAN=on", "Vulkan", "the Vulkan SDK with glslc"),
    "hip": ("-DGGML_HIP=on", "ROCm", "AMD's ROCm"),
    "rocm": ("-DGGML_HIP=on", "ROCm", "AMD's ROCm"),
    "blas": ("-DGGML_BLAS=on -DGGML_BLAS_VENDOR=OpenBLAS", "BLAS", "OpenBLAS and pkg-config"),
}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
# pip's own cache knows no build flags: it would give out a wheel for another backend, and keep a lean one for
# everybody else on this machine
WHEEL = [*PIP, "wheel", "--no-cache-dir", "--prefer-binary", "--no-deps"]


def requirement() -> str:
    """Return what pyproject.toml asks for: ``llama-cpp-python>=...``."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'"(llama-cpp-python[^"]*)"', text)
    assert found, "pyproject.toml names no llama-cpp-python"
    return found[1]


def cmake_args(backend: str, lean: bool, own: str) -> str:
    """Return CMAKE_ARGS: those of the backend, those that leave parts out, then the user's own, which win."""
    include = (Path(__file__).parent / "lean.cmake").as_posix()
    parts = [BACKENDS[backend][0]]
    if lean:
        parts += ["-DLLAVA_BUILD=OFF", shlex.quote(f"-DCMAKE_PROJECT_INCLUDE={include}")]
    return " ".join(filter(None, [*parts, own]))


def run(command: list[str], **env: str) -> bool:
    """Run a command in the repository, return whether it succeeded."""
    return subprocess.run(command, check=False, cwd=ROOT, env={**os.environ, **env}).returncode == 0


def get_wheel(backend: str, wheels: str, lean: bool) -> bool:
    """Put a wheel into ``wheels``: a ready one, or one that is compiled now."""
    args = cmake_args(backend, lean, os.environ.get("CMAKE_ARGS", ""))
    print(f"CMAKE_ARGS: {args or 'none'}", flush=True)
    return run([*WHEEL, "--find-links", wheels, "-w", wheels, requirement()], CMAKE_ARGS=args)


def install(wheels: str) -> None:
    """Install that wheel, also in place of another backend's, then easy_llama; exit where pip can't."""
    from_here = ["--no-index", "--no-deps", "--force-reinstall", "--find-links", wheels]
    if not (
        run([*PIP, "install", *from_here, requirement()])
        and run([*PIP, "install", "--prefer-binary", "--find-links", wheels, "-e", "."])
    ):
        sys.exit(f"pip can't install easy_llama: the reason stands above. What was compiled is in {wheels}.")


def works() -> bool:
    """Return whether the installed library can be imported."""
    return run([sys.executable, "-c", "import llama_cpp.llama_chat_format"])


def has_backend(backend: str) -> bool:
    """Return whether the installed library was built for the backend, True where it doesn't tell."""
    code = "import sys; from easy_llama.engines.llama.devices import build; found = build().backends; "
    name = BACKENDS[backend][1]
    return run([sys.executable, "-c", f"{code}sys.exit(bool(found) and {name!r} not in found)"])


def get_and_install(backend: str, wheels: str, lean: bool) -> bool:
    """Get a wheel and install it; return whether there is one that works. One made now that doesn't goes."""
    folder = Path(wheels)
    before = set(folder.glob("*.whl"))
    if not get_wheel(backend, wheels, lean):
        return False
    install(wheels)
    if works():
        return True
    for wheel in set(folder.glob("*.whl")) - before:
        wheel.unlink()
    return False


def main(backend: str, wheels: str) -> None:
    """Get the wheel, install all, and say what is missing."""
    print(
        f"Getting llama-cpp-python for {backend}. Where no ready wheel is found, llama.cpp is compiled now:\n"
        "once, about 2 minutes on 2 cores without a GPU, more with one; the rest takes seconds ...",
        flush=True,
    )
    Path(wheels).mkdir(parents=True, exist_ok=True)
    if not get_and_install(backend, wheels, lean=True):
        print("\nThat failed. Compiling llama.cpp whole, which takes twice as long ...", flush=True)
        if not get_and_install(backend, wheels, lean=False):
            sys.exit(
                f"llama-cpp-python can't be built for {backend}: the reason stands above. "
                f"It needs {BACKENDS[backend][2]}."
            )
    if not has_backend(backend):
        sys.exit(
            f"The llama-cpp-python that pip found was not built for {backend}. If PIP_FIND_LINKS or another "
            f"index offers it, leave that out; remove {wheels} and try again."
        )


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except KeyboardInterrupt:
        sys.exit(130)
