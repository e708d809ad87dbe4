"""``python tests/every_python.py WHEELS``: the tests on every Python from 3.10 to 3.13 found here.

Looks on the path and among pyenv's versions. Each gets an environment of its own in ``.venv-3.x``; the
wheel of llama-cpp-python in the folder WHEELS suits all of them, so nothing is compiled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")


def find(version: str) -> str | None:
    """Return an interpreter of ``version`` that runs, or None."""
    found = [shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
    for python in filter(None, found):
        done = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
        if done.returncode == 0 and f"Python {version}." in done.stdout:
            return python
    return None


def run_tests(version: str, python: str, wheels: str) -> bool:
    """Make the environment if needed, install, run pytest."""
    folder = ROOT / f".venv-{version}"
    inside = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    pip = [str(inside), "-m", "pip", "--disable-pip-version-check", "-q", "install", "--prefer-binary"]
    subprocess.run([*pip, "--find-links", wheels, "-e", ".[dev]"], check=True, cwd=ROOT)
    return subprocess.run([str(inside), "-m", "pytest"], check=False, cwd=ROOT).returncode == 0


def main() -> None:
    """Run the tests on each Python and say how it went."""
    results = {}
    for version in VERSIONS:
        python = find(version)
        if python is None:
            results[version] = "not found"
            continue
        print(f"== Python {version}: {python}", flush=True)
        results[version] = "passed" if run_tests(version, python, sys.argv[1]) else "FAILED"
    for version, result in results.items():
        print(f"Python {version}: {result}")
    sys.exit("FAILED" in results.values() or "passed" not in results.values())


if __name__ == "__main__":
    main()
