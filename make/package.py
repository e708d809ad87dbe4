"""``python -m make.package WHEELS``: sdist and wheel into ``dist/``, and whether people can use them.

The sdist holds all tracked files, the README renders without dead links, and what the sdist's README tells a
person to do works in a fresh environment: ``pip install .``, then ``easy-llama``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
# a link to a file beside the text, in Markdown or HTML
BESIDE = re.compile(r'\]\((?!https?:|#)([^)#]+)|(?:src|href)="(?!https?:|#)([^"#]+)"')


def run(*command: str | Path, cwd: Path = ROOT, text: str = "") -> str:
    """Run a command and return its output; its failure ends all with what it said."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, input=text, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(map(str, command))} failed with exit code {done.returncode}")
    return done.stdout


def missing(sdist: Path) -> set[str]:
    """Return the files that the sdist lacks: those that README.md links to, and those that git tracks."""
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    wanted = {"Makefile"} | {one or other for one, other in BESIDE.findall(readme)}
    if (ROOT / ".git").exists():
        wanted |= set(run("git", "-c", "core.quotePath=off", "ls-files").splitlines())
    return {name for name in wanted if name.rstrip("/") not in held and (ROOT / name).exists()}


def dead_links(wheel: Path) -> set[str]:
    """Return the links in the description, the README of a package index, that lead to files beside it."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        description = archive.read(name).decode("utf-8").partition("\n\n")[2]
    if "easy_llama" not in description:
        sys.exit(f"{wheel.name} has no description")
    return {one or other for one, other in BESIDE.findall(description)}


def try_out(sdist: Path, wheels: Path) -> None:
    """Unpack, ``pip install .``, talk, as a person without make does; and make knows its targets there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.unpack_archive(sdist, folder)
        [source] = folder.iterdir()
        run(sys.executable, "-m", "venv", folder / "venv")
        scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        pip = (str(scripts / "python"), "-m", "pip", "--disable-pip-version-check", "-q")
        run(*pip, "install", "--prefer-binary", "--find-links", wheels.resolve(), ".", cwd=source)
        run(*pip, "check")
        text = run(scripts / "easy-llama", "generate", "Once upon a time", "--seed", "1", cwd=folder)
        answer = run(scripts / "easy-llama", cwd=folder, text="What is the capital of France?\n")
        if "Paris" not in answer or len(text) < 20:
            sys.exit(f"the installed easy-llama answers {answer!r} and generates {text!r}")
        run(scripts / "easy-llama", "info", cwd=folder)
        if shutil.which("make"):
            run("make", "-n", "chat", cwd=source)


def main(wheels: Path) -> None:
    """Build, check, try out."""
    shutil.rmtree(DIST, ignore_errors=True)
    print("Building sdist and wheel ...", flush=True)
    run(sys.executable, "-m", "build", "--outdir", DIST)
    [sdist], [wheel] = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    print(run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", sdist, wheel), end="")
    if lacks := missing(sdist):
        sys.exit(f"{sdist.name} lacks {', '.join(sorted(lacks))}: see tool.hatch.build.targets.sdist")
    if dead := dead_links(wheel):
        sys.exit(f"the README has dead links on a package index: {', '.join(sorted(dead))}")
    print("Installing the sdist in a fresh environment ...", flush=True)
    try_out(sdist, wheels)
    print(f"{sdist.name} ({sdist.stat().st_size / 1e6:.1f} MB) and {wheel.name} are good.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
