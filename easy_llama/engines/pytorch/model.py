"""TorchModel: any PyTorch model as a function from token ids to the logits of the next token.

What a model offers beyond ``model(input_ids).logits`` (a cache, hidden states, masks, logits of the last
position alone) is found by its signature and one call on one token, not by its class.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import EngineError, MissingExtraError, SettingsError
from .cache import choose_rows, is_safe

if TYPE_CHECKING:
    import torch

__all__ = ["Output", "TorchModel", "end_tokens_of", "import_torch", "to_numpy"]

_CACHE_NAMES = ("past_key_values", "cache_params")
_ROW_METHODS = ("reorder_cache", "batch_select_indices")
_KEPT = "logits_to_keep"
_N_TRIED = 4  # tokens before and after the cut that the trial of a cache makes


class Output(NamedTuple):
    """``logits`` of the last position, a tensor (rows, n_vocab); ``hidden`` states, (rows, n, n_embd), and
    ``all_logits``, (rows, n, n_vocab), None where they were not asked for; the model's ``cache`` or None."""

    logits: torch.Tensor
    hidden: Any
    cache: Any
    all_logits: Any = None


class TorchModel:
    """A model with its abilities: ``n_vocab``, ``n_positions`` (None if unknown), ``has_cache``,
    ``has_hidden``, ``may_pad`` (rows of different lengths), ``row_method`` (chooses rows of the cache, None
    where none does). ``n_evaluated`` counts the tokens put through it, rows times tokens.

    Modules are in evaluation mode during calls; when the last user is gone they are as they were.
    """

    def __init__(self, model: Any, device: Any = None) -> None:
        self._torch = import_torch()
        if not callable(model):
            raise SettingsError(f"model must be callable with input_ids; got {type(model).__name__}")
        self._model = model
        self._lock = threading.RLock()
        self._modules = _modules_of(model)
        self._trained: list[Any] = []  # the submodules to put back into training mode
        self._n_users = 0
        self.n_evaluated = 0
        self.n_positions: int | None = _config(model, "max_position_embeddings")
        self.device = _device_of(model, self._modules, device)
        self._find_arguments()
        try:
            with self.session():
                self._try()
        except BaseException:
            self._put_back()
            raise
        self.n_evaluated = 0

    # --- calls -----------------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold the lock and run without gradients; everything that touches tensors happens inside."""
        with self._lock, self._torch.inference_mode():
            yield

    def run(
        self,
        rows: Sequence[Sequence[int]],
        cache: Any = None,
        *,
        hidden: bool = False,
        every: bool = False,
        places: int = 0,
        pads: Sequence[int] = (),
    ) -> Output:
        """Put the tokens through the model, after those in ``cache``, and return what it says.

        ``every`` asks for the logits of every position. ``places`` is the length of the cache; where rows
        begin with padding, ``pads`` says with how much.
        """
        if cache is None or len(rows[0]) == 1 or self._continues_at_once:
            return self._run(rows, cache, hidden, every, places, pads)
        outputs = []
        for i in range(len(rows[0])):  # such a model would forget its state
            row = [row[i : i + 1] for row in rows]
            outputs.append(self._run(row, cache, hidden, every, places + i, pads))
            cache = outputs[-1].cache
        joined = outputs[-1]
        if hidden:
            joined = joined._replace(hidden=self._torch.cat([one.hidden for one in outputs], dim=1))
        if every:
            joined = joined._replace(all_logits=self._torch.cat([one.all_logits for one in outputs], dim=1))
        return joined

    def _run(
        self,
        rows: Sequence[Sequence[int]],
        cache: Any,
        hidden: bool,
        every: bool,
        places: int,
        pads: Sequence[int],
    ) -> Output:
        arguments = dict(self._arguments)
        if every and _KEPT in arguments:
            arguments[_KEPT] = 0  # all of them
        if cache is not None:
            arguments[self._cache_name] = cache
        if hidden:
            arguments["output_hidden_states"] = True
        if any(pads):
            starts = self._torch.tensor(pads, device=self.device)[:, None]
            numbers = self._torch.arange(places + len(rows[0]), device=self.device)[None]
            arguments["attention_mask"] = (numbers >= starts).long()
            arguments["position_ids"] = numbers[:, places:] - starts
        output = self._call(rows, arguments)
        self.n_evaluated += len(rows) * len(rows[0])
        states = output.hidden_states[-1] if hidden else None
        kept = getattr(output, self._cache_name, None) if self.has_cache else None
        return Output(output.logits[:, -1], states, kept, output.logits if every else None)

    def _call(self, rows: Sequence[Sequence[int]], arguments: dict[str, Any]) -> Any:
        for module in self._modules:
            if module.training:
                self._trained += [part for part in module.modules() if part.training]
                module.eval()
        ids = self._torch.tensor(rows, dtype=self._torch.int64, device=self.device)
        if self._by_keyword:
            return self._model(input_ids=ids, **arguments)
        return self._model(ids, **arguments)

    # --- what it offers --------------------------------------------------------------------------------

    def _find_arguments(self) -> None:
        """Read the signature: which optional arguments to try."""
        names, any_name = _parameters(self._model)
        # **kwargs promises nothing, unless a configuration shows that a transformers model stands behind it
        any_name = any_name and _config(self._model, "use_cache") is not None
        self._by_keyword = "input_ids" in names
        self._cache_name = next((name for name in _CACHE_NAMES if name in names), _CACHE_NAMES[0])
        self.may_pad = {"attention_mask", "position_ids"} <= set(names)
        self.has_cache = any_name or self._cache_name in names
        self._arguments: dict[str, Any] = {}
        if any_name or "use_cache" in names:
            self._arguments["use_cache"] = self.has_cache
        if any_name or _KEPT in names:
            self._arguments[_KEPT] = 1  # all other positions' logits would be thrown away
        self.has_hidden = any_name or "output_hidden_states" in names

    def _try(self) -> None:
        """Call the model on one token and look at what it returns."""
        output = self._first_output()
        logits: Any = getattr(output, "logits", None)
        if getattr(logits, "ndim", None) != 3:
            shape = f" with .logits of shape {tuple(logits.shape)}" if hasattr(logits, "shape") else ""
            raise EngineError(
                "the model must return an object whose .logits is a tensor (batch, n, n_vocab); it returned "
                f"{type(output).__name__}{shape}; wrap the model so that it does (transformers models: "
                "config.return_dict=True)"
            )
        self.n_vocab: int = logits.shape[-1]
        states = getattr(output, "hidden_states", None)
        self.has_hidden = (
            self.has_hidden and isinstance(states, (list, tuple)) and getattr(states[-1], "ndim", None) == 3
        )
        cache = getattr(output, self._cache_name, None) if self.has_cache else None
        self.has_cache = cache is not None
        if not self.has_cache and "use_cache" in self._arguments:
            self._arguments["use_cache"] = False
        self._try_cache(cache)

    def _first_output(self) -> Any:
        extra = {"output_hidden_states": True} if self.has_hidden else {}
        try:
            return self._call([[0]], self._arguments | extra)
        except TypeError:
            if not self._arguments and not extra:
                raise
            self._arguments, self.has_cache, self.has_hidden = {}, False, False  # it takes less than it says
            return self._call([[0]], {})
        except RuntimeError as error:
            if "device" not in str(error):
                raise
            raise EngineError(
                f"the model does not take input_ids on the device {self.device} ({error}); "
                "give the device that all of it is on as device="
            ) from error

    def _try_cache(self, cache: Any) -> None:
        """Find out what can be done with the cache; one of keys and values only needs no trial."""
        self._continues_at_once = True
        self.row_method: str | None = None
        if cache is None:
            return
        if is_safe(cache):
            self.row_method = _ROW_METHODS[0]
            return
        n = min(_N_TRIED, (self.n_positions or _N_TRIED * 2) // 2)
        tokens = [i % self.n_vocab for i in range(2 * n)]
        self._continues_at_once = self._is_right(tokens[:n], [0], tokens[n:])
        for method in _ROW_METHODS:
            if self._is_right(tokens[:n], [1, 0, 1], tokens[n : n + 1], method):
                self.row_method = method
                return

    def _is_right(
        self, tokens: list[int], rows: list[int], following: list[int], row_method: str | None = None
    ) -> bool:
        """Whether ``following`` after some rows of a cache gives what the whole sequences give.

        The cache's rows are ``tokens`` and ``tokens`` backwards.
        """
        before = [tokens, tokens[::-1]][: max(rows) + 1]
        try:
            output = self._run([before[row] + following for row in rows], None, False, False, 0, ())
            whole = output.logits.double()
            cache = self._run(before, None, False, False, 0, ()).cache
            if row_method is not None:
                choose_rows(cache, rows, row_method)
            output = self._run([following] * len(rows), cache, False, False, len(tokens), ())
            apart: float = (output.logits.double() - whole).abs().max().item()
        except Exception:  # whatever a foreign model or cache raises, it says no
            return False
        spread: float = (whole.max() - whole.min()).item()
        rounding: float = self._torch.finfo(output.logits.dtype).eps ** 0.5
        return apart <= rounding * spread

    # --- users -----------------------------------------------------------------------------------------

    def user(self, engine: object) -> weakref.finalize[..., Any]:
        """Count ``engine`` as a user, until the function returned is called or the engine is gone."""
        self._n_users += 1
        return weakref.finalize(engine, self._release)

    def _release(self) -> None:
        self._n_users -= 1
        if not self._n_users:
            self._put_back()

    def _put_back(self) -> None:
        for module in self._trained:
            module.training = True
        self._trained = []


def end_tokens_of(model: Any) -> frozenset[int]:
    """Return the end tokens that ``model.config`` and ``model.generation_config`` name in eos_token_id.

    Each may be an int, a list or None; a model that names none ends at the limit only.
    """
    found: set[int] = set()
    for holder in (getattr(model, "config", None), getattr(model, "generation_config", None)):
        named = getattr(holder, "eos_token_id", None)
        for token in named if isinstance(named, (list, tuple, set)) else [named]:
            if token is not None:
                found.add(int(token))
    return frozenset(found)


def import_torch() -> Any:
    """Return the module torch; MissingExtraError where it is not installed."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError(
            "PyTorch models need torch, which is not installed: pip install torch transformers"
        ) from None
    return torch


def to_numpy(tensor: torch.Tensor) -> NDArray[np.float32]:
    """Return a tensor of any device and dtype as float32 in numpy, without a copy where it is that."""
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array


def _config(model: Any, name: str) -> Any:
    """Return a value of the model's configuration, or of its text part; None where there is none."""
    config = getattr(model, "config", None)
    value = getattr(config, name, None)
    return getattr(getattr(config, "text_config", None), name, None) if value is None else value


def _modules_of(model: Any) -> list[Any]:
    """The torch modules that a call runs: the model itself, or what a wrapper has as attributes."""
    torch = import_torch()
    candidates = [model, *getattr(model, "__dict__", {}).values()]
    modules = [one for one in candidates if isinstance(one, torch.nn.Module)]
    return modules[:1] if isinstance(model, torch.nn.Module) else modules


def _device_of(model: Any, modules: Sequence[Any], wanted: Any) -> torch.device:
    """Return the device of the model; where another one is wanted, move the model there first."""
    torch = import_torch()
    if wanted is not None:
        try:
            device = torch.device(wanted)
        except (RuntimeError, TypeError) as error:
            raise SettingsError(
                f'device must be one of torch, such as "cpu" or "cuda"; got {wanted!r} ({error})'
            ) from None
        try:
            for module in modules:
                module.to(device)
        except (AssertionError, NotImplementedError) as error:  # torch without CUDA; weights not loaded yet
            raise SettingsError(f"the model can't be moved to {device}: {error}") from error
        return device
    own = getattr(model, "device", None)
    if isinstance(own, torch.device):
        return own
    for module in modules:
        for parameter in module.parameters():
            return parameter.device
    return torch.device("cpu")


def _parameters(model: Any) -> tuple[list[str], bool]:
    """Return the parameters that can be given by name, and whether any others can."""
    function = model.forward if isinstance(model, import_torch().nn.Module) else model
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # functions written in C tell nothing
        return [], False
    kinds = inspect.Parameter
    names = [one.name for one in parameters if one.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    return names, any(one.kind is kinds.VAR_KEYWORD for one in parameters)
