"""Grammar: which tokens may come next, by a GBNF grammar and llama.cpp's sampler for it.

llama.cpp aborts the process on a token that the grammar forbids and on an unchecked grammar, so every
grammar is checked and every token is tested before it is taken. Not locked: hold the engine's lock.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import Llama
from numpy.typing import NDArray

from ...checks import check_token
from ...constraints.gbnf import Named
from ...constraints.gbnf_check import named_tokens
from ...engine import common_prefix
from ...errors import EngineError, ModelUnloadedException, PromptError, SettingsError
from .handles import model_handle, vocab_handle
from .log import collected_log
from .rows import CANDIDATE

__all__ = ["Grammar"]

_STRIDE = 64  # tokens between two kept states
_SILENT = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN

_apply = llama_cpp.llama_sampler_apply
_accept = llama_cpp.llama_sampler_accept
_attributes = llama_cpp.llama_vocab_get_attr
_is_end = llama_cpp.llama_vocab_is_eog


class _State:
    """Owns one sampler of llama.cpp; a state that is kept is only ever cloned."""

    def __init__(self, sampler: Any) -> None:
        if not sampler:
            raise EngineError("llama.cpp made no copy of the grammar's state")
        self.sampler = sampler
        weakref.finalize(self, llama_cpp.llama_sampler_free, sampler)

    def clone(self) -> _State:
        return _State(llama_cpp.llama_sampler_clone(self.sampler))


class Grammar:
    """The tokens that may follow those accepted so far.

    >>> grammar = Grammar(model.llama, 'root ::= "yes" | "no"')
    >>> grammar.allows(no)              # with no, the token of that text
    True

    Tokens that end a text are allowed exactly where the grammar is complete. Control tokens are never
    allowed unless the grammar names them (``<think>``): llama.cpp would read them as the text of their
    markup, but they add none. Raises SettingsError as ``check_grammar`` does, and for named tokens that the
    vocabulary doesn't have. A test takes a few microseconds, ``mask`` of a vocabulary of 152,000 tokens 10 to
    50 ms, or half a millisecond for each word of a list: so draw first, test, and mask only where that fails.
    """

    def __init__(self, llama: Llama, text: str) -> None:
        named = named_tokens(text)
        self._llama = llama
        self._n_vocab = int(llama.n_vocab())
        self._exempt = frozenset(self._named_token(name) for name in named)
        with collected_log() as errors:
            sampler = llama_cpp.llama_sampler_init_grammar(self._vocab, text.encode(), b"root")
        if not sampler:
            raise SettingsError(f"llama.cpp refused the grammar: {' '.join(errors()) or 'it gave no reason'}")
        self._pristine: _State | None = _State(sampler)
        self._tokens: list[int] = []
        self._kept: dict[int, _State] = {}  # number of tokens -> the state after them
        self._go_on_from(self._pristine)

    def _go_on_from(self, state: _State | None) -> None:
        if state is None:
            raise EngineError("this grammar is closed")
        self._state: _State | None = state.clone()
        self._allowed = -1  # the last token that was tested and allowed
        # one candidate, used again for every test
        self._one = (llama_cpp.llama_token_data * 1)()
        self._array = llama_cpp.llama_token_data_array(data=self._one, size=1, selected=-1, sorted=False)

    @property
    def tokens(self) -> list[int]:
        """The tokens accepted so far, a copy."""
        return list(self._tokens)

    @property
    def _vocab(self) -> Any:
        if model_handle(self._llama) is None:
            raise ModelUnloadedException("the model was unloaded; make a new grammar after loading it")
        return vocab_handle(self._llama)

    @property
    def _open_state(self) -> _State:
        if self._state is None:
            raise EngineError("this grammar is closed")
        return self._state

    # --- testing ---------------------------------------------------------------------------------------

    def allows(self, token: int) -> bool:
        """Whether ``token`` may come next. PromptError where it is no token of the vocabulary."""
        token, vocab, sampler = check_token(token, self._n_vocab), self._vocab, self._open_state.sampler
        if _attributes(vocab, token) & _SILENT and token not in self._exempt and not _is_end(vocab, token):
            return False
        one = self._one[0]
        one.id, one.logit = token, 1.0
        _apply(sampler, ctypes.byref(self._array))
        if one.logit != 1.0:
            return False
        self._allowed = token
        return True

    def mask(self, array: Any) -> None:
        """Set the logits of the candidates that may not come next to -inf, in place.

        ``array`` is a ``llama_cpp.llama_token_data_array`` of any tokens in any order. Where the grammar
        can't go on with this vocabulary, no candidate is left.
        """
        vocab, sampler = self._vocab, self._open_state.sampler
        if not array.size or not array.data:
            return
        candidates = _view(array)
        ids = candidates["id"]
        if ids.min() < 0 or ids.max() >= self._n_vocab:
            raise PromptError(
                f"the candidates have token ids outside the vocabulary (0 to {self._n_vocab - 1})"
            )
        _apply(sampler, ctypes.byref(array))
        silent = _silent_tokens(self._llama, vocab, self._n_vocab)
        if self._exempt:
            silent = silent.copy()
            silent[list(self._exempt)] = False
        candidates["logit"][silent[ids]] = -np.inf

    # --- moving ----------------------------------------------------------------------------------------

    def accept(self, token: int) -> None:
        """Take ``token``; EngineError, and nothing changes, where the grammar forbids it."""
        token = check_token(token, self._n_vocab)
        if token != self._allowed and not self.allows(token):
            raise EngineError(
                f"the grammar forbids the token {token} after {len(self._tokens)} tokens; "
                "choose one that allows() accepts"
            )
        self._take(token)

    def accept_all(self, tokens: Sequence[int]) -> None:
        """Take ``tokens`` one after the other; those before a forbidden one stay taken."""
        for token in tokens:
            self.accept(token)

    def _take(self, token: int) -> None:
        state = self._open_state
        self._vocab  # noqa: B018 - raises where the model is gone, which llama.cpp would read
        _accept(state.sampler, token)
        self._allowed = -1
        self._tokens.append(token)
        n = len(self._tokens)
        if n % _STRIDE == 0:
            self._kept[n] = state.clone()
            # the newest two multiples of 64, of 128, of 256, ...: going back by n takes about n tokens again
            self._kept = {m: kept for m, kept in self._kept.items() if n - m < 2 * (m & -m)}

    def rewind(self, tokens: Sequence[int]) -> None:
        """Become the state after exactly ``tokens``.

        What they share with the tokens accepted so far is not read again, but for up to 64 tokens or about
        as many as are taken back. Raises EngineError as ``accept`` does.
        """
        self._open_state  # noqa: B018 - raises where this is closed
        tokens = list(tokens)
        keep = common_prefix(self._tokens, tokens)
        if keep < len(self._tokens):
            self._kept = {n: state for n, state in self._kept.items() if n <= keep}
            begin = max(self._kept, default=0)
            self._go_on_from(self._kept[begin] if begin else self._pristine)
            del self._tokens[begin:]
            for token in tokens[begin:keep]:
                self._take(token)
        self.accept_all(tokens[keep:])

    # --- lifetime --------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        self._state = self._pristine = None
        self._kept.clear()

    # --- the vocabulary --------------------------------------------------------------------------------

    def _named_token(self, name: Named) -> int:
        """Return the id of a token that the grammar names; SettingsError where it can't be generated."""
        ids = [name.id]
        if name.id is None:
            data, buffer = name.text.encode(), (llama_cpp.llama_token * 2)()
            n = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, 2, False, True)
            ids = buffer[:n] if n >= 0 else []
        if len(ids) != 1 or ids[0] is None or ids[0] >= self._n_vocab:
            raise SettingsError(f"the grammar names {name.text}, which is not one token of this model")
        if _is_end(self._vocab, ids[0]):
            raise SettingsError(f"the grammar names {name.text}, which ends a text; leave it away")
        return int(ids[0])


_silent: weakref.WeakKeyDictionary[Any, NDArray[np.bool_]] = weakref.WeakKeyDictionary()


def _silent_tokens(llama: Llama, vocab: Any, n_vocab: int) -> NDArray[np.bool_]:
    """For every token whether it adds no text and doesn't end one, bool (n_vocab,); read once per model."""
    if llama not in _silent:
        attributes = np.fromiter(map(_attributes, repeat(vocab), range(n_vocab)), np.int32, n_vocab)
        silent: NDArray[np.bool_] = attributes & _SILENT != 0
        for token in np.flatnonzero(silent).tolist():
            silent[token] = not _is_end(vocab, token)
        _silent[llama] = silent
    return _silent[llama]


def _view(array: Any) -> NDArray[np.void]:
    """The candidates of a ``llama_token_data_array`` as a writable structured array."""
    address = ctypes.cast(array.data, ctypes.c_void_p).value
    memory = (ctypes.c_char * (array.size * CANDIDATE.itemsize)).from_address(address)
    return np.frombuffer(memory, dtype=CANDIDATE)
