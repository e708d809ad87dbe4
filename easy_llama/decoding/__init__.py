"""The rack of decoders: (engine, prompt, end tokens, limit) -> tokens that stay.

To add a decoder, add a file here. None imports torch or llama_cpp.
"""

from __future__ import annotations

from .sampling import Sampling

__all__ = ["Sampling"]
