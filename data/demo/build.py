"""Rebuilds the embedded demonstration: tokenizer, items, texts, model, figures and model card."""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "mlx_prune" / "demo"


def step(script: str, *arguments: str | Path) -> None:
    print(f"== {script}", flush=True)
    subprocess.run([sys.executable, HERE / script, *map(str, arguments)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEMO, help="folder for model, bbq and text")
    parser.add_argument(
        "--figures",
        type=Path,
        default=HERE / "figures.json",
        help="where the figures go",
    )
    args = parser.parse_args()
    model = args.out / "model"
    step("train_tokenizer.py", "--out", model)
    step("make_items.py", "--out", args.out / "bbq")
    step(
        "make_text.py",
        "--out",
        args.out / "text",
        "--tokenizer",
        model / "tokenizer.json",
    )
    step("train_model.py", "--out", model)
    step("evaluate.py", "--demo", args.out, "--json", args.figures)
    step("write_card.py", "--model", model, "--figures", args.figures)


if __name__ == "__main__":
    main()
