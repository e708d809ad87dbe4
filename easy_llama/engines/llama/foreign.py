"""What lies where a GGUF file should: a page, a pointer, another kind of model, a folder; and what to do.

Only the first bytes of a file are looked at, and the names in a folder.
"""

from __future__ import annotations

import html
import os
import re
import struct
from pathlib import Path

from ...files import models_in, size_text
from ...terminal.escape import escaped, one_line, shortened

__all__ = ["HEAD", "what_a_directory_holds", "what_it_is"]

HEAD = 4096  # bytes that tell what a file is
_CONVERT = (
    "load it with transformers and ez.TransformersProvider, or make a GGUF file of it with llama.cpp's "
    "convert_hf_to_gguf.py"
)
_SHOWN = 8

# first bytes -> what it is and what to do
_MAGIC: dict[bytes, str] = {
    b"GGUF": "it ends inside the header; the download may be incomplete",
    **dict.fromkeys(
        (b"lmgg", b"fmgg", b"tjgg", b"algg"),
        "it is a GGML file from before August 2023, which llama.cpp no longer reads; get the model as GGUF",
    ),
    b"MZqFpD": "it is a llamafile, a program with a model inside; get the model's GGUF file itself",
    b"\x1f\x8b": "it is packed by gzip; unpack it: gunzip",
    b"BZh": "it is packed by bzip2; unpack it: bunzip2",
    b"\xfd7zXZ\x00": "it is packed by xz; unpack it: unxz",
    b"\x28\xb5\x2f\xfd": "it is packed by zstd; unpack it: unzstd",
    b"7z\xbc\xaf\x27\x1c": "it is a 7z archive; unpack it first",
    b"Rar!": "it is a rar archive; unpack it first",
    b"\x89HDF": "it is an HDF5 file, as Keras writes; get the model as GGUF",
    **dict.fromkeys(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), f"it is a PyTorch checkpoint; {_CONVERT}"
    ),
}
_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/.*?^size (\d+)", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)


def what_it_is(head: bytes, size: int) -> str:
    """Say what a file is that is no GGUF file, from its first ``HEAD`` bytes and its size in bytes."""
    if not size:
        return "it is empty; download it again"
    if head.startswith(b"version https://git-lfs"):
        return _pointer(head)
    if head.startswith(b"PK\x03\x04"):
        return _zip(head)
    for magic, text in _MAGIC.items():
        if head.startswith(magic):
            return text
    if head[257:262] == b"ustar":
        return "it is a tar archive; unpack it: tar -xf"
    if not any(head):
        return "it begins with nothing but zeros: space for a download that is not finished"
    if len(head) > 8 and head[8:9] == b"{" and 2 <= struct.unpack_from("<Q", head)[0] <= size:
        return f"it is a safetensors file; {_CONVERT}"
    # protobuf: the version of the format, then who wrote it or the graph
    if len(head) > 2 and head[0] == 0x08 and head[1] < 0x20 and head[2] in (0x12, 0x3A):
        return "it is an ONNX model; get the model as GGUF"
    return _text(head) or f"it starts with {head[:4]!r}, not b'GGUF'"


def _pointer(head: bytes) -> str:
    found = _POINTER.match(head)
    size = f" of {size_text(int(found[1][:18]))}" if found else ""
    return (
        f"it is a Git LFS pointer to a file{size}, which was not downloaded; run git lfs pull in its folder, "
        "or download the file itself"
    )


def _zip(head: bytes) -> str:
    """PyTorch's checkpoints are zip archives, too; the first name in one tells."""
    length = int.from_bytes(head[26:28], "little")
    name = head[30 : 30 + length].decode("utf-8", "replace")
    if name.endswith(("/data.pkl", "/.format_version", "/.data/serialization_id", "/byteorder")):
        return f"it is a PyTorch checkpoint; {_CONVERT}"
    holds = f" that begins with {shortened(name)}" if name else ""
    return f"it is a zip archive{holds}; unpack it first"


def _text(head: bytes) -> str:
    """Say what a text is; "" if it is none."""
    text = head.decode("utf-8-sig", "ignore").strip()
    start = text[:256].lower()
    if start.startswith(("<!doctype html", "<html")) or (start.startswith("<") and "<html" in start):
        title = _TITLE.search(head)
        named = one_line(html.unescape(title[1].decode("utf-8", "replace"))) if title else ""
        titled = f" with the title {named!r}" if named else ""
        return (
            f"it is a web page{titled}, saved instead of the file; take the address of the download itself, "
            "and log in if the site wants it"
        )
    try:
        head[:-4].decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""
    if not text or any(c < " " and c not in "\t\n\r" for c in text[:256]):
        return ""
    # servers answer with a line or with JSON where there is no file
    return f"it is a text that begins with {one_line(text, 80)!r}; if it should be a model, download it again"


def what_a_directory_holds(folder: Path) -> str:
    """Say what there is in ``folder`` to load, and how."""
    found = models_in(folder)
    if len(found) == 1:
        return f"give the path of the GGUF file in it: {escaped(str(found[0]))}"
    if found:
        names = [escaped(path.relative_to(folder).as_posix()) for path in found]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"give the path of one of the GGUF files in it: {', '.join(names[:_SHOWN])}{more}"
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        return f"it can't be read: {error.strerror}"
    if "adapter_config.json" in names:
        return f"it holds an adapter (LoRA) and no model; merge it into its model first, then {_CONVERT}"
    weights = any(name.endswith((".safetensors", ".bin", ".pt", ".pth")) for name in names)
    if "config.json" in names and weights:
        return f"it holds a Transformers model; {_CONVERT}"
    return "it is empty" if not names else "there is no GGUF file in it; give the path of a .gguf file"
