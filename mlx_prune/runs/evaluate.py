"""Ask a model BBQ questions and keep the answers: the function behind ``mlxprune eval``."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import pyarrow as pa

from mlx_prune import distributed
from mlx_prune.checkpoint.invented import QUESTIONS, named
from mlx_prune.configuration import Configuration
from mlx_prune.environment import device, versions
from mlx_prune.errors import DataError, RecordsError
from mlx_prune.kernels import choice
from mlx_prune.progress import Progress, ProgressCallback, silent
from mlx_prune.runs.answering import UnknownTokens, letters_found
from mlx_prune.runs.job import Job, open_model, prepare
from mlx_prune.runs.questions import Questions, choose_items
from mlx_prune.runs.records import SCHEMA, from_bytes, record_table, to_bytes
from mlx_prune.runs.session import RunWriter, now, open_run
from mlx_prune.runs.settings import Bbq, Generation
from mlx_prune.runs.verify import Verification, verify_records
from mlx_prune.stats.rates import Rates, from_table

if TYPE_CHECKING:
    from mlx_prune.bbq.item import Item
    from mlx_prune.checkpoint.open import LoadedModel

# Neighboring items share contexts; dealing them out in blocks keeps them on one rank.
_ITEMS_PER_SHARE = 16


@dataclass(frozen=True)
class Evaluation:
    """The answers of one model.

    Attributes:
        table: One row per record (columns of ``mlx_prune.runs.records.SCHEMA``), in the order of the items
            and, within an item, of the seeds.
        info: The configuration, where it ran and how long it took; what ``run.json`` holds. "kernels" is what
            answered for GPU kernels in this process until the run was complete: in pruning the model, as
            asking needs none.
        path: The run folder, or None if nothing was written.
        new_records: How many records this call made; the others were there already.
        seconds: Wall time of making them.
        verification: Result of the replay, if one was asked for.
    """

    table: pa.Table
    info: dict[str, Any]
    path: Path | None
    new_records: int
    seconds: float
    verification: Verification | None = None

    @property
    def rates(self) -> Rates:
        """SRS, USR and the other rates of these records, per category and overall."""
        return from_table(self.table)


def evaluate(
    model: LoadedModel | str | Path,
    run: str | Path | None = None,
    *,
    questions: Bbq | Sequence[Item] | Questions | None = None,
    generation: Generation | None = None,
    stamp: Configuration | None = None,
    verify: int = 0,
    force: bool = False,
    trust_remote_code: bool = False,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Ask a model BBQ questions under several seeds and record every answer.

    With a run folder every finished batch is on the disk at once, and calling again with the same arguments
    carries on where the last call stopped, whatever stopped it; with a larger limit it asks what is new.
    Under ``mlx.launch`` the items are split over the processes, and every process returns the whole result.

    Args:
        model: A loaded model, or a folder, Hub id or "demo" to load.
        run: Folder for ``run.json`` and ``records/``; None keeps the records in memory only.
        questions: What to ask: where to load items from and which of them, or the items themselves; or what
            ``choose_items`` made of either, which several models can share.
        generation: How answers are drawn; None takes the study's temperature, length and seeds.
        stamp: The model's columns in the records; None reads them from ``pruning_meta.json``, or calls
            the model dense where there is none. A model pruned in memory needs one.
        verify: Replay this many random records through ``mlx_lm.stream_generate`` and report agreement.
        force: Throw away the records that the run folder holds.
        trust_remote_code: Whether code that comes with the model may run, for a model that is loaded here.
        progress: Called with stage "answer" and counts of records.

    Returns:
        The records and what is known about the run.

    Raises:
        CheckpointError: The model cannot be loaded, its chat template does not work or makes it think, or its
            logits are not numbers.
        DataError: The items are not named or cannot be loaded, a question is longer than the model takes, or
            an argument makes no sense.
        RecordsError: The run folder is another configuration's, in use or damaged, or the disk is full.
    """
    # Every rank is about as far as rank 0, which tells for all of them.
    report = progress if progress is not None and distributed.rank() == 0 else silent
    if verify < 0:
        raise DataError(f"cannot verify {verify} records; give a number from 0 upwards.")
    if questions is None or isinstance(questions, Bbq):
        asked = questions or Bbq()
        source = named(QUESTIONS, asked.source, model, "the questions")
        questions = dataclasses.replace(asked, source=str(source))
    chosen = choose_items(questions)
    drawn = generation or Generation()
    loaded = open_model(model, drawn.dtype, trust_remote_code)
    job = prepare(loaded, chosen, drawn, stamp, report)
    unknown = UnknownTokens(job.loaded.tokenizer)
    with contextlib.ExitStack() as stack:
        folder = (
            None
            if run is None
            else stack.enter_context(open_run(Path(run), job.configuration, force=force, extends=job.extends))
        )
        done = set() if folder is None else folder.done()
        if folder is not None:
            folder.keep(job.items)
            if folder.data.get("status") != "complete":
                folder.update(**job.about)
        started, clock = now(), time.perf_counter()
        tables = list(_answer(job, done, folder, report, unknown))
        seconds = time.perf_counter() - clock
        table = _in_order(job, _together(tables, folder))
        made = table.num_rows - len(done)
        session = {**_session(job, made, started, seconds), "unknown_tokens": unknown.count}
        verification = None
        if verify and distributed.rank() == 0:
            verification = verify_records(
                job.loaded, table, job.prompts, job.settings, words=job.words, count=verify, progress=report
            )
            session["verified"] = dataclasses.asdict(verification)
        # A run that was killed after its last record is complete, but does not say so yet.
        if folder is not None and (made or verification or folder.data.get("status") == "running"):
            # On disks of their own the other ranks keep their share; rank 0 has everything.
            whole = folder.shared or distributed.rank() == 0
            totals = {"items": len(job.items), "records": table.num_rows}
            status = "complete" if whole else "share"
            folder.update(
                status=status,
                totals=totals,
                engine_note=job.engine.note,
                letters=letters_found(table, job.words.letters),
                kernels=choice.so_far().to_json(),
                session=session,
            )
        info = folder.data if folder is not None else _info_without_folder(job, table, session)
    return Evaluation(table, info, None if run is None else Path(run), made, seconds, verification)


