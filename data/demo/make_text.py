"""Writes the calibration and held-out texts; no sentence of one occurs in the other or in training."""

import argparse
from pathlib import Path

import stories
from tokenizers import Tokenizer

TOKENS = {"calibration": 60_000, "heldout": 30_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the two texts")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--seed", type=int, default=13)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    args.out.mkdir(parents=True, exist_ok=True)
    for split, wanted in TOKENS.items():
        count, paragraphs = 0, []
        for paragraph in stories.paragraphs(args.seed, split):
            paragraphs.append(paragraph)
            count += len(tokenizer.encode(paragraph + "\n\n").ids)
            if count >= wanted:
                break
        (args.out / f"{split}.txt").write_text("\n\n".join(paragraphs) + "\n")
        print(f"{split}: {len(paragraphs)} paragraphs, {count} tokens")


if __name__ == "__main__":
    main()
