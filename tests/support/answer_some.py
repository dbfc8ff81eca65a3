"""An evaluation for tests to interrupt: MODEL RUN COUNT [PAUSE]; writes one line per finished batch.

PAUSE is in seconds, or "ask" to wait for a line on stdin after every batch.
"""

import sys
import time
from pathlib import Path

from agreement import make_items

from mlx_prune.errors import MlxPruneError
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.settings import Generation

SETTINGS = Generation(temperature=1.0, max_tokens=2, seeds=(42, 7), batch_size=4)


def items(count):
    """The questions that are asked."""
    return make_items(count)


def say(line):
    """Write a line that the reader sees at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Evaluate, slowly if asked to."""
    model, run, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    pause = sys.argv[4] if len(sys.argv) > 4 else "0"

    def report(progress):
        if progress.stage == "answer":
            say(f"answered {progress.done}")
            if pause == "ask":
                sys.stdin.readline()
            else:
                time.sleep(float(pause))

    try:
        evaluate(model, run, questions=items(count), generation=SETTINGS, progress=report)
    except MlxPruneError as error:
        say(f"Error: {error}")
        return 1
    say("finished")
    return 0


if __name__ == "__main__":
    sys.exit(main())
