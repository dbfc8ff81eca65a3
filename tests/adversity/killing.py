"""Kill a command at random moments, let the same command finish, and compare with an undisturbed one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mlx_prune.checkpoint.shards import read_header
from mlx_prune.runs.items import ITEMS_FILE

TESTS = Path(__file__).resolve().parent.parent
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

# What differs between two runs of one command: times, places, and who ran it.
_VOLATILE = {
    *("prune_time_s", "calibration_time_s", "seconds", "peak_memory_bytes", "started", "finished", "created"),
    *("updated", "elapsed_s", "records_per_second", "totals", "sessions", "timing", "hash", "model_path"),
    *("batch_size", "session", "peak_rss_bytes", "peak_memory", "memory"),
}

# A hundred roundings of float32.
_FLOAT32 = 1e-5


class Forker:
    """The process that forks the commands."""

    def __init__(self, log: Path) -> None:
        """Start it; its children's stderr goes to a file."""
        paths = [str(TESTS / "support"), str(TESTS / "adversity")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
        self.log = log
        self._process = subprocess.Popen(
            [sys.executable, str(TESTS / "adversity" / "forker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            env=environment,
        )

    def run(self, words: list[str], kill: tuple[float, signal.Signals] | None = None) -> int:
        """Run a command, send it a signal after some seconds if asked to, and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        if kill is not None:
            time.sleep(kill[0])
            # Between its end and its being waited for it is a zombie, which takes any signal.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kill[1])
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def forker(log: Path) -> Iterator[Forker]:
    """A forker that ends with the block."""
    made = Forker(log)
    try:
        yield made
    finally:
        made.stop()


def digest(folder: Path) -> dict[str, Any]:
    """What a command left in a folder, without what differs from run to run.

    Every file must be whole: anything that cannot be read raises.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.name.startswith(".lock"):
            continue
        if path.name == "latency.json":
            # Of times that were measured only what was measured, and whether to the end, can be the same.
            data = json.loads(path.read_text())
            names = ("model", "prune_method", "sparsity", "pattern", "items", "rounds")
            rows = [{name: row.get(name) for name in names} for row in data.get("results", ())]
            found[name] = [rows, *(data.get(key) for key in ("settings", "interrupted", "workloads"))]
        elif path.name == ITEMS_FILE:
            found[name] = pq.read_table(path).to_pylist()
        elif path.suffix == ".parquet":
            run = found.setdefault(f"{Path(name).parent} answers", {})
            for row in pq.read_table(path).to_pylist():
                key = f"{row['item_id']} {row['seed']}"
                assert key not in run, f"{key} was answered twice"
                run[key] = row["raw_response"]
        elif path.suffix == ".json":
            found[name] = _stable(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            found[name] = sorted(path.read_text().splitlines())
        elif path.suffix == ".safetensors":
            assert read_header(path)
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix in (".md", ".csv", ".png", ".svg", ".html"):
            assert path.stat().st_size > 0
            found[name] = "written"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stable(inner) for key, inner in value.items() if key not in _VOLATILE}
    return [_stable(inner) for inner in value] if isinstance(value, list) else value


def same(one: Any, other: Any) -> bool:
    """Whether two digests say the same: words and counts exactly, fractions as far as float32 tells them.

    A command that goes on packs what is left otherwise than one that was not disturbed, and a product of
    matrices of another shape rounds otherwise.
    """
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_FLOAT32, abs_tol=_FLOAT32) or (one != one and other != other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def killed_and_finished(
    made: Forker, words: list[str], out: Path, seconds: float, kills: int, seed: int
) -> dict[str, Any]:
    """Kill a command several times in one folder, then let it finish.

    Args:
        made: Runs the commands.
        words: The command.
        out: The folder it writes to.
        seconds: How long it takes undisturbed.
        kills: How often to kill it.
        seed: Of moments and signals.

    Returns:
        The digest of the folder; after each kill whatever is visible was whole.
    """
    rng = random.Random(seed)
    for _ in range(kills):
        made.run(words, (rng.uniform(0.02, 1.05) * seconds, rng.choice(SIGNALS)))
        if out.exists():
            digest(out)
    code = made.run(words)
    assert code in (0, 3, 4), made.log.read_text()[-2000:]
    return digest(out)
