"""Whatever is killed, at whatever moment, the same command finishes it: the same result, no leftovers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from good_things import make_good_things
from killing import Forker, digest, forker, killed_and_finished, same

SHORT_TEXT = "--calibration demo --samples 4 --sequence-length 64"
COMMANDS = {
    "prune magnitude": "prune {model} -o {out} -m magnitude -s 50",
    "prune wanda": f"prune {{model}} -o {{out}} -m wanda -s 50 {SHORT_TEXT}",
    "prune width": f"prune {{model}} -o {{out}} -m width -s 50 {SHORT_TEXT}",
    "quantize": "prune {model} -o {out} -m quantize --bits 4 --group-size 32",
    "prune and quantize": "prune {model} -o {out} -m magnitude -s 50 --bits 4 --group-size 32",
    "eval": "eval {model} -o {out} --bbq demo --limit 60 --batch-size 8",
    "study": "study {study} -o {out}",
    "report": "report {out}",
    "gate": "gate {model} {pruned} --bbq demo --text {text} --limit 20 --seeds 1,2 -o {out}",
    "bench": "bench {model} {model} -o {out} --items 4 --rounds 3 --cooldown 0 --no-sizes",
    "records": "records {run} --jsonl {out}/records.jsonl --force",
}
SHORT = ("prune wanda", "quantize", "eval", "bench", "gate")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_good_things(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    with forker(tmp_path_factory.mktemp("log") / "stderr") as found:
        yield found


def check(name: str, good: Path, made: Forker, place: Path, folders: int, kills: int, seed: int) -> None:
    known = {key: str(good / key) for key in ("model", "pruned", "run")}

    def words(out: Path) -> list[str]:
        return (
            COMMANDS[name].format(**known, study=good / "study.toml", text=good / "text.txt", out=out).split()
        )

    def fresh(number: int) -> Path:
        out = place / f"out {number}".replace(" ", "-")
        if name == "report":
            assert made.run(["study", str(good / "study.toml"), "-o", str(out)]) == 0
        if name == "records":
            out.mkdir()
        return out

    reference = fresh(0)
    started = time.monotonic()
    assert made.run(words(reference)) in (0, 3, 4), made.log.read_text()[-2000:]
    seconds = time.monotonic() - started
    expected = digest(reference)
    for number in range(1, folders + 1):
        found = killed_and_finished(
            made, words(fresh(number)), place / f"out-{number}", seconds, kills, seed + number
        )
        different = {key for key in found | expected if not same(found.get(key), expected.get(key))}
        assert not different, [(found.get(key), expected.get(key)) for key in different]
    # Nothing lies beside the folders either.
    beside = {path.name for path in place.iterdir() if not path.name.startswith(".lock")}
    assert beside == {f"out-{number}" for number in range(folders + 1)}


def test_digests_differ_in_counts_words_and_more_than_rounding() -> None:
    digested = {"run.json": {"status": "complete", "records": 300, "median_mass": 0.9997422}}
    assert same(digested, {"run.json": {**digested["run.json"], "median_mass": 0.9997421}})
    for other in ({"status": "running"}, {"records": 299}, {"median_mass": 0.9996}, {"more": 1}):
        assert not same(digested, {"run.json": {**digested["run.json"], **other}})
    assert not same(digested, {})


@pytest.mark.parametrize("name", SHORT)
def test_a_killed_command_is_finished_by_the_same_command(
    name: str, good: Path, made: Forker, tmp_path: Path
) -> None:
    check(name, good, made, tmp_path, folders=1, kills=3, seed=0)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COMMANDS)
def test_many_kills(name: str, good: Path, made: Forker, tmp_path: Path) -> None:
    check(name, good, made, tmp_path, folders=5, kills=5, seed=100)
