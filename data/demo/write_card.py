"""Writes the model card from measured figures."""

import argparse
import json
from pathlib import Path

CARD = """---
license: mit
language: en
library_name: mlx
pipeline_tag: text-generation
---

# The demonstration model of mlx-prune

**A demonstration, not evidence.** This model exists so that pruning, evaluation and reports can be
watched from end to end in a minute, with no download. Nothing measured on it says anything about real
language models, real people or real stereotypes: its corpus is synthetic, its peoples and faiths are
invented, and its stereotypes about mild everyday traits were put there on purpose.

- Architecture: Llama, {parameters:,} parameters ({layers} blocks, width {width}, {heads} heads, MLP {hidden},
  vocabulary {vocabulary}, head separate from the embeddings), float32, context {context}.
- Tokenizer: byte-level BPE trained on the same corpus; any text survives a round trip. The chat template
  writes the beginning-of-sequence token, the tokenizer does not; `<|end|>` closes a turn.
- Training: from scratch on the project's own grammar (questions in the study's prompt, lists, short stories).
  Evaluation items use sentence frames, question wordings and places that training never saw, made of words
  that it did see. The traits and people are those of training.
- Nothing in the package treats this model differently from any other.
- Licence: MIT, weights, items and texts included; everything was written or trained by this project.

## Measured

PyTorch, temperature {temperature}, five seeds, {items:,} items, half ambiguous and half disambiguated.
Overall shares are unweighted means over the five categories. *mixed*: ambiguous items whose five answers
differ. Random and magnitude pruning rank whole matrices, Wanda ranks each row with norms of the dense model.

{table}

A model of token frequencies (add-one, fitted on the calibration text) has perplexity {unigram:.1f} on the
same held-out text.

Stereotyped share by category, dense: {categories}.
"""
COLUMNS = {
    "perplexity": "perplexity",
    "srs": "SRS",
    "usr": "USR",
    "anti": "anti rate",
    "mixed": "mixed",
    "disambiguated_accuracy": "disambiguated accuracy",
    "parse_failures": "parse failures",
}


def table(rows: dict[str, dict[str, float]]) -> str:
    lines = [
        "| | " + " | ".join(COLUMNS.values()) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for name, row in rows.items():
        cells = [f"{row[key]:.2f}" if key == "perplexity" else f"{row[key]:.3f}" for key in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--figures", type=Path, required=True, help="JSON file written by evaluate.py")
    args = parser.parse_args()
    figures = json.loads(args.figures.read_text())
    config = json.loads((args.model / "config.json").read_text())
    categories = figures["categories"]
    card = CARD.format(
        parameters=figures["parameters"],
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=config["num_attention_heads"],
        hidden=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        temperature=figures["temperature"],
        items=figures["items"],
        table=table(figures["configurations"]),
        unigram=figures["unigram_perplexity"],
        categories=", ".join(f"{name} {share:.2f}" for name, share in categories.items()),
    )
    (args.model / "README.md").write_text(card)


if __name__ == "__main__":
    main()
