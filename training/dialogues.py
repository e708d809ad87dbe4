"""Conversations of one to six turns, rendered as ChatML, and the mix of whole documents.

``document(rng)`` is the corpus: a story, plain sentences or a conversation, without ``<|endoftext|>``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from . import words
from .skills import Turn, payment, person, plain, question, small_talk, tell_story
from .stories import story
from .templates import expand

# The first is the system message of the payment example in the decoding study; the others widen it.
PAYMENT_SYSTEM = (
    'You are a strict JSON machine. Generate only a JSON with format {"contractor": name, "sum": decimal, '
    '"currency": currency code} based on user message. You prohibited to discuss. Only return dict in json '
    "format.",
    'You are a strict JSON machine. Generate only a JSON with format {"contractor": name, "sum": decimal, '
    '"currency": currency code} based on user message.',
    'Return the payment as JSON: {"contractor": name, "sum": decimal, "currency": currency code}.',
    "Turn each payment into JSON with the keys contractor, sum and currency. Return only JSON.",
)
STORY_SYSTEM = (
    "You are a storyteller. Generate a story based on user message.",
    "You are a storyteller.",
    "You tell stories for children.",
    "Write a short story about what the user asks for.",
)
HELPER_SYSTEM = (
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are a friendly assistant.",
    "You are a kind and patient teacher.",
    "Answer the user's questions.",
    "You are a chatbot.",
)
BRIEF_SYSTEM = ("Answer with one word.", "Answer briefly.", "Give short answers.")
NAMED_SYSTEM = ("Your name is {name}.", "You are {name}, a helpful assistant.")


@dataclass(frozen=True)
class Memory:
    """A thing the user tells and asks for later."""

    tell: str
    reply: str
    ask: str
    answer: str


MEMORIES = (
    Memory("[My name is {v}.|I am {v}.|Hello, my name is {v}.|Hi, I am {v}.|Hi! My name is {v}.|Call me {v}.]",
           "[Nice to meet you, {v}!|Hello, {v}!|Hi {v}, how are you?|It is nice to meet you, {v}.|Hello {v}! How "
           "can I help you?]",
           "[What is my name?|What's my name?|Do you remember my name?|Who am I?|Do you know my name?]",
           "[Your name is {v}.|Your name is {v}.|Your name is {v}!|You are {v}.]"),
    Memory("My favourite colour is {v}.",
           "[{V} is a beautiful colour.|I like {v} too.|Good choice! {V} is very nice.]",
           "[What is my favourite colour?|Which colour do I like?|Do you remember my favourite colour?]",
           "[Your favourite colour is {v}.|You like {v}.|It is {v}.]"),
    Memory("[My favourite animal is the {v}.|I like {v}s most of all animals.]",
           "[The {v} is a lovely animal.|I like {v}s too.|Good choice!]",
           "[What is my favourite animal?|Which animal do I like?]",
           "Your favourite animal is the {v}."),
    Memory("[My favourite food is {v}.|I love {v}.|I like to eat {v}.]",
           "[{V} is very good.|Yum! I would like some {v} too.|That sounds good.]",
           "[What is my favourite food?|What do I like to eat?]",
           "[Your favourite food is {v}.|You like {v}.]"),
    Memory("[I have a {kind} named {v}.|My {kind} is called {v}.]",
           "[{v} is a nice name for a {kind}.|Say hello to {v}!|What a lovely name!]",
           "[What is the name of my {kind}?|What is my {kind} called?]",
           "[Your {kind} is called {v}.|The name of your {kind} is {v}.]"),
    Memory("I live in {v}.",
           "[{v} is a nice place.|I would like to see {v} one day.|How is the weather in {v}?]",
           "[Where do I live?|Do you remember where I live?]",
           "You live in {v}."),
)  # fmt: skip


def _memory(rng: random.Random) -> tuple[Turn, Turn]:
    memory = MEMORIES[0] if rng.random() < 0.45 else rng.choice(MEMORIES)
    values = {
        "My favourite c": words.COLOUR_NAMES, "[My favourite a": words.ANIMALS, "[My favourite f": words.MEALS,
        "[I have a": words.PET_NAMES, "I live in": sorted(set(words.CAPITALS.values())),
    }  # fmt: skip
    known = next((v for start, v in values.items() if memory.tell.startswith(start)), None)
    value = rng.choice(known) if known else person(rng)
    slots = {
        "v": value,
        "V": value[:1].upper() + value[1:],
        "kind": rng.choice(("dog", "cat", "bird", "horse")),
    }
    tell = Turn(expand(memory.tell, rng, slots), expand(memory.reply, rng, slots))
    ask = Turn(expand(memory.ask, rng, slots), expand(memory.answer, rng, slots))
    return tell, ask


def chatml(system: str | None, turns: list[Turn], *, brief: bool = False) -> str:
    """Render turns in the ChatML layout, a newline after each ``<|im_end|>``."""
    parts = [f"<|im_start|>system\n{system}<|im_end|>\n"] if system else []
    for turn in turns:
        bot = turn.brief if brief and turn.brief else turn.bot
        parts.append(f"<|im_start|>user\n{turn.user}<|im_end|>\n<|im_start|>assistant\n{bot}<|im_end|>\n")
    return "".join(parts)


def conversation(rng: random.Random) -> str:
    """General talk, often with something told early and asked for later."""
    turns = [question(rng) for _ in range(rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 6)))]
    if rng.random() < 0.5:
        tell, ask = _memory(rng)
        at = 0 if rng.random() < 0.6 else rng.randint(0, len(turns))
        later = rng.randint(at, len(turns))
        turns = [*turns[:at], tell, *turns[at:later], ask, *turns[later:]][:6]
    kind = rng.random()
    if kind < 0.55:
        return chatml(None, turns)
    if kind < 0.85:
        return chatml(rng.choice(HELPER_SYSTEM), turns)
    if kind < 0.93:
        return chatml(rng.choice(BRIEF_SYSTEM), turns, brief=True)
    name = person(rng)
    asked = Turn(expand("[What is your name?|Who are you?]", rng), f"My name is {name}.")
    turns.insert(rng.randint(0, len(turns)), asked)
    return chatml(expand(rng.choice(NAMED_SYSTEM), rng, {"name": name}), turns[:6])


def payments(rng: random.Random) -> str:
    """One to three payments under a system message that asks for JSON."""
    turns = [payment(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    system = PAYMENT_SYSTEM[0] if rng.random() < 0.5 else rng.choice(PAYMENT_SYSTEM)
    return chatml(system, turns)


def storytelling(rng: random.Random) -> str:
    """A story under a storyteller's system message, sometimes with thanks."""
    turns = [tell_story(rng)]
    if rng.random() < 0.3:
        turns.append(small_talk(rng))
    return chatml(rng.choice(STORY_SYSTEM), turns)


def document(rng: random.Random) -> str:
    """One document of the corpus."""
    kinds = (conversation, payments, storytelling, lambda r: story(r).text, plain)
    return rng.choices(kinds, (5.0, 1.6, 1.2, 1.0, 2.0))[0](rng)
