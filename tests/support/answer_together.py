"""One rank of an evaluation over MLX's ring: MODEL RUN COUNT RESULT; writes what this rank returned."""

import json
import os
import sys
from pathlib import Path

from agreement import make_items

import mlx_prune  # noqa: F401  (first: puts OpenBLAS in front of MLX's BLAS on Linux)
from mlx_prune import distributed
from mlx_prune.errors import MlxPruneError
from mlx_prune.runs.evaluate import evaluate
from mlx_prune.runs.settings import Generation

SETTINGS = Generation(temperature=1.0, max_tokens=2, seeds=(42, 7), batch_size=4)


def main() -> None:
    """Evaluate; each rank in a folder of its own where RUN holds a brace pair for its number."""
    model, run, count, result = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    rank = distributed.rank()
    die_after = int(os.environ.get("DIE_AFTER", "-1"))
    reports = []

    def report(progress):
        if progress.stage == "answer":
            reports.append(progress.done)

    def die(progress):
        report(progress)
        if rank == 0 and progress.stage == "answer" and progress.done >= die_after:
            os._exit(9)

    told = {"rank": rank, "size": distributed.size()}
    try:
        evaluation = evaluate(
            model,
            Path(run.format(rank)),
            questions=make_items(count),
            generation=SETTINGS,
            progress=report if die_after < 0 else die,
        )
        told |= {
            "records": evaluation.table.select(["item_id", "seed", "raw_response"]).to_pylist(),
            "new": evaluation.new_records,
            "reports": reports,
        }
    except MlxPruneError as error:
        told |= {"error": str(error)}
    Path(f"{result}-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
