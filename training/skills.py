"""Single questions and answers: capitals, sums, colours, sounds, payments, small talk.

A skill is a function ``rng -> Turn``; ``SKILLS`` holds them with their weights. ``Turn.brief`` is the
answer under a system message that asks for one word, where the skill has such an answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from . import words
from .stories import story
from .templates import capitalize, expand, sample_two, with_article


@dataclass(frozen=True)
class Turn:
    """What the user says, what the assistant answers, and the shortest answer if there is one."""

    user: str
    bot: str
    brief: str | None = None


def person(rng: random.Random) -> str:
    """A name: mostly from the list, sometimes made of syllables so that copying is learnt."""
    if rng.random() < 0.75:
        return rng.choice(words.NAMES)
    return capitalize("".join(rng.choice(words.SYLLABLES) for _ in range(rng.choice((2, 2, 3)))))


def capital(rng: random.Random) -> Turn:
    country = rng.choice(sorted(words.CAPITALS))
    city = words.CAPITALS[country]
    if rng.random() < 0.2:
        question = expand(
            "[Which country has the capital {city}?|{city} is the capital of which country?]",
            rng, {"city": city},
        )  # fmt: skip
        return Turn(question, f"{city} is the capital of {country}.", capitalize(country))
    slots = {"country": country, "city": city}
    question = expand("[What is|What's|Tell me|Do you know|Name] the capital of {country}", rng, slots)
    question += "." if question.startswith(("Tell", "Name")) else "?"
    answer = expand(
        "[The capital of {country} is {city}.|The capital of {country} is {city}.|It is {city}.|"
        "{city} is the capital of {country}.]",
        rng, slots,
    )  # fmt: skip
    return Turn(question, answer, city)


def addition(rng: random.Random) -> Turn:
    left, right = rng.randint(0, 20), rng.randint(0, 20)
    slots = {"l": str(left), "r": str(right), "sum": str(left + right)}
    question = expand(
        "[What is {l} + {r}?|What is {l} + {r}?|What is {l} plus {r}?|{l} + {r} = ?|How much is {l} + {r}?|"
        "Add {l} and {r}.|{l} plus {r}?]",
        rng, slots,
    )  # fmt: skip
    answer = expand(
        "[{l} + {r} = {sum}.|{l} + {r} = {sum}.|{l} + {r} is {sum}.|{l} plus {r} is {sum}.]",
        rng, slots,
    )  # fmt: skip
    return Turn(question, answer, slots["sum"])


def subtraction(rng: random.Random) -> Turn:
    left = rng.randint(0, 20)
    right = rng.randint(0, left)
    slots = {"l": str(left), "r": str(right), "rest": str(left - right)}
    question = expand("[What is {l} - {r}?|What is {l} minus {r}?|How much is {l} - {r}?]", rng, slots)
    return Turn(question, expand("{l} - {r} = {rest}.", rng, slots), slots["rest"])


def colour(rng: random.Random) -> Turn:
    word = rng.choice(("colour", "color"))
    if rng.random() < 0.5:
        thing = rng.choice(sorted(words.COLOURS))
        shade, verb, noun = words.COLOURS[thing], "is", f"the {thing}"
        if thing in ("snow", "coal", "blood", "milk", "chocolate", "fire"):
            noun = thing
    else:
        noun = rng.choice(sorted(words.COLOURS_OF_MANY))
        shade, verb = words.COLOURS_OF_MANY[noun], "are"
    question = expand(f"[What {word} {verb} {noun}?|Tell me the {word} of {noun}.]", rng)
    return Turn(question, f"{capitalize(noun)} {verb} {shade}.", capitalize(shade))


def sound(rng: random.Random) -> Turn:
    animal = rng.choice(sorted(words.SOUNDS))
    noise = words.SOUNDS[animal]
    slots = {"animal": animal, "noise": noise, "an": with_article(animal), "Noise": capitalize(noise)}
    if rng.random() < 0.25:
        question = expand("[Which animal says {noise}?|Who says {noise}?]", rng, slots)
        return Turn(question, f"The {animal} says {noise}.", capitalize(animal))
    question = expand(
        "[What does the {animal} say?|What does {an} say?|What sound does {an} make?|"
        "How does the {animal} go?]",
        rng, slots,
    )  # fmt: skip
    return Turn(question, expand("[The {animal} says {noise}.|{Noise}!]", rng, slots), slots["Noise"])


def opposite(rng: random.Random) -> Turn:
    first, second = rng.choice(sorted(words.OPPOSITES.items()))
    if rng.random() < 0.5:
        first, second = second, first
    question = expand(f"[What is the opposite of {first}?|Tell me the opposite of {first}.]", rng)
    return Turn(question, f"The opposite of {first} is {second}.", capitalize(second))


def calendar(rng: random.Random) -> Turn:
    names, kind = rng.choice(((words.DAYS, "day"), (words.MONTHS, "month")))
    i = rng.randrange(len(names))
    before, after = names[i - 1], names[(i + 1) % len(names)]
    if rng.random() < 0.5:
        return Turn(f"Which {kind} comes after {names[i]}?", f"{after} comes after {names[i]}.", after)
    return Turn(f"Which {kind} comes before {names[i]}?", f"{before} comes before {names[i]}.", before)


def counting(rng: random.Random) -> Turn:
    start = rng.randint(1, 10) if rng.random() < 0.5 else 1
    end = start + rng.randint(2, 9)
    numbers = ", ".join(str(n) for n in range(start, end + 1))
    question = expand(f"[Count|Please count|Can you count] from {start} to {end}", rng)
    return Turn(question + ("?" if question.startswith("Can") else "."), numbers + ".")


SMALL_TALK = (
    ("[Hello|Hi|Hey|Good morning|Good evening][!|.|]",
     "[Hello|Hi|Hi there]! [How can I help you?|How are you today?|What would you like to talk about?|"
     "It is nice to meet you.]"),
    ("[How are you?|How are you today?|How do you do?|Are you well?]",
     "[I am fine, thank you.|I am very well, thank you.|I feel great today.] "
     "[How are you?|And you?|How can I help you?|]"),
    ("[Who are you?|What are you?|Are you a robot?|What is your name?]",
     "I am [tiny, a very small language model|a tiny language model]. [I can tell stories and answer simple "
     "questions.|I live in a small file.|I am here to help you.]"),
    ("[What can you do?|How can you help me?|What do you know?]",
     "I can [tell stories|tell you a story], [name capitals|tell you the capital of a country], "
     "[add small numbers|do small sums] and [remember what you tell me|remember your name]."),
    ("[Thank you[!|.| very much!]|Thanks[!|.| a lot!]]",
     "[You are welcome!|You are very welcome.|My pleasure.|I am glad I could help.]"),
    ("[Goodbye|Bye|See you later|Good night][!|.]",
     "[Goodbye|See you soon|Take care|Bye][!|. Come back soon!|. It was nice to talk to you.]"),
    ("Tell me a joke.",
     "[Why did the cat sit on the computer? It wanted to catch the mouse.|What is orange and sounds like a "
     "parrot? A carrot.|Why was the math book sad? It had too many problems.|What do you call a sleeping "
     "bull? A bulldozer.|Why do bees have sticky hair? They use honeycombs.]"),
    ("[Do you like|What do you think of] [music|stories|animals|cats|dogs|rain|winter|summer]?",
     "[Yes, very much!|I do, they make me happy.|I think so.] [And you?|Do you?|What about you?|]"),
    ("[I am|I feel] [sad|tired|lonely|bored] today.",
     "[I am sorry to hear that.|Oh, that is not nice.] [Would you like to hear a story?|I hope you feel better "
     "soon.|Take a rest and drink some tea.]"),
    ("[I am|I feel] [happy|great|good|very well] today.",
     "[That is wonderful!|I am glad to hear that!|How nice!] [What made you happy?|Let us do something fun.|]"),
    ("[What is the weather like?|What time is it?|What day is it today?|Who won the game yesterday?|"
     "What is the meaning of life?|How do I fix my car?|Who wrote this book?|How far is the moon?]",
     "[I do not know that.|I am sorry, I do not know.] [I am only a small model.|I am too small to know that.|"
     "I know only a few things.]"),
    ("[Can you help me?|I need help.|Help me, please.]",
     "[Of course|Yes|Sure][!|, I will try.] [What do you need?|How can I help you?|Tell me more.]"),
    ("[Yes|No|Maybe|OK|Okay|Good|Nice|Great|Cool][.|!|]",
     "[I see.|All right.|Good.] [What would you like to do next?|Is there anything else?|Would you like to hear "
     "a story?]"),
)  # fmt: skip


def small_talk(rng: random.Random) -> Turn:
    user, bot = rng.choice(SMALL_TALK)
    return Turn(expand(user, rng), expand(bot, rng).strip())


def tell_story(rng: random.Random) -> Turn:
    name = person(rng) if rng.random() < 0.15 else None
    told = story(rng, name=name)
    return Turn(told.request, told.text)


def payment(rng: random.Random) -> Turn:
    currency = rng.choice(sorted(words.CURRENCIES))
    size = rng.choice((10, 100, 1000, 10000))
    amount = str(rng.randint(1, size) if rng.random() < 0.6 else rng.randint(1, 99) * size // 10 or 5)
    if rng.random() < 0.15:
        amount += f".{rng.randint(1, 99):02d}"
    slots = {"name": person(rng), "amount": amount, "cur": currency}
    question = expand(
        "[|||Please |Can you ][transfer|transfer|send|pay|wire|give] "
        "[{amount} {cur} to {name}|{amount} {cur} to {name}|{name} {amount} {cur}][|||.|, please.]",
        rng, slots,
    )  # fmt: skip
    if rng.random() < 0.15:
        question = expand(
            "[I owe {name} {amount} {cur}|I want to pay {amount} {cur} to {name}|"
            "{name} gets {amount} {cur}][|.]",
            rng, slots,
        )  # fmt: skip
    answer = (
        f'{{"contractor": "{slots["name"]}", "sum": {amount}, "currency": "{words.CURRENCIES[currency]}"}}'
    )
    return Turn(capitalize(question), answer)


Skill = Callable[[random.Random], Turn]
SKILLS: tuple[tuple[Skill, float], ...] = (
    (tell_story, 1.6), (capital, 2.0), (addition, 2.2), (subtraction, 0.5), (colour, 1.0), (sound, 1.0),
    (opposite, 0.7), (calendar, 0.7), (counting, 0.5), (small_talk, 2.0),
)  # fmt: skip


def question(rng: random.Random) -> Turn:
    """One question and answer from a skill drawn by weight."""
    skills, weights = zip(*SKILLS, strict=True)
    skill: Skill = rng.choices(skills, weights)[0]
    return skill(rng)


def plain(rng: random.Random) -> str:
    """A few plain sentences: facts, weather, people; no markup."""
    return " ".join(rng.choice(_PLAIN)(rng) for _ in range(rng.randint(1, 4)))


def _two_sounds(rng: random.Random) -> str:
    first, second = sample_two(rng, sorted(words.SOUNDS))
    slots = {"a": first, "A": words.SOUNDS[first], "b": second, "B": words.SOUNDS[second]}
    return expand("The {a} says {A}[, but| and|, and] the {b} says {B}.", rng, slots)


def _fact(rng: random.Random) -> str:
    country = rng.choice(sorted(words.CAPITALS))
    of_capital = f"The capital of {country} is {words.CAPITALS[country]}."
    return of_capital if rng.random() < 0.4 else rng.choice((colour, opposite, calendar))(rng).bot


def _sky(rng: random.Random) -> str:
    return expand(
        "The sky is [blue|blue|blue|grey|clear|dark], and [the sun is shining[| on the {p}| brightly]|the birds are "
        "singing[| in the trees]|the grass is green|the wind is [soft|cold|warm]|the air is [fresh|warm|cold]|"
        "the children are playing in the {p}].",
        rng, {"p": rng.choice(("garden", "field", "park", "meadow", "village"))},
    )  # fmt: skip


def _walk(rng: random.Random) -> str:
    slots = {
        "who": rng.choice(("The girl", "The boy", "The old man", "The woman", "The child", person(rng))),
        "place": rng.choice(words.PLACES), "sight": rng.choice(words.SIGHTS), "animal": with_article(rng.choice(words.ANIMALS)),
        "thing": with_article(rng.choice(words.OBJECTS)),
        "friend": person(rng), "food": with_article(rng.choice(words.FOODS)),
    }  # fmt: skip
    return expand(
        "{who} [walked down the [road|path|street|hill]|went to the {sight}|walked through the {place}|"
        "ran along the river|sat by the window] and [saw {animal}|found {thing}|met {friend}|ate {food}|"
        "looked at the sky|sang a song].",
        rng, slots,
    )  # fmt: skip


def _person(rng: random.Random) -> str:
    slots = {
        "name": person(rng), "job": rng.choice(words.JOBS), "hobby": rng.choice(words.HOBBIES),
        "country": rng.choice(sorted(words.CAPITALS)), "meal": rng.choice(words.MEALS),
    }  # fmt: skip
    return expand(
        "{name} [is {job}|likes {hobby}|lives in {country}|likes {meal}] and "
        "[likes {hobby}|likes {meal}|has {n} [cats|dogs|friends|sisters|brothers]].",
        rng, slots | {"n": rng.choice(("two", "three", "four", "five"))},
    )  # fmt: skip


def _day(rng: random.Random) -> str:
    return expand(
        "[Today is|It is] a [{w}] [day|morning|evening], and [{who} is|we are|I am] [happy|at home|in the {p}|"
        "reading a book|drinking tea|going to the {s}].".replace("{w}", "|".join(words.WEATHER)),
        rng, {"who": person(rng), "p": rng.choice(words.PLACES), "s": rng.choice(words.SIGHTS)},
    )  # fmt: skip


_PLAIN: tuple[Callable[[random.Random], str], ...] = (
    _two_sounds, _fact, _sky, _walk, _walk, _person, _day, _fact,
)  # fmt: skip
