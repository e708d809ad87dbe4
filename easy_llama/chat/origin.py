"""Origin: which file a conversation's model came from, so that it can go on with the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..engine import FromFile

__all__ = ["Origin", "fingerprint", "origin_of"]

N_SAMPLES, SAMPLE = 64, 1 << 16  # 4 MiB are read at most: a file of 40 GB costs what one of 10 MB does


@dataclass(frozen=True)
class Origin:
    """The path of a model's file and its ``fingerprint``."""

    path: str
    fingerprint: str

    @classmethod
    def from_dict(cls, data: object) -> Origin | None:
        """Return what was kept, or None where there is nothing that can be used."""
        kept = data if isinstance(data, Mapping) else {}
        path, known = kept.get("path"), kept.get("fingerprint")
        return cls(path, known) if isinstance(path, str) and isinstance(known, str) else None

    def is_at(self, path: Path) -> bool:
        """Whether the file at ``path`` is the same one."""
        try:
            return fingerprint(path) == self.fingerprint
        except OSError:
            return False


def origin_of(model: Any) -> Origin | None:
    """Return where ``model`` came from; None where that is no file, or one that is gone."""
    if not isinstance(model, FromFile):
        return None
    path = Path(model.path).absolute()
    try:
        return Origin(str(path), fingerprint(path))
    except OSError:
        return None


def fingerprint(path: Path) -> str:
    """Return a hash of the size of the file at ``path`` and of up to 64 samples of 64 KiB, its ends included.

    It tells models apart within milliseconds; it is no proof against somebody who wants to deceive. OSError
    where the file can't be read.
    """
    status = path.stat()
    return _fingerprint(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _fingerprint(path: str, size: int, changed: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    n_samples = min(N_SAMPLES, -(-size // SAMPLE))
    with open(path, "rb") as file:
        for i in range(n_samples):
            file.seek(max(size - SAMPLE, 0) * i // max(n_samples - 1, 1))
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:32]
