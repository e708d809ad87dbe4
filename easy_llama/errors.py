"""Every error that easy_llama raises on purpose.

EasyLlamaError                         catch this for all of them
├─ SettingsError      (ValueError)     a sampler setting or an argument outside its range
├─ ArgumentError      (TypeError)      an argument of no such name, one too many or one missing
├─ PromptError        (ValueError)     a prompt or a token that can't be evaluated
│  └─ ExceededContextLengthException   more tokens than the context holds
├─ FormatError        (ValueError)     a prompt format or a chat template that can't be used
├─ ModelFileError     (OSError)        a file that is not a usable GGUF model
│  ├─ ModelNotFoundError (FileNotFoundError)     nothing at that path
│  └─ ModelIsDirectoryError (IsADirectoryError)  a directory at that path
├─ SavedFileError     (OSError)        a saved conversation that can't be written or read
│  └─ SavedFileNotFoundError (FileNotFoundError)  nothing at that path
├─ HistoryError       (OSError)        a file of stored threads that can't be used, or no such thread in it
├─ ModelUnloadedException (RuntimeError)         the model was used after ``unload``
├─ EngineError        (RuntimeError)   llama.cpp refused what should have worked
│  ├─ EngineBusyError                  two unfinished streams on one context in one thread
│  ├─ ContextFullError                 forks have filled the context that they share
│  └─ NoTokenLeft                      bans and constraints leave no token to choose
├─ StrategyError      (RuntimeError)   a strategy takes back what was shown, or never comes to an end
└─ MissingExtraError  (ImportError)    an optional dependency is not installed
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "ContextFullError",
    "EasyLlamaError",
    "EasyLlamaWarning",
    "EngineBusyError",
    "EngineError",
    "ExceededContextLengthException",
    "FormatError",
    "HistoryError",
    "MissingExtraError",
    "ModelFileError",
    "ModelIsDirectoryError",
    "ModelNotFoundError",
    "ModelUnloadedException",
    "NoTokenLeft",
    "PromptError",
    "SavedFileError",
    "SavedFileNotFoundError",
    "SettingsError",
    "StrategyError",
]


class EasyLlamaError(Exception):
    """The base of all errors raised by easy_llama on purpose."""


class SettingsError(EasyLlamaError, ValueError):
    """A setting or argument is outside its range; the text names field, value and range."""


class ArgumentError(EasyLlamaError, TypeError):
    """A call has an argument of no such name, one too many or one missing; the text says what was meant."""


class PromptError(EasyLlamaError, ValueError):
    """A prompt, a token id or a stop can't be used."""


class ExceededContextLengthException(PromptError):
    """The tokens do not fit in the context.

    ``n_tokens`` and ``context_length`` hold the two counts.
    """

    def __init__(self, n_tokens: int, context_length: int, room: int = 1) -> None:
        super().__init__(
            f"{n_tokens} tokens (and room for {room} more to generate) are needed, but the context holds "
            f"{context_length}; shorten the prompt or load the model with a larger context_length"
        )
        self.n_tokens = n_tokens
        self.context_length = context_length


class FormatError(EasyLlamaError, ValueError):
    """A prompt format is not known or not complete, or a chat template can't be rendered."""


class ModelFileError(EasyLlamaError, OSError):
    """A file is not a usable GGUF model; the text names the file and the fault."""


class ModelNotFoundError(ModelFileError, FileNotFoundError):
    """There is no file at the given path."""


class ModelIsDirectoryError(ModelFileError, IsADirectoryError):
    """The given path is a directory."""


class SavedFileError(EasyLlamaError, OSError):
    """A saved conversation can't be written or read."""


class SavedFileNotFoundError(SavedFileError, FileNotFoundError):
    """There is no saved conversation at the given path."""


class HistoryError(EasyLlamaError, OSError):
    """The file of stored threads can't be used, or has no thread of that id."""


class ModelUnloadedException(EasyLlamaError, RuntimeError):
    """A Model was used after ``unload``; ``load`` brings it back."""


class EngineError(EasyLlamaError, RuntimeError):
    """llama.cpp refused an operation that should have worked."""


class EngineBusyError(EngineError):
    """The calling thread still owns an unfinished stream on the same context."""


class ContextFullError(EngineError):
    """Forks of an engine have filled the context that they share; nothing was evaluated."""


class NoTokenLeft(EngineError):
    """Bans, bounds and constraints together leave no token to choose from."""


class StrategyError(EasyLlamaError, RuntimeError):
    """A strategy wants to take back what was shown, keeps more than there is, or never comes to an end."""


class MissingExtraError(EasyLlamaError, ImportError):
    """An optional dependency is missing; the text names the extra to install."""


class EasyLlamaWarning(UserWarning):
    """Something works, but not as well as the caller may expect."""
