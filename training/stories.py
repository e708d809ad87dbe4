"""Stories about animals: a hero, a wish or a problem, a friend, an end.

``story(rng)`` returns the request a user would make and the story; all choices come from ``rng``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from . import words
from .templates import capitalize, expand, with_article

OPENINGS = (
    "[Once upon a time,|Long ago,|Once,] there was {a_hero} named {name}. {name} lived in "
    "{home} near the {place}.",
    "[Once upon a time,|Once,|A long time ago,] {a_hero} named {name} lived [near|by|in] the {place}.",
    "{name} was {a_hero} who lived [near|by|in] the {place}.",
    "In the {place} there lived {a_hero} [named|called] {name}.",
    "[Once upon a time,|One day,] in a [big|quiet|sunny] {place}, {a_hero} named {name} woke up early.",
    "There [once|] was {a_hero} [called|named] {name}, who loved [the sun|the rain|stories|songs|long walks].",
)

# Each plot is a list of beats. The asked-for trait must not be contradicted, so no beat names another.
PLOTS: dict[str, tuple[str, ...]] = {
    "lost": (
        "[One {weather} morning|One day|One {weather} afternoon], {name} [lost|could not find] {poss} "
        "{object}. {name} [looked under the bed and behind the door|looked everywhere in the {place}|"
        "searched all day], but it was [gone|not there|nowhere].",
        "{name} [felt sad|was very sad|began to cry|sat down and sighed]. \"[Where is my {object}?|"
        'Who has seen my {object}?|I miss my {object}!]" {he} [said|asked|whispered].',
        "[Then|Soon] {a_friend} [named|called] {friend} came by. \"[I will help you|Let us look together|"
        'Do not worry, we will find it]," said {friend}. [They looked near the {place2}.|They walked to '
        "the {place2} and looked again.|Together they looked behind every tree.]",
        "[At last|In the evening|After a while], {friend} saw something [shine|move] [under a leaf|behind a "
        'rock|in the grass|near the water]. It was the {object}! "[Thank you, {friend}|You found it]!" '
        "said {name}.",
        "[From that day on, {name} and {friend} were best friends.|{name} shared {poss} {food} with "
        "{friend}, and they played until night.|{name} learned that a friend makes every search easier.|"
        "That night {name} fell asleep with a smile.]",
    ),
    "fear": (
        "{name} was [very |]afraid of {fear}. [The other animals laughed, and {name} felt sad.|"
        "{name} never told anyone about it.|Every day {he} wished to be brave.]",
        "[One {weather} day|One evening|One morning], {a_friend} [named|called] {friend} [was in trouble|"
        'called for help]. "[Help|Help me], {name}!" cried {friend}. To help, {name} had to {task}.',
        "{name}'s heart beat fast. [{He} took a deep breath.|{He} closed {poss} eyes and counted to three.|"
        '{He} thought of {poss} friend.] "I can do it," [said|whispered] {name}.',
        "[Step by step|Slowly|Bit by bit], {name} went on [and did not look back|and did not stop]. "
        "[Soon|At last] {friend} was [safe|safe and happy]. \"[You are the bravest {animal} I know|"
        'You saved me|Thank you, {name}]!" said {friend}.',
        "[{name} was still a little afraid of {fear}, but now {he} knew {he} could be brave.|From that "
        "day on, {name} was not afraid of {fear} anymore.|{name} smiled. Being brave means being afraid and "
        "trying anyway.]",
    ),
    "share": (
        "[One {weather} day|One morning], {name} found {a_food} [under a tree|on the path|by the river]. "
        "[It smelled very good.|It looked wonderful.|{name} was so hungry!]",
        "[Just then|Then] {a_friend} [named|called] {friend} came along. {friend} [had not eaten all day|"
        "was hungry too|looked at the {food} with big eyes].",
        "[{name} thought for a while.|At first {name} wanted to hide the {food}.|{name} looked at the {food} "
        'and then at {friend}.] "[Let us share it|Half of it is for you|There is enough for two]," said '
        "{name}.",
        "[They sat in the grass and ate together.|They ate the {food} and told each other stories.|{friend} "
        "laughed and danced, and they ate every bite.] [The {food} tasted better than any other.|It was the "
        "best meal of the year.]",
        "[The next day, {friend} brought {a_object} as a gift.|From that day on, {name} and {friend} shared "
        "everything.|{name} learned that sharing makes two hearts happy.]",
    ),
    "journey": (
        "{name} [wanted to see|dreamed of seeing] the {place2} beyond the hills. [Nobody in the {place} had "
        "ever been there.|Everyone said it was too far.|It was a long way.]",
        "[So one {weather} morning|One day], {name} packed {a_food} and {a_object} and [set off|started to "
        "walk]. [The road was long.|The wind was soft.|Birds sang in the trees.]",
        "On the way {he} met {a_friend} [named|called] {friend}. \"[Where are you going?|May I come with "
        'you?]" asked {friend}. "[To the {place2}|I want to see the {place2}]," said {name}. "[Come with '
        'me|Let us go together]!"',
        "They [walked for three days|crossed a river and climbed a hill|slept under the stars]. [When they "
        "were tired, they sang a song.|When it rained, they hid under a big leaf.] [At last|Finally] they saw "
        "the {place2}. It was [beautiful|more beautiful than any dream].",
        "[{name} and {friend} stayed until the sun went down, and then they went home.|{name} came home with "
        "many stories to tell.|{name} learned that the best part of a journey is a good friend.]",
    ),
    "storm": (
        "[One night|One evening], a big storm came to the {place}. [The wind blew and the rain fell.|The trees "
        "shook and the sky was dark.|Thunder rolled over the hills.]",
        "{name} was [safe at home|warm in bed] when {he} heard a [small voice|knock at the door]. It was "
        "{a_friend} [named|called] {friend}, [wet and cold|shaking in the rain].",
        '"[May I come in?|My home is gone|I am so cold]," said {friend}. "[Come in, come in|Of course|You can '
        'stay here]!" said {name}. {He} gave {friend} [a warm blanket|a cup of hot tea|{a_food}].',
        "They [listened to the rain|told each other stories|sang quiet songs] until the storm was over. [In "
        "the morning|When the sun came up], the {place} was [bright|fresh and green].",
        "[Together they built a new home for {friend}.|{friend} built a new home next door, and they became "
        "good friends.|\"Thank you for opening the door,\" said {friend}, and {name} smiled.]",
    ),
    "race": (
        "[Every year|One summer], the animals of the {place} held a [big|great] race. {name} wanted to [win|take "
        "part], but {he} was [not very fast|smaller than the others|a little slow].",
        "{friend}, {a_friend}, [laughed|said], \"[You will never win|I am the fastest of all|You can not beat "
        'me]!" {name} [did not answer|only smiled|said nothing and went on training].',
        "When the race began, {friend} [ran ahead|was far in front]. But then {friend} [fell over a stone|fell "
        "into a hole|stopped to sleep]. \"[Ouch|Oh no|Help]!\" [{he_friend} cried|{he_friend} said].",
        "{name} [could have won|saw the finish line], but {he} [stopped to help|turned back to help]. "
        '"[Take my hand|Let us finish together]," said {name}. [They crossed the line side by side.|They came '
        "in last, but everyone clapped.]",
        "[The animals gave both of them {a_object}.|From that day on, {friend} never laughed at anyone again.|"
        "{name} learned that kindness is better than winning.]",
    ),
    "dream": (
        "{name} had [one|a big] dream: {he} wanted to [sing|dance|paint|fly|play the drum]. [But nobody in the "
        "{place} could teach {him}.|Every day {he} tried, and every day it went wrong.]",
        "[One {weather} day|One morning], {name} met {a_friend} [named|called] {friend}. \"[Can you help me?|Can "
        'you teach me?]" asked {name}. "[Yes, but it takes time|Of course I can]," said {friend}.',
        "[They practiced every day.|Day after day they practiced by the {place2}.|{name} tried again and again.] "
        "[Sometimes it was hard|It was not easy], but {name} [did not give up|never stopped trying].",
        "[At last|In the spring|One evening], {name} stood in front of all the animals and showed what {he} had "
        "learned. [Everyone cheered.|The animals clapped and laughed with joy.|It was wonderful.]",
        '["You did it," said {friend}.|{name} had never been so happy.|{name} learned that dreams come true when '
        "you keep trying.]",
    ),
    "secret": (
        "[One {weather} day|One morning], {name} found {a_object} [under an old tree|in the grass|by the {place2}]. "
        "[It was not {poss} own.|Who had lost it?|It seemed to glow.]",
        "\"[What is this?|Whose is it?|I must find the owner,]\" [said|thought] {name}. {He} asked [the birds|the "
        "bees|the old owl] and [the fish|the ants|the mice], but nobody knew.",
        "[In the evening|Then], {name} met {a_friend} [named|called] {friend}, who was [looking for something|"
        "crying softly]. \"[I lost my {object},|Have you seen my {object}?]\" said {friend}.",
        '"[Here it is|I found it this morning|I think this is yours]!" said {name}. {friend} [jumped for joy|laughed|'
        "smiled from ear to ear]. [\"It was a gift from my mother,\" said {friend}.|]",
        "[As a thank you, {friend} gave {name} {a_food}.|They became friends and met every day by the {place2}.|"
        "{name} went home happy, because doing the right thing feels good.]",
    ),
}  # fmt: skip

ENDINGS = (
    "", "", "", " The end.", " [And they lived happily ever after.|It was a very good day.|"
    "The stars shone over the {place}.|And so the day came to an end.]",
)  # fmt: skip

REQUESTS = (
    "[Generate me|Write me|Tell me|Write|Tell|Give me] a [short |little |]story about {a_hero} named {name}.",
    "[Tell me|Write] a [short |]tale [of|about] {a_hero} [named|called] {name}.",
    "[I want|I would like|Can I have] a story about {a_hero} called {name}, please.",
    "[Can|Could] you tell me a [short |]story about {a_hero} named {name}?",
)
REQUESTS_OF_FEAR = (
    "[Tell me|Write me|Write] a [short |]tale [of|about] {a_animal} who is afraid of {fear}.",
    "[Tell me|Generate me|Give me] a [short |]story about {a_animal} who is afraid of {fear}.",
)
OPEN_REQUESTS = (
    "[Tell me|Write|Write me] a [short |]story[.|, please.]",
    "[Tell me|Write] a story about {a_animal}.",
    "[Please t|T]ell me [something nice|a bedtime story].",
)


@dataclass(frozen=True)
class Story:
    """A story and the sentence that asks for it."""

    request: str
    text: str


def _slots(rng: random.Random) -> dict[str, str]:
    animal, friend_animal = rng.sample(words.ANIMALS, 2)
    name, friend = rng.sample(words.PET_NAMES, 2)
    place, place2 = rng.choice(words.PLACES), rng.choice(words.SIGHTS)
    fear = rng.choice(sorted(words.FEARS))
    pronouns: tuple[tuple[str, str, str], ...] = (("he", "him", "his"), ("she", "her", "her"))
    he, him, poss = rng.choice(pronouns)
    hero = f"{rng.choice(words.TRAITS)} {animal}"
    thing, food = rng.choice(words.OBJECTS), rng.choice(words.FOODS)
    return {
        "animal": animal, "a_animal": with_article(animal), "a_hero": with_article(hero),
        "name": name, "friend": friend,
        "a_friend": with_article(f"{rng.choice(words.TRAITS)} {friend_animal}"),
        "place": place, "place2": place2, "home": rng.choice(("a small house", "a cosy home", "a tree")),
        "fear": fear, "task": words.FEARS[fear], "weather": rng.choice(words.WEATHER),
        "he": he, "He": capitalize(he), "him": him, "poss": poss,
        "he_friend": rng.choice(("he", "she")),
        "object": thing, "a_object": with_article(thing), "food": food, "a_food": with_article(food),
    }  # fmt: skip


def story(rng: random.Random, *, name: str | None = None) -> Story:
    """Write one story of 80 to 220 words; ``name`` sets the hero's name."""
    slots = _slots(rng)
    if name is not None:
        slots["name"] = name
    plot = rng.choice(sorted(PLOTS))
    parts = [rng.choice(OPENINGS), *PLOTS[plot]]
    text = " ".join(expand(part, rng, slots) for part in parts)
    text += expand(rng.choice(ENDINGS), rng, slots)
    requests: tuple[str, ...]
    if rng.random() < 0.25:
        requests = OPEN_REQUESTS
    else:
        requests = REQUESTS_OF_FEAR if plot == "fear" and rng.random() < 0.6 else REQUESTS
    return Story(expand(rng.choice(requests), rng, slots), " ".join(text.split()))
