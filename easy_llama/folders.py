"""Where a user's own things lie: kept chats, models, the config file.

The folders are those that the system has for it (platformdirs); an environment variable names others.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["config_file", "data_folder", "models_folder"]


def data_folder() -> Path:
    """Return the folder of kept chats and models; EASY_LLAMA_DATA names another. It need not exist."""
    from platformdirs import user_data_path  # here: importing easy_llama stays light

    return _given("EASY_LLAMA_DATA") or user_data_path("easy_llama")


def models_folder() -> Path:
    """Return the folder whose models are found by their names; EASY_LLAMA_MODELS names another."""
    return _given("EASY_LLAMA_MODELS") or data_folder() / "models"


def config_file() -> Path:
    """Return the file of the commands' defaults; EASY_LLAMA_CONFIG names another."""
    from platformdirs import user_config_path

    return _given("EASY_LLAMA_CONFIG") or user_config_path("easy_llama") / "config.json"


def _given(variable: str) -> Path | None:
    given = os.environ.get(variable)
    return Path(os.path.expanduser(given)) if given else None
