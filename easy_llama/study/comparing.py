"""``compare``: one prompt, several decoding methods, an Outcome for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date

from ..caller import helpful, warn
from ..checks import check_integer, check_token
from ..engine import ChatProvider, Provider, reserved
from ..errors import PromptError, SettingsError
from ..prompt import check_provider, prompt_tokens
from ..samplers.settings import SamplerSettings
from ..text.pieces import decoded
from .methods import Method, Methods, methods_of
from .results import Study
from .writing import Task, write

__all__ = ["compare"]


@helpful()
def compare(
    provider: Provider,
    prompt: str | Sequence[int],
    methods: Methods = None,
    *,
    max_len_tokens: int = 1000,
    seed: int | None = 0,
    end_tokens: Iterable[int] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Study:
    """Let several decoding methods continue ``prompt`` and return their texts with what can be measured.

    - ``provider``: a Model, a LlamacppProvider, a TransformersProvider
    - ``prompt``: text or token ids; a prompt format is not added
    - ``methods``: names, of which each stands for a family: ``"greedy"``, ``"sampling"``, ``"temperature"``
      (0.001, 0.1, 0.5, 1, 10), ``"nucleus"`` (0.15, 0.5, 0.9 at temperatures 0.5 and 1), ``"beam"``
      (2, 4, 8 beams with length penalties 0.5, 1, 1.5, early-stopped), ``"contrastive"``. Or a dictionary
      {label: SamplerSettings}. None is all names but the last
    - ``max_len_tokens``: longest text, at least 1; the context may end sooner
    - ``seed``: of all draws, 0 to 4,294,967,294; None draws one. Settings with a seed keep their own
    - ``end_tokens``: ids that end a text beside the model's own, such as ``[151645]``
    - ``progress``: called with the label of each method before it begins

    Methods by name that the engine has no room for are left out with a warning. Raises SettingsError,
    PromptError and ExceededContextLengthException before anything is generated. Source: the methods and
    their values are those of the study in ``examples/decoding_study.py``.
    """
    check_provider(provider)
    seed = SamplerSettings(seed=seed).real_seed()
    limit = check_integer("max_len_tokens", max_len_tokens, 1)
    chosen = methods_of(methods, provider)
    tokens = prompt_tokens(provider, prompt)
    ends = _ends(provider, end_tokens)
    chosen = _possible(chosen, provider, len(tokens), by_name=not isinstance(methods, Mapping))
    outcomes = []
    with reserved(provider.engine):
        for method in chosen:
            if progress is not None:
                progress(method.label)
            outcomes.append(write(provider, method, Task(tokens, ends, limit, seed)))
    text = prompt if isinstance(prompt, str) else decoded(provider.tokenizer, tokens)
    today = date.today().isoformat()
    return Study(text, _name(provider), len(tokens), limit, tuple(outcomes), seed, today)


def _ends(provider: Provider, end_tokens: object) -> frozenset[int]:
    """Return the tokens that end a text."""
    own = provider.tokenizer.end_tokens
    if end_tokens is None:
        return own
    if isinstance(end_tokens, (str, bytes)) or not isinstance(end_tokens, Iterable):
        raise PromptError(f"end_tokens must be a list of token ids; got {end_tokens!r}")
    return own | {check_token(token, provider.engine.n_vocab) for token in end_tokens}


def _possible(chosen: list[Method], provider: Provider, n_prompt: int, *, by_name: bool) -> list[Method]:
    """Return the methods that the engine has room for; a method that was described in full must be one."""
    refused = {
        method.label: reason for method in chosen if (reason := method.refusal(provider.engine, n_prompt))
    }
    if not refused:
        return chosen
    first, reason = next(iter(refused.items()))
    if not by_name or len(refused) == len(chosen):
        raise SettingsError(f"method {first!r} can't be used here: {reason}")
    text = f"left out: {'; '.join(refused)}. Of the first: {reason}"
    warn(text)
    return [method for method in chosen if method.label not in refused]


def _name(provider: Provider) -> str:
    """Return what the model is called, as far as the provider knows."""
    return provider.name if isinstance(provider, ChatProvider) else type(provider).__name__
