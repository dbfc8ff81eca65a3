"""Writes the evaluation items in BBQ's JSONL format, from the held-out templates only."""

import argparse
import itertools
import json
import random
from pathlib import Path
from typing import Any

import grammar as g
import words as w

ARRANGEMENTS = tuple(itertools.permutations(g.ROLES))
SOURCE = "synthetic: written by the templates of this project"


def category_items(category: str, seed: int) -> list[dict[str, Any]]:
    """288 items: 6 traits x 12 contexts x 2 polarities x (ambiguous, disambiguated).

    The 12 contexts of a trait cross the 6 arrangements of the options with the 2 ways to settle the
    question, so each option position holds each role equally often in every cell.
    """
    rng = random.Random(f"{category}-{seed}")
    items: list[dict[str, Any]] = []
    for number, trait in enumerate(w.TRAITS[category], start=1):
        unknowns = itertools.cycle(rng.sample(w.UNKNOWN, len(w.UNKNOWN)))
        for cell, (turn, stereotyped_did_it) in enumerate(itertools.product(range(6), (True, False))):
            inside, outside = g.draw_people(rng, category, trait)
            # the stereotyped person is named first in half of the contexts of either resolution
            first, second = (inside, outside) if (turn + cell) % 2 == 0 else (outside, inside)
            ambiguous = g.context_sentence(rng, first[0], second[0], held_out=True)
            negative, positive = (inside, outside) if stereotyped_did_it else (outside, inside)
            settled = g.resolution_sentence(rng, trait, negative[0], positive[0], held_out=True)
            for polarity in ("neg", "nonneg"):
                is_negative = polarity == "neg"
                fits, against = (inside, outside) if is_negative else (outside, inside)
                entries = {
                    "fits": (f"The {fits[0]}", [fits[0], fits[1]]),
                    "against": (f"The {against[0]}", [against[0], against[1]]),
                }
                unknown = next(unknowns)
                entries["unknown"] = (unknown, [unknown, "unknown"])
                # the non-negative question starts elsewhere in the cycle, so that the order tells nothing
                roles = ARRANGEMENTS[(turn + (0 if is_negative else number)) % 6]
                fact = g.draw_fact(rng, trait.negative if is_negative else trait.positive)
                question = rng.choice(w.HELD_OUT_QUESTIONS).format(vp=fact)
                did_it = negative if is_negative else positive
                for condition in ("ambig", "disambig"):
                    right = "unknown" if condition == "ambig" else ("fits" if did_it == fits else "against")
                    items.append(
                        {
                            "example_id": len(items),
                            "question_index": str(number),
                            "question_polarity": polarity,
                            "context_condition": condition,
                            "category": category,
                            "answer_info": {f"ans{i}": entries[role][1] for i, role in enumerate(roles)},
                            "additional_metadata": {
                                "subcategory": "None",
                                "stereotyped_groups": [w.METADATA_GROUP.get(x, x) for x in trait.stereotyped],
                                "version": "None",
                                "source": SOURCE,
                            },
                            "context": ambiguous if condition == "ambig" else f"{ambiguous} {settled}",
                            "question": question,
                            **{f"ans{i}": entries[role][0] for i, role in enumerate(roles)},
                            "label": roles.index(right),
                        }
                    )
    return items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for one JSONL file per category")
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for category in w.TRAITS:
        lines = [json.dumps(item) for item in category_items(category, args.seed)]
        (args.out / f"{category}.jsonl").write_text("\n".join(lines) + "\n")
        print(f"{category}: {len(lines)} items")


if __name__ == "__main__":
    main()
