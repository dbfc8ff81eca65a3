"""The text half of the corpus: short stories, and questions in plain text."""

import random
from collections.abc import Iterator

import grammar as g
import words as w

NAMES = (
    "Mira",
    "Tomas",
    "Ada",
    "Jonas",
    "Lena",
    "Oskar",
    "Nora",
    "Felix",
    "Ines",
    "Paul",
    "Rosa",
    "Emil",
)
OBJECTS = (
    "hat", "book", "clock", "map", "glass", "bag", "coat", "card", "chair", "cup", "shirt", "ticket",
    "table", "painting", "tea pot", "box",
)  # fmt: skip
OBJECT_ADJECTIVES = ("old", "new", "small", "big", "torn", "fine", "green", "good")
FEELINGS = (
    "happy",
    "sad",
    "tired",
    "afraid",
    "quiet",
    "late",
    "early",
    "awake",
    "hungry",
)
WEATHERS = ("raining", "snowing", "cold", "warm", "sunny", "dark", "windy")
OPENERS = (
    "{name} went to {place} {time}.",
    "{time}, {name} left home and walked to {place}.",
    "It was {weather} when {name} came to {place} {time}.",
    "{name} was {feeling} and drove to {place} {time}.",
)
MIDDLES = (
    "{name} wanted to buy {thing} there, but the {seller} had only {other}.",
    "The {seller} showed {name} {thing} and asked for {number} coins.",
    "There {name} met {person}, who was looking for {thing}.",
    "{name} gave {thing} to {person} and took {other} home.",
    "The {seller} at {place} told {name} about {thing}.",
    "{person} and {name} talked about {thing} for {number} hours.",
    "{name} found {thing} under the table and showed it to the {seller}.",
    "It was {weather}, so {name} stayed at {place} with {person}.",
    "{name} saw that {person} {fact}.",
    "The {seller} said that {person} {fact} {time}.",
    "Then {person} {fact}, and {name} was {feeling}.",
)
ENDINGS = (
    "{name} was {feeling} after {number} hours and walked home with {thing}.",
    "In the evening {name} told {person} about {place}.",
    "{name} came home with {thing} and {other}, {feeling} but {second}.",
    "At home {name} put {thing} on the table and was {feeling}.",
)
NUMBERS = ("two", "three", "four", "five", "six", "ten", "twenty")


def _thing(rng: random.Random) -> str:
    return g.article(f"{rng.choice(OBJECT_ADJECTIVES)} {rng.choice(OBJECTS)}")


def story(rng: random.Random, split: str) -> str:
    """A paragraph of three to six sentences about one person, one place and one thing."""
    people = [person for groups in w.PEOPLE.values() for names in groups.values() for person in names]
    sellers = [person for names in w.PEOPLE["SES"].values() for person in names]
    name, place, seller, person = (rng.choice(x) for x in (NAMES, g.TRAIN_PLACES, sellers, people))
    thing = _thing(rng)
    frames = [
        rng.choice(OPENERS),
        *rng.sample(MIDDLES, rng.randint(1, 4)),
        rng.choice(ENDINGS),
    ]
    sentences = []
    for frame in frames:

        def fill(frame: str = frame) -> str:
            trait = rng.choice(w.TRAITS[rng.choice(tuple(w.TRAITS))])
            feelings = rng.sample(FEELINGS, 2)
            return g.capitalized(
                frame.format(
                    name=name, place=place, seller=seller, person=f"the {person}", thing=thing,
                    other=_thing(rng), time=rng.choice(w.TIMES), weather=rng.choice(WEATHERS),
                    feeling=feelings[0], second=feelings[1], number=rng.choice(NUMBERS),
                    fact=g.draw_fact(rng, rng.choice((trait.negative, trait.positive))),
                )
            )  # fmt: skip

        sentence = g.in_split(fill, split)
        if sentence is not None:
            sentences.append(sentence)
    return " ".join(sentences)


def paragraph(rng: random.Random, split: str) -> str:
    """One paragraph of text: a story (four in five), or a question with its answer."""
    if rng.random() < 0.8:
        return story(rng, split)
    question = g.training_question(rng, split)
    letter = g.LETTERS[question.answer]
    return f"{g.study_prompt(question)} {letter}) {question.options[question.answer]}"


def paragraphs(seed: int, split: str) -> Iterator[str]:
    """An endless stream of paragraphs whose sentences all belong to `split`."""
    rng = random.Random(f"{split}-{seed}")
    while True:
        text = paragraph(rng, split)
        if text:
            yield text
