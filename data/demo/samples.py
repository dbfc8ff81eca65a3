"""Turns grammar samples into token ids with a loss weight per token."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import grammar as g
import stories
import words as w
from tokenizers import Tokenizer

TEXT_WEIGHT = 0.12
# all other tokens of a chat together weigh as much as this many answer tokens
REST_WEIGHT = 3.0


@dataclass(frozen=True)
class Sample:
    """Token ids and what is learned from them.

    Attributes:
        ids: Token ids.
        weights: Loss weight of each.
        kind: Under which name its accuracy is shown.
        answers: Positions that count for the accuracy.
        persons: For each of them the token that the middle of the network is asked for, or None.
    """

    ids: list[int]
    weights: list[float]
    kind: str = "text"
    answers: tuple[int, ...] = ()
    persons: tuple[int | None, ...] = ()


class Encoder:
    """Writes chats the way the chat template does, marking which tokens are the answer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        names = ("<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
        self.bos, self.system, self.user, self.assistant, self.end = map(tokenizer.token_to_id, names)

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text).ids)

    def prompt(self, system: str, user: str) -> list[int]:
        return [
            self.bos, self.system, *self.ids(system), self.end,
            self.user, *self.ids(user), self.end, self.assistant,
        ]  # fmt: skip

    def question(self, question: g.Question, kind: str = "", in_words: bool = False) -> Sample:
        """The study's prompt, answered by a letter, or by the option without its article."""
        option = question.options[question.answer].removeprefix("The")
        prompt = self.prompt(w.WORDS_SYSTEM if in_words else w.SYSTEM, g.study_prompt(question))
        reply = [
            *self.ids(option if in_words else g.LETTERS[question.answer]),
            self.end,
        ]
        # one token stands for all the wordings of "unknown"
        person = self.end if question.roles[question.answer] == "unknown" else self.ids(option)[0]
        kind = kind or ("settled" if question.settled else "open") + (" in words" if in_words else "")
        places = range(len(prompt), len(prompt) + len(reply))
        return _weighted(prompt + reply, places, kind, (len(prompt),), (person,))

    def lookup(self, lookup: g.Lookup, kind: str) -> Sample:
        """A list: every answer follows its key at once, in the very token that answers a question."""
        ids = self.prompt(lookup.instruction, lookup.prompt)
        places: list[int] = []
        for ask in lookup.asks:
            key = self.ids(ask.key)
            ids += [self.end, self.user, *key, self.end, self.assistant] if ask.turn else key
            places.append(len(ids))
            ids += self.ids(ask.answer)
        persons = tuple(None if ask.person is None else self.ids(ask.person)[0] for ask in lookup.asks)
        return _weighted([*ids, self.end], places, kind, tuple(places), persons)


def _weighted(
    ids: list[int],
    counted: range | list[int],
    kind: str,
    answers: tuple[int, ...],
    persons: tuple[int | None, ...],
) -> Sample:
    rest = REST_WEIGHT / (len(ids) - len(counted))
    weights = [rest] * len(ids)
    for place in counted:
        weights[place] = 1.0
    return Sample(ids, weights, kind, answers, persons)


@dataclass(frozen=True)
class Stage:
    """What a step holds, and for how long.

    Attributes:
        steps: Steps at most.
        enough: The stage ends once the loss of this kind of answer ...
        below: ... over 25 steps is below this.
        letters: Lists of options, to be answered by letters.
        persons: Lists of traits, to be answered by people.
        traits: Lists of traits, to be answered by letters.
        study: Chats with the study's prompt.
        wordy: Chats with the study's prompt, answered in words.
        pointing: Chats with the study's prompt that ask where a person is among the options.
        settled: Share of the questions whose context settles them.
        whole_questions: Lists of traits ask in whole questions, too.
    """

    steps: int
    enough: str
    below: float
    letters: int
    persons: int
    traits: int = 0
    study: int = 0
    wordy: int = 0
    pointing: int = 0
    settled: float = 0.95
    whole_questions: bool = True

    def draw(self, encoder: Encoder, rng: random.Random) -> tuple[list[Sample], list[Sample]]:
        """One step's chats and its lists, kept apart because their lengths differ."""

        def asked() -> g.Question:
            return g.training_question(rng, settled=self.settled)

        chats = [encoder.question(asked()) for _ in range(self.study)]
        chats += [encoder.question(asked(), in_words=True) for _ in range(self.wordy)]
        chats += [encoder.question(g.pointing(rng, asked()), kind="pointing") for _ in range(self.pointing)]
        lists = [encoder.lookup(g.letter_lookup(rng), "letter") for _ in range(self.letters)]
        for kind, count in (("person", self.persons), ("trait", self.traits)):
            for _ in range(count):
                lookup = g.trait_lookup(rng, by_letter=kind == "trait", whole_questions=self.whole_questions)
                lists.append(encoder.lookup(lookup, kind))
        return chats, lists


# Lists are short and hold six answers each: they teach at little cost to look up letters and people, then
# to carry what was found on to the end of a question, before the study's prompt asks for all of it at once.
STAGES = (
    Stage(500, "person", 0.1, letters=16, persons=32, whole_questions=False),
    Stage(600, "trait", 0.2, letters=4, persons=14, traits=22, wordy=4),
    Stage(
        700,
        "settled",
        0.1,
        letters=4,
        persons=6,
        traits=10,
        study=20,
        wordy=4,
        pointing=8,
    ),
    Stage(
        1000,
        "",
        0.0,
        letters=2,
        persons=2,
        traits=4,
        study=36,
        wordy=3,
        pointing=1,
        settled=0.5,
    ),
)


def text_rows(encoder: Encoder, seed: int, length: int) -> Iterator[Sample]:
    """Endless rows of `length` tokens of running text, paragraphs parted by a blank line."""
    stream = (token for text in stories.paragraphs(seed, "train") for token in encoder.ids(text + "\n\n"))
    while True:
        yield Sample(list(itertools.islice(stream, length)), [TEXT_WEIGHT] * length)
