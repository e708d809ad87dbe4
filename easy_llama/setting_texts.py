"""The fields of SamplerSettings as a person types and reads them: on the command line and in the console.

``value_from_text`` reads what ``text_of_value`` writes.
"""

from __future__ import annotations

import json
from typing import Any

from .errors import SettingsError
from .setting_checks import INTEGERS, NUMBERS

__all__ = ["HELP", "kind_of", "text_of_value", "value_from_text"]

HELP = {
    "max_len_tokens": "Longest generation in tokens; below 1 is unlimited.",
    "temp": "Temperature; 0 always takes the likeliest token.",
    "top_p": "Nucleus sampling: keep this much probability.",
    "min_p": "Keep tokens at least this likely compared with the likeliest.",
    "frequency_penalty": "Penalty for each occurrence.",
    "presence_penalty": "Penalty for having occurred.",
    "repeat_penalty": "Divide the logits of tokens that occurred.",
    "top_k": "Keep the k likeliest tokens.",
    "seed": "Seed of the draws; off draws one.",
    "penalty_last_n": "How many of the last tokens the penalties look at.",
    "typical_p": "Keep the typically surprising tokens up to this probability; 1 is off.",
    "top_n_sigma": "Keep logits within this many standard deviations of the highest.",
    "xtc_probability": "How often XTC removes the likeliest tokens; 0 is off.",
    "xtc_threshold": "Probability from which on XTC removes all tokens but the last.",
    "dry_multiplier": "Strength of DRY, the penalty on lengthening a repetition; 0 is off.",
    "dry_base": "DRY's penalty grows by this factor with every token.",
    "dry_allowed_length": "Repetitions below this length are free.",
    "dry_penalty_last_n": "How many of the last tokens DRY looks at.",
    "dry_sequence_breakers": "Texts that no repetition reaches across, as a JSON list.",
    "dynatemp_range": "Move the temperature by up to this with the entropy; 0 is off.",
    "dynatemp_exponent": "How the temperature moves; above 1 it stays low for longer.",
    "mirostat": "Hold the surprise at a target: 1 or 2, the version; 0 is off.",
    "mirostat_tau": "The surprise that mirostat aims at, in bits.",
    "mirostat_eta": "How fast mirostat corrects itself.",
    "adaptive_target": "Prefer tokens of about this probability.",
    "adaptive_decay": "How long the adaptive target remembers; 0.9 is about 10 tokens.",
    "logit_bias": 'Added to logits: {"12": -1.5} by id, {"yes": 2} or [["12", 2]] by text; -Infinity bans.',
    "grammar": "GBNF that the text must follow.",
    "json_schema": "JSON schema that the text must follow.",
    "penalty_alpha": "Contrastive search over top-k candidates with this alpha.",
    "num_beams": "Beam search with that many beams; 1 is off.",
    "length_penalty": "Of beam search: above 0 favours longer texts.",
    "early_stopping": "Of beam search: end at the first texts that are complete; never proves the best.",
}
"""A line about each field."""

_JSON = ("dry_sequence_breakers", "logit_bias", "json_schema")
_FLAGS: dict[str, bool | str] = {"true": True, "on": True, "false": False, "off": False, "never": "never"}


def kind_of(name: str) -> str:
    """Return what a field holds, in words: "an integer", "a number", "JSON", "a text" or the choices."""
    if name in INTEGERS or name in NUMBERS:
        return "an integer" if name in INTEGERS else "a number"
    if name == "early_stopping":
        return "true, false or never"
    return "JSON" if name in _JSON else "a text"


def value_from_text(name: str, text: str) -> Any:
    """Return the value that ``text`` gives the field ``name``, not yet checked; ``off`` is None.

    Raises SettingsError where it is not of the field's kind.
    """
    word = text.strip().lower()
    if name == "early_stopping" and word in _FLAGS:
        return _FLAGS[word]
    if word in ("off", "none"):
        return None
    try:
        if name in INTEGERS:
            return int(text)
        if name in NUMBERS:
            return float(text)
        if name in _JSON:
            return _by_id(json.loads(text)) if name == "logit_bias" else json.loads(text)
    except (ValueError, RecursionError) as error:
        why = f" ({error})" if name in _JSON else ""
        raise SettingsError(f"{name} must be {kind_of(name)} or off; got {text!r}{why}") from None
    return text


def text_of_value(value: Any) -> str:
    """Return a field's value as text."""
    if value is None or value == ():
        return "off"
    if isinstance(value, (bool, tuple, list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _by_id(biases: Any) -> Any:
    """JSON has no integers as keys: keys of digits are ids, as in OpenAI's API. Pairs stay as they are."""
    if isinstance(biases, dict):
        return [(int(key) if key.isdecimal() else key, bias) for key, bias in biases.items()]
    return biases
