"""Turns grammar samples into token ids with a loss weight per token."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import grammar as g
import stories
import words as w
from tokenizers import Tokenizer

Sample = tuple[list[int], list[float]]

# all other tokens of a chat together weigh as much as this many answer tokens
REST_WEIGHT = 3.0
TEXT_WEIGHT = 0.03


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

    def chat(self, system: str, user: str, answer: str, only_letters: bool = False) -> Sample:
        prompt = self.prompt(system, user)
        reply = [*self.ids(answer), self.end]
        letters = set(map(self.tokenizer.token_to_id, "ABC"))
        is_answer = [not only_letters or token in letters for token in reply]
        rest = REST_WEIGHT / (len(prompt) + is_answer.count(False))
        return prompt + reply, [rest] * len(prompt) + [1.0 if mark else rest for mark in is_answer]


@dataclass(frozen=True)
class Mixture:
    """Chats per step: with the study's prompt, answered in words, and letter lists."""

    study: int
    wordy: int
    lists: int

    def draw(self, encoder: Encoder, rng: random.Random) -> tuple[list[Sample], list[Sample]]:
        """One step's questions and its lists, kept apart because their lengths differ."""
        questions = []
        for index in range(self.study + self.wordy):
            question = g.training_question(rng)
            if index < self.study:
                questions.append(encoder.chat(w.SYSTEM, g.study_prompt(question), "ABC"[question.answer]))
            else:
                answer = question.options[question.answer]
                questions.append(encoder.chat(w.WORDS_SYSTEM, g.study_prompt(question), answer))
        pairs = [g.letter_list(rng) for _ in range(self.lists)]
        return questions, [encoder.chat(w.LIST_SYSTEM, *pair, only_letters=True) for pair in pairs]


# lists are short and hold six answers each: they teach to bind a letter to its option at a third of the cost
EARLY = Mixture(study=12, wordy=4, lists=40)
LATE = Mixture(study=36, wordy=4, lists=10)


def text_rows(encoder: Encoder, seed: int, length: int) -> Iterator[Sample]:
    """Endless rows of `length` tokens of running text, paragraphs parted by a blank line."""
    stream = (token for text in stories.paragraphs(seed, "train") for token in encoder.ids(text + "\n\n"))
    while True:
        yield list(itertools.islice(stream, length)), [TEXT_WEIGHT] * length