def _answer(
    job: Job,
    done: set[tuple[str, int]],
    folder: RunWriter | None,
    report: ProgressCallback,
    unknown: UnknownTokens,
) -> Iterator[pa.Table]:
    """Answer this rank's share of what is not done; records are on the disk before they are yielded."""
    seeds = job.settings.seeds
    open_items = [i for i in job.items if any((i.item_id, seed) not in done for seed in seeds)]
    mine = distributed.share(open_items, _ITEMS_PER_SHARE)
    by_id = {item.item_id: item for item in mine}
    total = len(job.items) * len(seeds)
    before, share = len(done), len(mine)
    answered = 0
    report(Progress("answer", before, total))
    for batch in job.engine.answer([job.prompts[item.item_id] for item in mine]):
        table = record_table(job.stamp, by_id, batch, done, job.words)
        if folder is not None:
            folder.write(table)
        answered += len(batch)
        unknown.add(batch)
        now_done = before + (total - before) * answered // share
        report(Progress("answer", now_done, total, by_id[batch[-1].item_id].category))
        yield table


def _together(tables: list[pa.Table], folder: RunWriter | None) -> pa.Table:
    if folder is not None:
        return folder.collect()
    mine = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    if distributed.size() == 1:
        return mine
    return pa.concat_tables([from_bytes(data) for data in distributed.gather_bytes(to_bytes(mine))])


def _in_order(job: Job, table: pa.Table) -> pa.Table:
    place = {pair: index for index, pair in enumerate(job.pairs())}
    pairs = zip(table["item_id"].to_pylist(), table["seed"].to_pylist(), strict=True)
    order = sorted(range(table.num_rows), key=[place[pair] for pair in pairs].__getitem__)
    if len(order) != len(place):
        raise RecordsError(f"the run holds {len(order)} records where {len(place)} were expected.")
    return table.take(pa.array(order, pa.int64()))


def _session(job: Job, made: int, started: str, seconds: float) -> dict[str, Any]:
    return {
        "started": started,
        "finished": now(),
        "engine": job.configuration["engine"],
        "batch_size": job.engine.batch_size,
        "ranks": distributed.size(),
        "new_records": made,
        "seconds": round(seconds, 3),
        "mlx_peak_memory_bytes": mx.get_peak_memory(),
        "versions": versions(),
        "device": device(),
    }


def _info_without_folder(job: Job, table: pa.Table, session: dict[str, Any]) -> dict[str, Any]:
    return {
        "configuration": job.configuration,
        **job.about,
        "engine_note": job.engine.note,
        "letters": letters_found(table, job.words.letters),
        "kernels": choice.so_far().to_json(),
        "sessions": [session],
    }
