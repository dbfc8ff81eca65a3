"""Numbers out of range, and names in place of a model, a run, a study or a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from damages import (
    Case,
    Words,
    bench_words,
    eval_words,
    questions,
    wanda_words,
)

NUMBERS = ("-1", "0", "1.5", "nan", "inf", "-inf", "1e300", "1000000000", "100000000000000000000", "ten", "")
NUMERIC_OPTIONS: dict[str, tuple[str, ...]] = {
    "eval": ("--limit", "--temperature", "--max-tokens", "--batch-size", "--verify", "--seeds"),
    "prune": ("-s", "--samples", "--sequence-length", "--seed"),
    "bench": ("--rounds", "--items", "--cooldown", "--generate", "--margin", "--seed", "--prompt"),
    "perplexity": ("--sequences", "--sequence-length", "--batch-size"),
    "gate": ("--max-srs-rise", "--max-usr-drop", "--max-perplexity-rise", "--limit"),
}
# Values that are in range where they stand, and whose run would only be long, are not asked for.
_FINE = {
    ("--limit", "1000000000"),
    ("--limit", "100000000000000000000"),
    ("--verify", "0"),
    ("--verify", "1000000000"),
    ("--verify", "100000000000000000000"),
    ("--temperature", "0"),
    ("--temperature", "1.5"),
    ("--seeds", "0"),
    ("--seeds", "1000000000"),
    ("--seed", "0"),
    ("--seed", "1000000000"),
    ("-s", "1.5"),
    ("--cooldown", "0"),
    ("--cooldown", "1.5"),
    ("--margin", "1.5"),
    ("--batch-size", "1000000000"),
    ("--batch-size", "100000000000000000000"),
    ("--seed", "100000000000000000000"),
    ("--rounds", "1000000000"),
    ("--max-srs-rise", "0"),
    ("--max-srs-rise", "1.5"),
    ("--max-usr-drop", "0"),
    ("--max-usr-drop", "1.5"),
    ("--max-perplexity-rise", "0"),
    ("--max-perplexity-rise", "1.5"),
    ("--max-perplexity-rise", "1000000000"),
    ("--max-perplexity-rise", "100000000000000000000"),
    ("--max-perplexity-rise", "1e300"),
    ("--max-srs-rise", "1000000000"),
    ("--max-srs-rise", "100000000000000000000"),
    ("--max-srs-rise", "1e300"),
    ("--max-usr-drop", "1000000000"),
    ("--max-usr-drop", "100000000000000000000"),
    ("--max-usr-drop", "1e300"),
    ("--samples", "1000000000"),
    ("--sequences", "1000000000"),
    # Hot enough to flatten anything, and finite.
    ("--temperature", "1e300"),
    ("--temperature", "1000000000"),
    ("--temperature", "100000000000000000000"),
}


def numbers() -> Iterator[Case]:
    """Numbers out of range on the command line."""
    for command, options in NUMERIC_OPTIONS.items():
        for option in options:
            for value in NUMBERS:
                if (option, value) in _FINE:
                    continue

                def build(good: Path, place: Path, command=command, option=option, value=value) -> Words:  # type: ignore[no-untyped-def]
                    model = good / "model"
                    words = {
                        "eval": eval_words(model, place),
                        "prune": wanda_words(model, place),
                        "bench": bench_words(model, place),
                        "perplexity": ["perplexity", str(model), "--text", "demo"],
                        "gate": ["gate", str(good / "study")],
                    }[command]
                    # Of an option given twice the last one counts.
                    return [*words, f"--{option.lstrip('-')}" if len(option) > 2 else option, value]

                yield Case(f"number {command} {option} {value or 'nothing'}", build)


PLACES = {
    "absent": "nowhere",
    "blank": "",
    "home of nobody": "~nobody-here/x",
    "nul byte": "a\0b",
    "long": "x" * 300,
    "hub id long": f"me/{'x' * 97}",
    "hub id odd": "me/..model--x",
    "three parts": "a/b/c",
    "url": "https://example.org/model",
    "newline": "a\nb",
    "brackets": "[bold]x[/oops]",
    "root": "/",
    "device": "/dev/null",
    "a file": "FILE",
}


def places() -> Iterator[Case]:
    """Names in place of a model, a run, a study or a file."""
    for name, given in PLACES.items():
        for command in (
            "eval",
            "prune",
            "inspect",
            "perplexity",
            "report",
            "gate",
            "records",
            "publish",
            "bench",
        ):

            def build(good: Path, place: Path, given=given, command=command) -> Words:  # type: ignore[no-untyped-def]
                file = place / "file.txt"
                file.write_text("text")
                what = Path(str(file)) if given == "FILE" else given
                model = str(good / "model")
                return {
                    "eval": ["eval", str(what), *questions(place)],
                    "prune": ["prune", str(what), "-o", str(place / "out"), "-m", "random", "-s", "50"],
                    "inspect": ["inspect", str(what)],
                    "perplexity": ["perplexity", model, "--text", str(what)],
                    "report": ["report", str(what)],
                    "gate": ["gate", str(what)],
                    "records": ["records", str(what), "--jsonl", str(place / "out.jsonl")],
                    "publish": ["publish", str(what), "me/some", "--dry-run"],
                    "bench": ["bench", model, str(what), "-o", str(place / "out")],
                }[command]

            codes = (0, 1, 2) if (name, command) == ("a file", "perplexity") else (1, 2)
            yield Case(f"place {name} {command}", build, codes)
        for command in ("eval", "prune", "bench", "records"):
            if name in ("absent", "blank", "newline", "brackets", "long", "three parts"):
                continue

            def out(good: Path, place: Path, given=given, command=command) -> Words:  # type: ignore[no-untyped-def]
                file = place / "file.txt"
                file.write_text("text")
                what = f"{place}/{given}" if given[:1] not in "~/" else given
                what = str(file) if given == "FILE" else what
                model = str(good / "model")
                few = ["--items", "1", "--rounds", "1", "--cooldown", "0", "--no-sizes"]
                return {
                    "eval": ["eval", model, "-o", what, "--bbq", "demo", "--limit", "2", "--seeds", "1"],
                    "prune": ["prune", model, "-o", what, "-m", "random", "-s", "50"],
                    "bench": ["bench", model, model, "-o", what, *few],
                    "records": ["records", str(good / "run"), "--jsonl", what],
                }[command]

            # Whoever runs the tests as root could write into the root folder.
            if name in ("nul byte", "device", "a file"):
                yield Case(f"output {name} {command}", out)
