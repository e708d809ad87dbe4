"""The words the corpus is made of: names, animals, places, facts. Data only."""

from __future__ import annotations

NAMES = (
    "Adam Ali Alice Amir Amy Ana Andrei Anna Anton Aria Ben Bella Bob Boris Carla Carlos Chen Clara "
    "Dana Daniel David Diana Dmitri Ella Emil Emma Erik Eva Felix Fatima Finn Fiona Frank Gina Grace "
    "Greta Hana Hannah Hans Hugo Ian Ibrahim Ida Igor Ines Ivan Jack Jane Jim Joe John Jonas Julia "
    "Kai Karl Kate Kenji Kim Klara Lara Laura Leo Lena Li Lily Lisa Liam Luca Lucy Lukas Maria Marta "
    "Mark Max Maya Mei Mia Mike Mila Mina Nadia Nick Nina Noah Nora Oleg Olga Olivia Omar Oscar Otto "
    "Pablo Paul Pavel Peter Petra Quinn Rosa Ravi Rita Robin Ruth Sam Sara Sofia Sonia Stefan Sven "
    "Tanya Tara Theo Tim Tom Toni Uma Vera Victor Viktor Wei Wendy Will Yara Yuki Yusuf Zara Zoe"
).split()

PET_NAMES = (
    "Sonic Spike Ruby Coco Bubbles Pip Tango Luna Milo Rex Daisy Biscuit Pepper Ziggy Mango Olive "
    "Shadow Sunny Snowy Ginger Waffles Pumpkin Pickle Nibbles Flash Dusty Clover Hazel Willow Bramble "
    "Tilly Fern Maple Acorn Poppy Basil Juniper Cosmo Rusty Misty Scout Buddy Teddy Toffee Honey "
    "Jasper Oreo Peanut Sparky Storm Twig Velvet Whiskers Zippy Bean Echo Figaro Gizmo Iggy Jazz"
).split()

# syllables for names that stand on no list, so that the model learns to copy and not to choose
SYLLABLES = (
    "ba be bo ka ke ko da de do fa fi go gu ha he jo ju la le li lo ma me mi mo na ne ni no pa pe po "
    "ra re ri ro sa se si so ta te ti to va ve vi wa we ya yo za ze zo ren lin mar tas vel dor kin"
).split()

ANIMALS = (
    "hedgehog fox rabbit mouse bear owl cat dog duck frog turtle squirrel deer pony lamb goat penguin "
    "elephant lion tiger monkey parrot snail bee butterfly dragon whale dolphin otter beaver badger "
    "raccoon wolf kitten puppy hamster sparrow crow donkey giraffe zebra koala panda crab lizard mole"
).split()

TRAITS = (
    "tiny little brave shy clever curious gentle happy lazy lonely proud quick quiet silly sleepy "
    "small young old kind hungry grumpy cheerful careful funny"
).split()

PLACES = "forest|meadow|garden|valley|village|field|old barn|quiet town|pine wood|park".split("|")
SIGHTS = "river|lake|beach|island|green hill|mountain|waterfall|old mill|bridge|blue sea".split("|")

FOODS = ("apple|berry|nut|carrot|cake|pie|cookie|pear|plum|honey cake|sandwich|pumpkin|pancake|cherry").split(
    "|"
)

OBJECTS = (
    "red ball|golden key|blue kite|silver bell|small boat|wooden box|warm scarf|shiny stone|old map|"
    "paper star|green hat|music box|yellow lantern|picture book|little drum|magic feather"
).split("|")

WEATHER = "sunny windy rainy snowy warm cold foggy bright stormy cloudy".split()

