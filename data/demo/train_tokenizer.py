"""Trains the byte-level BPE tokenizer of the demonstration model and writes it with its chat template."""

import argparse
import itertools
import json
import random
from pathlib import Path

import grammar as g
import stories
import words as w
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL_TOKENS = (
    "<pad>",
    "<s>",
    "<|end|>",
    "<unk>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
)
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
CONTEXT_LENGTH = 1024


def corpus(seed: int) -> list[str]:
    rng = random.Random(seed)
    text = list(itertools.islice(stories.paragraphs(seed, "train"), 12_000))
    text += [g.study_prompt(g.training_question(rng)) for _ in range(8_000)]
    text += [w.SYSTEM, w.WORDS_SYSTEM, w.LETTER_SYSTEM] * 1_000
    # rare words become one token too: a trait in pieces is harder to look up
    traits = [trait for traits in w.TRAITS.values() for trait in traits]
    people = [person for groups in w.PEOPLE.values() for names in groups.values() for person in names]
    return text + [" ".join([*(t.negative for t in traits), *(t.positive for t in traits), *people])] * 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="model folder")
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=args.vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(args.seed), trainer)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "<|end|>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT_LENGTH,
        "chat_template": CHAT_TEMPLATE,
    }
    (args.out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


if __name__ == "__main__":
    main()
