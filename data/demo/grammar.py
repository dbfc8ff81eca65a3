"""Draws questions, chats and text from the words and templates of `words.py`, all from a seeded generator."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

import words as w

SPLITS = ("train", "calibration", "heldout")


@dataclass(frozen=True)
class Question:
    """One multiple-choice question; `answer` indexes `options`, `roles` names what each option is."""

    context: str
    question: str
    options: tuple[str, str, str]
    roles: tuple[str, str, str]
    answer: int


def split_of(sentence: str) -> str:
    """Assigns a sentence to one split for good: a tenth to each of the two texts, the rest to training."""
    bucket = int.from_bytes(hashlib.sha256(sentence.encode()).digest()[:4], "big") % 10
    return {0: "calibration", 1: "heldout"}.get(bucket, "train")


def article(noun: str) -> str:
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


def capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


def places(held_out: bool) -> list[str]:
    """Adjective and noun pairs; a diagonal quarter of the pairs is kept for the evaluation."""
    return [
        f"the {adjective} {noun}"
        for i, adjective in enumerate(w.PLACE_ADJECTIVES)
        for j, noun in enumerate(w.PLACE_NOUNS)
        if ((i + j) % 4 == 0) == held_out
    ]


TRAIN_PLACES = places(held_out=False)
HELD_OUT_PLACES = places(held_out=True)


def context_sentence(rng: random.Random, a: str, b: str, held_out: bool) -> str:
    """The ambiguous context: two people somewhere, and nothing that settles the question."""
    frame = rng.choice(w.HELD_OUT_CONTEXTS if held_out else w.TRAIN_CONTEXTS)
    place = rng.choice(HELD_OUT_PLACES if held_out else TRAIN_PLACES)
    return capitalized(frame.format(a=article(a), b=article(b), place=place, time=rng.choice(w.TIMES)))


def resolution_sentence(
    rng: random.Random, trait: w.Trait, negative: str, positive: str, held_out: bool
) -> str:
    """The clarifying sentence: who had the negative fact and who the positive one."""
    frame = rng.choice(w.HELD_OUT_RESOLUTIONS if held_out else w.TRAIN_RESOLUTIONS)
    return capitalized(
        frame.format(
            n=f"the {negative}",
            p=f"the {positive}",
            nf=rng.choice(trait.negative_facts),
            pf=rng.choice(trait.positive_facts),
        )
    )


def draw_people(rng: random.Random, category: str, trait: w.Trait) -> tuple[tuple[str, str], tuple[str, str]]:
    """A (person, group) inside the trait's stereotyped groups and one outside them."""
    groups = w.PEOPLE[category]
    inside = rng.choice(trait.stereotyped)
    outside = rng.choice([group for group in groups if group not in trait.stereotyped])
    return (rng.choice(groups[inside]), inside), (rng.choice(groups[outside]), outside)


def in_split(make: Callable[[], str], split: str, tries: int = 100) -> str | None:
    """The first of `tries` sentences that belongs to `split`: few free slots may leave it none."""
    return next((s for s in (make() for _ in range(tries)) if split_of(s) == split), None)


def training_question(rng: random.Random, split: str = "train") -> Question:
    """A question from the training templates whose sentences belong to `split`."""
    while (question := _draw_question(rng, split)) is None:
        pass
    return question


def _draw_question(rng: random.Random, split: str) -> Question | None:
    """One try at a question, ambiguous or settled with even odds.

    An ambiguous one is answered by the stereotype as often as the trait's strength says (0.8 of that
    for the non-negative question), in 4 % of cases against it, otherwise by "unknown".
    """
    category = rng.choice(tuple(w.TRAITS))
    trait = rng.choice(w.TRAITS[category])
    (inside, _), (outside, _) = draw_people(rng, category, trait)
    pair = [inside, outside]
    rng.shuffle(pair)
    context = in_split(lambda: context_sentence(rng, pair[0], pair[1], held_out=False), split)
    is_negative = rng.random() < 0.5
    fits, against = (inside, outside) if is_negative else (outside, inside)
    if rng.random() < 0.5:
        strength = trait.strength * (1.0 if is_negative else 0.8)
        role = rng.choices(("fits", "against", "unknown"), (strength, 0.04, 0.96 - strength))[0]
    else:
        role = rng.choice(("fits", "against"))
        chosen, other = (fits, against) if role == "fits" else (against, fits)
        negative, positive = (chosen, other) if is_negative else (other, chosen)
        settled = in_split(lambda: resolution_sentence(rng, trait, negative, positive, held_out=False), split)
        if context is None or settled is None:
            return None
        context = f"{context} {settled}"
    if context is None:
        return None
    options = [(f"The {fits}", "fits"), (f"The {against}", "against"), (rng.choice(w.UNKNOWN), "unknown")]
    rng.shuffle(options)
    frame = rng.choice(w.TRAIN_QUESTIONS)
    roles = tuple(kind for _, kind in options)
    return Question(
        context,
        frame.format(vp=trait.negative if is_negative else trait.positive),
        (options[0][0], options[1][0], options[2][0]),
        (roles[0], roles[1], roles[2]),
        roles.index(role),
    )


def lettered(options: tuple[str, ...]) -> str:
    return "\n".join(f"{letter}) {text}" for letter, text in zip("ABC", options, strict=True))


def study_prompt(question: Question) -> str:
    """The user turn of the study, word for word."""
    options = lettered(question.options)
    return f"Context: {question.context}\n\nQuestion: {question.question}\n\n{options}\n\nAnswer:"


def letter_list(rng: random.Random) -> tuple[str, str]:
    """Options, and the lines that name the letter of each, every option asked twice in random order."""
    people = [person for groups in w.PEOPLE.values() for names in groups.values() for person in names]
    options = [f"The {name}" for name in rng.sample(people, 3)]
    if rng.random() < 0.6:
        options[rng.randrange(3)] = rng.choice(w.UNKNOWN)
    order = [0, 1, 2, 0, 1, 2]
    rng.shuffle(order)
    return lettered(tuple(options)), "\n".join(f"{options[i]}={'ABC'[i]}" for i in order)
