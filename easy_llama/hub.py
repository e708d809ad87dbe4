"""``owner/repo:file.gguf`` to a local path, through the Hugging Face hub and its cache (extra ``hub``).

Downloads resume where they stopped and show a progress bar; a file that is in the cache needs no network.
"""

from __future__ import annotations

import re
from pathlib import Path

from .errors import MissingExtraError, ModelFileError

__all__ = ["fetch", "is_hub_name"]

_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+):(?P<file>[^:]+\.gguf)")


def is_hub_name(name: str) -> bool:
    """Whether ``name`` names a file on the hub and not a path.

    >>> is_hub_name("unsloth/Llama-3.2-1B-Instruct-GGUF:Llama-3.2-1B-Instruct-Q4_K_M.gguf")
    True
    >>> is_hub_name("models/some.gguf")
    False
    """
    return _NAME.fullmatch(name) is not None


def fetch(name: str) -> Path:
    """Return the local path of the file behind ``owner/repo:file.gguf``, downloading it if need be.

    Raises MissingExtraError without the extra, ModelFileError where the hub has no such file or can't be
    reached.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ModelFileError(f"{name!r} is not of the form owner/repo:file.gguf")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingExtraError(
            f"loading {name} from the hub needs huggingface-hub, which is not installed: "
            "pip install huggingface-hub"
        ) from error
    try:
        return Path(hf_hub_download(match["repo"], match["file"]))
    except Exception as error:  # the library and what it stands on raise many kinds; all mean "not to be had"
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelFileError(
            f"{name} can't be had from the hub: {reason[0]} (is the name right, and is there a network?)"
        ) from error