FEARS = {
    "heights": "climb the tall tree",
    "the dark": "walk into the dark cave",
    "water": "swim across the river",
    "thunder": "go out into the storm",
    "loud noises": "walk through the noisy market",
    "deep water": "dive into the lake",
    "the wind": "cross the windy hill",
    "strangers": "talk to someone new",
}

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "England": "London", "Ireland": "Dublin", "Scotland": "Edinburgh", "Wales": "Cardiff",
    "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Denmark": "Copenhagen",
    "Iceland": "Reykjavik", "Poland": "Warsaw", "Austria": "Vienna", "Hungary": "Budapest",
    "Greece": "Athens", "Russia": "Moscow", "Ukraine": "Kyiv", "Turkey": "Ankara",
    "Switzerland": "Bern", "Belgium": "Brussels", "Serbia": "Belgrade", "Croatia": "Zagreb",
    "Romania": "Bucharest", "Bulgaria": "Sofia", "Estonia": "Tallinn", "Latvia": "Riga",
    "Lithuania": "Vilnius", "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi",
    "South Korea": "Seoul", "Thailand": "Bangkok", "Vietnam": "Hanoi", "Indonesia": "Jakarta",
    "Nepal": "Kathmandu", "Mongolia": "Ulaanbaatar", "Iran": "Tehran", "Iraq": "Baghdad",
    "Egypt": "Cairo", "Morocco": "Rabat", "Kenya": "Nairobi", "Ghana": "Accra", "Nigeria": "Abuja",
    "Ethiopia": "Addis Ababa", "Canada": "Ottawa", "Mexico": "Mexico City", "Cuba": "Havana",
    "Brazil": "Brasilia", "Argentina": "Buenos Aires", "Chile": "Santiago", "Peru": "Lima",
    "Colombia": "Bogota", "Australia": "Canberra", "New Zealand": "Wellington",
    "the United States": "Washington", "the Netherlands": "Amsterdam", "the Philippines": "Manila",
}  # fmt: skip

SOUNDS = {
    "dog": "woof", "cat": "meow", "cow": "moo", "sheep": "baa", "duck": "quack", "pig": "oink",
    "horse": "neigh", "lion": "roar", "frog": "ribbit", "owl": "hoot", "bee": "buzz", "mouse": "squeak",
    "snake": "hiss", "rooster": "cock-a-doodle-doo", "crow": "caw", "wolf": "howl",
}  # fmt: skip

COLOURS = {
    "sky": "blue", "grass": "green", "snow": "white", "sun": "yellow", "sea": "blue", "coal": "black",
    "blood": "red", "milk": "white", "chocolate": "brown", "night": "black", "fire": "orange",
}  # fmt: skip
COLOURS_OF_MANY = {
    "bananas": "yellow", "lemons": "yellow", "cherries": "red", "strawberries": "red",
    "carrots": "orange", "oranges": "orange", "leaves": "green", "frogs": "green", "clouds": "white",
    "swans": "white", "elephants": "grey", "plums": "purple", "grapes": "purple", "crows": "black",
    "tomatoes": "red", "flamingos": "pink", "polar bears": "white", "cucumbers": "green",
}  # fmt: skip
COLOUR_NAMES = "red blue green yellow orange purple pink white black brown grey silver gold".split()

OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "up": "down", "day": "night", "happy": "sad",
    "old": "young", "open": "closed", "wet": "dry", "left": "right", "full": "empty", "hard": "soft",
    "light": "dark", "loud": "quiet", "high": "low", "early": "late", "rich": "poor", "black": "white",
}  # fmt: skip

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = ("January February March April May June July August September October November December").split()

CURRENCIES = {
    "rubles": "RUB", "dollars": "USD", "euros": "EUR", "pounds": "GBP", "yen": "JPY", "yuan": "CNY",
    "francs": "CHF", "rupees": "INR", "won": "KRW", "zloty": "PLN", "lira": "TRY", "pesos": "MXN",
    "kronor": "SEK", "reais": "BRL",
}  # fmt: skip

JOBS = (
    "a teacher|a doctor|a farmer|a baker|a pilot|a painter|a nurse|a cook|a gardener|a student|"
    "a sailor|a musician|a writer|a builder|an artist|an engineer"
).split("|")
MEALS = "pizza soup pasta rice salad bread cheese pancakes ice cream".replace(
    "ice cream", "ice-cream"
).split()
HOBBIES = (
    "reading|painting|swimming|running|cooking|dancing|singing|fishing|chess|football|gardening|"
    "music|drawing|hiking"
).split("|")
