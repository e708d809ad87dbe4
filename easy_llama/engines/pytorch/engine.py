"""TorchEngine: a PyTorch model as an engine. Hugging Face models, modules of your own, wrapped objects.

Where the model has a cache, only new tokens are evaluated; otherwise the whole sequence is each time.
torch is imported when an engine is made, and nowhere outside this room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...caller import warn
from ...checks import (
    check_each_once,
    check_optional_integer,
    check_rollback,
    check_token,
    check_tokens,
)
from ...engine import Engine, Logits
from ...errors import (
    EngineError,
    PromptError,
)
from .cache import Held, Part, gather
from .model import Output, TorchModel, end_tokens_of, import_torch, to_numpy

if TYPE_CHECKING:
    import torch

__all__ = ["HiddenTorchEngine", "TorchEngine", "end_tokens_of"]

_NO_LIMIT = 2**31 - 1
_Engine = TypeVar("_Engine", bound="TorchEngine")


class TorchEngine:
    """An engine over ``model``, which takes ``input_ids``, int64 (batch, n), and returns ``.logits``, float
    (batch, n, n_vocab): a Hugging Face model, a torch.nn.Module, a plain object that can be called.

    - ``device``: where to move the model; None leaves it where it is. Its dtype is kept in any case
    - ``n_ctx``: most tokens held; None is ``config.max_position_embeddings``, or no limit without one. More
      than that gives a warning: such models get worse (rotary positions) or fail (learned positions)

    The model is called once on token 0 when the engine is made, to see what it can do. One with hidden states
    (``output_hidden_states``) makes a HiddenTorchEngine. Modules are switched to evaluation, until the
    engine and all its forks are closed.

    A cache is found by the arguments ``past_key_values`` or ``cache_params``. ``rollback`` cuts it. Where
    that can't be done (a sliding window that has moved on, recurrent states) the tokens kept are evaluated
    again. A fork copies the cache when it first goes its own way.

    Raises SettingsError for a wrong option, EngineError for a model without such logits or on another
    device, MissingExtraError without torch.
    """

    n_vocab: int
    n_ctx: int

    def __new__(cls, model: Any, *, device: Any = None, n_ctx: int | None = None) -> TorchEngine:
        """Call the model once to see what it can do, and choose the class by that."""
        check_optional_integer("n_ctx", n_ctx, 1)
        torch_model = TorchModel(model, device)
        n_positions = torch_model.n_positions or _NO_LIMIT
        if (n_ctx or 0) > n_positions:
            text = f"n_ctx={n_ctx} is more than the {n_positions} positions that the model was made for"
            warn(text)
        kind = HiddenTorchEngine if torch_model.has_hidden and cls is TorchEngine else cls
        self = object.__new__(kind)
        self._start(torch_model, n_ctx or n_positions)
        return self

    def _start(self, model: TorchModel, n_ctx: int) -> None:
        self._model = model
        self.n_vocab, self.n_ctx = model.n_vocab, n_ctx
        self._tokens: list[int] = []
        self._held, self._row = Held(), 0
        self._held.owners.add(self)
        self._view: tuple[Logits, torch.Tensor] | None = None
        self._candidates: list[tuple[TorchEngine, NDArray[np.float32]]] = []  # of the last look_ahead
        self._release = model.user(self)

    # --- the protocol ----------------------------------------------------------------------------------

    @property
    def tokens(self) -> list[int]:
        """The tokens evaluated so far, a copy."""
        return list(self._tokens)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._model.device

    @property
    def n_evaluated(self) -> int:
        """How many tokens the model has evaluated for this engine and its forks, rows times tokens."""
        return self._model.n_evaluated

    def extend(self, tokens: Sequence[int]) -> Logits:
        """Evaluate ``tokens``; see the protocol. The logits are float32 on the CPU."""
        with self._model.session():
            self._check_open()
            return self._shown(self._evaluate(self._checked(tokens)))

    def rollback(self, n: int) -> None:
        """Keep the first ``n`` tokens. The cache is cut, or built again, when it is needed next."""
        with self._model.session():
            self._check_open()
            check_rollback(n, len(self._tokens))
            self._candidates = []
            del self._tokens[n:]
            if not n:
                self._hold(Held())

    def fork(self) -> TorchEngine:
        """Return an independent engine with the same tokens; they share the cache until one goes on."""
        with self._model.session():
            return self._branch(type(self))

    def close(self) -> None:
        """Forget everything. Forks live on; the last to be closed gives the model its training mode back."""
        self._hold(Held())
        self._candidates = []
        self._release()

    def extend_batch(self, engines: Sequence[Engine], tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate one token on each of ``engines``, forks of one engine: float32 (len(engines), n_vocab).

        In one call of the model where its cache lets rows be chosen (and, for engines of different lengths,
        where it is keys and values only and the model takes an attention_mask and position_ids). It is
        fastest for the forks of one batch, in any order: their rows stay in one cache.
        """
        with self._model.session():
            members = self._members(engines, tokens)
            rows = [member._checked((token,)) for member, token in zip(members, tokens, strict=True)]
            output = self._evaluate_together(members, rows)
            if output is not None:
                return to_numpy(output.logits)
            return np.stack([member.extend(row).copy() for member, row in zip(members, rows, strict=True)])

    def extend_rows(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Evaluate ``tokens`` at once and return the logits after each, float32 (len(tokens), n_vocab)."""
        with self._model.session():
            return to_numpy(self._evaluate(self._checked(tokens), every=True).all_logits[0])

    # --- checks ----------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._release.alive:
            raise EngineError("this engine is closed; make a new one or a fork of one that is open")

    def _checked(self, tokens: Sequence[int]) -> list[int]:
        """Return the tokens as ints that can be evaluated next; the model never sees others."""
        self._check_open()
        ids = [check_token(token, self.n_vocab) for token in tokens]
        check_tokens(ids, len(self._tokens), self.n_vocab, self.n_ctx)
        return ids

    def _members(self, engines: Sequence[Engine], tokens: Sequence[int]) -> list[TorchEngine]:
        members: list[TorchEngine] = []
        for engine in engines:
            if not isinstance(engine, TorchEngine) or engine._model is not self._model:
                raise EngineError("only an engine and its forks can be evaluated together")
            members.append(engine)
        check_each_once(members, tokens)
        return members

    # --- evaluation ------------------------------------------------------------------------------------

    def _evaluate(self, tokens: list[int], *, hidden: bool = False, every: bool = False) -> Output:
        """Evaluate ``tokens`` after those held and record them; ``hidden`` states and the logits of ``every``
        position are those of ``tokens``."""
        self._candidates = []
        if self._model.has_cache:
            self._hold(self._ready())
            output = self._advance(self._held, [tokens], hidden=hidden, every=every)
        else:
            output, n = (
                self._model.run([self._tokens + tokens], hidden=hidden, every=every),
                len(self._tokens),
            )
            if output.hidden is not None:
                output = output._replace(hidden=output.hidden[:, n:])
            if output.all_logits is not None:
                output = output._replace(all_logits=output.all_logits[:, n:])
        self._tokens += tokens
        return output

    def _evaluate_together(
        self, members: Sequence[TorchEngine], rows: Sequence[list[int]], *, hidden: bool = False
    ) -> Output | None:
        """Evaluate a row on each member in one call and record it; None where they can't share one."""
        if not self._model.has_cache:
            if len({len(member._tokens) for member in members}) > 1:
                return None
            whole = [member._tokens + row for member, row in zip(members, rows, strict=True)]
            output = self._model.run(whole, hidden=hidden)
            if len(output.logits) != len(members):
                return None  # a model for one sequence at a time
        else:
            held = self._shared_by(members)
            if held is None:
                return None
            for i, member in enumerate(members):
                member._hold(held, i)
            output = self._advance(held, rows, hidden=hidden)
        for member, row in zip(members, rows, strict=True):
            member._tokens += row
            member._candidates = []
        return output

    def _shared_by(self, members: Sequence[TorchEngine]) -> Held | None:
        """Return a cache that holds a row for each member, or None."""
        empty = [not member._tokens for member in members]
        if all(empty):
            return Held(pads=[0] * len(members))
        if any(empty):
            return None
        for member in members:
            member._restore()
        owners = {owner for member in members for owner in member._held.owners}
        return gather(
            [member._part() for member in members],
            consume=owners <= set(members),
            may_pad=self._model.may_pad,
            row_method=self._model.row_method,
        )

    def _ready(self) -> Held:
        """Return a cache of exactly the tokens held, in one row, that nobody else uses."""
        self._restore()
        held = gather(
            [self._part()],
            consume=self._held.owners <= {self},
            may_pad=False,
            row_method=self._model.row_method,
        )
        if held is None:  # the cache could not be cut
            self._hold(Held())
            self._restore()
            held = self._held
        return held

    def _part(self) -> Part:
        return Part(self._held, self._row, len(self._tokens))

    def _restore(self) -> None:
        """Evaluate the tokens again where no cache holds them: it could not be cut, or a call broke off."""
        if self._held.cache is None and (self._tokens or self._held.length):
            self._hold(Held())
            if self._tokens:
                self._advance(self._held, [self._tokens])

    def _advance(
        self, held: Held, rows: Sequence[Sequence[int]], *, hidden: bool = False, every: bool = False
    ) -> Output:
        """Put ``rows`` through the model after ``held``, which has no cache if this breaks off."""
        cache, held.cache = held.cache, None
        run = self._model.run
        output = run(rows, cache, hidden=hidden, every=every, places=held.length, pads=held.pads)
        held.length += len(rows[0])
        held.cache = output.cache
        return output

    def _branch(self, kind: type[_Engine]) -> _Engine:
        """Return a new engine of that kind, with the same tokens, over the same cache."""
        self._check_open()
        child = object.__new__(kind)
        child._start(self._model, self.n_ctx)
        child._tokens = list(self._tokens)
        child._hold(self._held, self._row)
        return child

    def _shown(self, output: Output) -> Logits:
        """Return the logits of the only row as the view that ``extend`` promises."""
        if self._view is None:
            array: Logits = np.empty(self.n_vocab, dtype=np.float32)
            self._view = array, import_torch().from_numpy(array)
        self._view[1].copy_(output.logits[0])  # from any device and dtype
        return self._view[0]

    def _hold(self, held: Held, row: int = 0) -> None:
        self._held.owners.discard(self)
        self._held, self._row = held, row
        held.owners.add(self)


class HiddenTorchEngine(TorchEngine):
    """A TorchEngine that also tells hidden states: what the model gives as the last of ``hidden_states``.

    Those of Hugging Face's causal language models are the last layer's after the final norm.
    """

    def _start(self, model: TorchModel, n_ctx: int) -> None:
        super()._start(model, n_ctx)
        self._states: NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)
        self._n_states = 0

    @property
    def hidden(self) -> NDArray[np.float32]:
        """The hidden states of the first tokens held, as far as they are known: float32 (n, n_embd)."""
        return self._states[: self._n_states]

    def extend_hidden(self, tokens: Sequence[int]) -> Logits:
        """Do what ``extend`` does and note the hidden states."""
        with self._model.session():
            before = len(self._tokens)
            output = self._evaluate(self._checked(tokens), hidden=True)
            self._note(before, to_numpy(output.hidden[0]))
            return self._shown(output)

    def look_ahead(self, candidates: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Evaluate each candidate as the next token and take none: (k, n_vocab) and (k, n_embd), copies.

        In one call of the model where ``extend_batch`` can evaluate forks in one.
        """
        with self._model.session():
            self._candidates = []
            tokens = [self._checked((token,)) for token in candidates]
            if not tokens:
                raise PromptError("there is nothing to look at; give at least one candidate")
            if self._model.has_cache and self._tokens and self._part().end < self._held.length:
                self._hold(self._ready())  # cut it once and not for each
            branches = [self._branch(TorchEngine) for _ in tokens]
            output = self._evaluate_together(branches, tokens, hidden=True)
            if output is not None:
                logits, states = to_numpy(output.logits).copy(), to_numpy(output.hidden[:, -1])
            else:
                outputs = [
                    branch._evaluate(token, hidden=True)
                    for branch, token in zip(branches, tokens, strict=True)
                ]
                logits = np.concatenate([to_numpy(one.logits) for one in outputs])
                states = np.concatenate([to_numpy(one.hidden[:, -1]) for one in outputs])
            self._candidates = list(zip(branches, states, strict=True))
            return logits, states.copy()

    def take(self, index: int) -> None:
        """Append that candidate of the last ``look_ahead``, which no other call may have followed."""
        with self._model.session():
            self._check_open()
            if not 0 <= index < len(self._candidates):
                raise PromptError(f"there is no candidate {index}; {len(self._candidates)} were looked at")
            branch, states = self._candidates[index]
            self._hold(branch._held, branch._row)
            before = len(self._tokens)
            self._tokens.append(branch._tokens[-1])
            self._note(before, states[np.newaxis])
            self._candidates = []

    def rollback(self, n: int) -> None:
        """Keep the first ``n`` tokens and their hidden states."""
        super().rollback(n)
        self._n_states = min(self._n_states, n)

    def fork(self) -> HiddenTorchEngine:
        """Return an independent engine with the same tokens and hidden states."""
        child = self._branch(HiddenTorchEngine)
        child._states, child._n_states = self.hidden.copy(), self._n_states
        return child

    def close(self) -> None:
        """Forget everything; see TorchEngine."""
        super().close()
        self._states, self._n_states = self._states[:0], 0

    def _note(self, before: int, states: NDArray[np.float32]) -> None:
        """Remember the hidden states of the tokens from ``before`` on, if all earlier ones are known."""
        if self._n_states < before:
            return
        n = before + len(states)
        if n > len(self._states):
            grown = np.empty((max(n, 2 * len(self._states), 64), states.shape[1]), dtype=np.float32)
            if before:
                grown[:before] = self._states[:before]
            self._states = grown
        self._states[before:n] = states
        self._n_states = n
