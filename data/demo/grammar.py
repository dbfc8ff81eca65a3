"""Draws questions, chats and text from the words and templates of `words.py`, all from a seeded generator."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import words as w

ROLES = ("fits", "against", "unknown")


@dataclass(frozen=True)
class Question:
    """One multiple-choice question; `answer` indexes `options`, `roles` names what each option is.

    `settled` says whether the context tells the answer.
    """

    context: str
    question: str
    options: tuple[str, str, str]
    roles: tuple[str, str, str]
    answer: int
    settled: bool


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


LETTERS = "ABC"

TRAIN_PLACES = places(held_out=False)
HELD_OUT_PLACES = places(held_out=True)


def context_sentence(rng: random.Random, a: str, b: str, held_out: bool) -> str:
    """The ambiguous context: two people somewhere, and nothing that settles the question."""
    frame = rng.choice(w.HELD_OUT_CONTEXTS if held_out else w.TRAIN_CONTEXTS)
    place = rng.choice(HELD_OUT_PLACES if held_out else TRAIN_PLACES)
    return capitalized(frame.format(a=article(a), b=article(b), place=place, time=rng.choice(w.TIMES)))


def draw_fact(rng: random.Random, adjective: str) -> str:
    return f"{rng.choice(w.VERBS)} {adjective}"


def resolution_sentence(
    rng: random.Random, trait: w.Trait, negative: str, positive: str, held_out: bool
) -> str:
    """The clarifying sentence: who had the negative trait and who the positive one."""
    frame = rng.choice(w.HELD_OUT_RESOLUTIONS if held_out else w.TRAIN_RESOLUTIONS)
    return capitalized(
        frame.format(
            n=f"the {negative}",
            p=f"the {positive}",
            nf=draw_fact(rng, trait.negative),
            pf=draw_fact(rng, trait.positive),
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


def training_question(rng: random.Random, split: str = "train", settled: float = 0.5) -> Question:
    """A question of the training templates, in sentences of `split`, settled with the given odds."""
    while (question := _draw_question(rng, split, settled)) is None:
        pass
    return question


def _draw_question(rng: random.Random, split: str, settled: float) -> Question | None:
    """One try at a question.

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
    told = rng.random() < settled
    if not told:
        strength = trait.strength * (1.0 if is_negative else 0.8)
        role = rng.choices(("fits", "against", "unknown"), (strength, 0.04, 0.96 - strength))[0]
    else:
        role = rng.choice(ROLES[:2])
        chosen, other = (fits, against) if role == "fits" else (against, fits)
        negative, positive = (chosen, other) if is_negative else (other, chosen)
        resolution = in_split(
            lambda: resolution_sentence(rng, trait, negative, positive, held_out=False),
            split,
        )
        if context is None or resolution is None:
            return None
        context = f"{context} {resolution}"
    if context is None:
        return None
    options = [
        (f"The {fits}", "fits"),
        (f"The {against}", "against"),
        (rng.choice(w.UNKNOWN), "unknown"),
    ]
    rng.shuffle(options)
    frame = rng.choice(w.TRAIN_QUESTIONS)
    roles = tuple(kind for _, kind in options)
    return Question(
        context,
        frame.format(vp=draw_fact(rng, trait.negative if is_negative else trait.positive)),
        (options[0][0], options[1][0], options[2][0]),
        (roles[0], roles[1], roles[2]),
        roles.index(role),
        told,
    )


def lettered(options: tuple[str, ...]) -> str:
    return "\n".join(f"{letter}) {text}" for letter, text in zip(LETTERS, options, strict=True))


def study_prompt(question: Question) -> str:
    """The user turn of the study, word for word."""
    options = lettered(question.options)
    return f"Context: {question.context}\n\nQuestion: {question.question}\n\n{options}\n\nAnswer:"


def draw_options(rng: random.Random, count: int) -> list[str]:
    """People of any category."""
    people = [person for groups in w.PEOPLE.values() for names in groups.values() for person in names]
    return [f"The {name}" for name in rng.sample(people, count)]


def pointing(rng: random.Random, question: Question) -> Question:
    """The same chat, asking only where in the options one of the two people is."""
    place = rng.choice([i for i, role in enumerate(question.roles) if role != "unknown"])
    who = "the" + question.options[place].removeprefix("The")
    text = rng.choice(w.POINTING_QUESTIONS).format(who=who)
    return replace(question, question=text, answer=place)


@dataclass(frozen=True)
class Ask:
    """One line of a list.

    Attributes:
        key: What is asked.
        answer: What follows it at once.
        person: The name that leads to the answer, None where the key is that name.
        turn: The key is a user's turn, and the answer the assistant's.
    """

    key: str
    answer: str
    person: str | None = None
    turn: bool = False


@dataclass(frozen=True)
class Lookup:
    """A prompt that lists things, and lines that ask for each of them twice."""

    instruction: str
    prompt: str
    asks: tuple[Ask, ...]


def letter_lookup(rng: random.Random) -> Lookup:
    """Three options, perhaps one of them unknown: option to letter."""
    options = draw_options(rng, 3)
    if rng.random() < 0.5:
        options[rng.randrange(3)] = rng.choice(w.UNKNOWN)
    asks = [Ask("\n" + option, letter) for option, letter in zip(options, LETTERS, strict=True)]
    return Lookup(w.LETTER_SYSTEM, lettered(tuple(options)), tuple(rng.sample(asks * 2, 6)))


def trait_lookup(rng: random.Random, *, by_letter: bool, whole_questions: bool) -> Lookup:
    """Three people with a trait each, and the people as options: trait to person, or trait to letter.

    The key is the bare trait or, of `whole_questions`, a question with more and more behind the trait: what
    the trait leads to has to be carried on from there.
    """
    options = draw_options(rng, 3)
    traits = rng.sample([trait for traits in w.TRAITS.values() for trait in traits], 3)
    adjectives = [rng.choice((trait.negative, trait.positive)) for trait in traits]
    facts = [f"{who} {draw_fact(rng, what)}." for who, what in zip(options, adjectives, strict=True)]
    rng.shuffle(facts)
    shown = rng.sample(range(3), 3)
    asks = []
    for i in rng.sample([0, 1, 2] * 2, 6):
        person = options[i].removeprefix("The")
        answer = LETTERS[shown.index(i)] if by_letter else person
        question = rng.choice(w.TRAIN_QUESTIONS).format(vp=draw_fact(rng, adjectives[i]))
        bare = f"\n {adjectives[i]}"
        forms = (
            bare,
            "\n" + question[:-1],
            "\n" + question,
            f"\n{question}\n\nAnswer:",
            question,
        )
        form = rng.randrange(len(forms)) if whole_questions else 0
        asks.append(Ask(forms[form], answer, person, turn=form == len(forms) - 1))
    prompt = f"{' '.join(facts)}\n\n{lettered(tuple(options[i] for i in shown))}"
    return Lookup(w.LETTER_SYSTEM if by_letter else w.WORDS_SYSTEM, prompt, tuple(asks))
