"""A run folder that is being written: ``run.json`` and records, shared by the processes of one job."""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlx_prune import distributed
from mlx_prune.environment import device, versions
from mlx_prune.errors import MlxPruneError, RecordsError
from mlx_prune.runs.folder import FORMAT, RUN_FILE, RunFolder
from mlx_prune.runs.items import read_items, write_items
from mlx_prune.runs.records import from_bytes, part_files, read_records, to_bytes, write_part
from mlx_prune.store import RECORDS_FOLDER, locked, remove_leftovers, write_atomically

if TYPE_CHECKING:
    from mlx_prune.bbq.item import Item


def configuration_hash(configuration: Mapping[str, Any]) -> str:
    """Short hash of a configuration, independent of the order of its keys."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunWriter:
    """A run folder that this process holds; made by :func:`open_run`.

    Attributes:
        path: The folder.
        data: What ``run.json`` says.
        shared: Whether all ranks of the job see the same folder. If not, each has its own on its own disk,
            and :meth:`collect` brings the records together.
    """

    def __init__(self, path: Path, data: dict[str, Any], *, shared: bool) -> None:
        self.path = path
        self.data = data
        self.shared = shared
        self._session = uuid.uuid4().hex[:8]
        self._parts = 0

    def done(self) -> set[tuple[str, int]]:
        """(item id, seed) of every record that any rank can see.

        Raises:
            RecordsError: A file is damaged, or a record is there twice.
        """
        table = read_records(self.path, ["item_id", "seed"])
        pairs = set(zip(table["item_id"].to_pylist(), table["seed"].to_pylist(), strict=True))
        if len(pairs) != table.num_rows:
            raise RecordsError(
                f"{self.path} holds {table.num_rows - len(pairs)} records twice; redo the run with --force."
            )
        if self.shared:
            return pairs
        everyone = distributed.gather_bytes(json.dumps(sorted(pairs)).encode())
        return {(item, seed) for data in everyone for item, seed in json.loads(data)}

    def write(self, table: pa.Table) -> None:
        """Add records, complete on the disk when this returns.

        Raises:
            RecordsError: The disk is full or the folder cannot be written.
        """
        if table.num_rows:
            name = f"part-{self._session}-{distributed.rank():03d}-{self._parts:06d}"
            write_part(self.path, name, table)
            self._parts += 1

    def keep(self, items: Sequence[Item]) -> None:
        """Keep the questions beside the answers, unless they are there; once per folder.

        Raises:
            RecordsError: The disk is full or the folder cannot be written.
        """
        if self.shared and distributed.rank() != 0:
            return
        try:
            read_items(RunFolder(self.path))
        except RecordsError:
            write_items(self.path, items)

    def collect(self) -> pa.Table:
        """Every record of the job, on every rank; where disks are apart, rank 0 also stores what it lacks."""
        if self.shared:
            distributed.barrier()
            return read_records(self.path)
        everyone = [from_bytes(data) for data in distributed.gather_bytes(to_bytes(read_records(self.path)))]
        seen: set[tuple[str, int]] = set()
        fresh = []
        for rank, table in enumerate(everyone):
            pairs = list(zip(table["item_id"].to_pylist(), table["seed"].to_pylist(), strict=True))
            new = table.filter(pa.array([pair not in seen for pair in pairs], pa.bool_()))
            seen.update(pairs)
            fresh.append(new)
            if rank > 0 and distributed.rank() == 0:
                self.write(new)
        return pa.concat_tables(fresh)

    def update(self, **entries: Any) -> None:
        """Replace entries of ``run.json``, once per folder; ``session`` is appended to the sessions."""
        if self.shared and distributed.rank() != 0:
            return
        session = entries.pop("session", None)
        self.data |= entries
        if session is not None:
            self.data["sessions"] = [*self.data.get("sessions", []), session]
        text = json.dumps(self.data, indent=2, ensure_ascii=False)
        write_atomically(self.path / RUN_FILE, f"{text}\n".encode())


@contextmanager
def open_run(
    run: Path,
    configuration: Mapping[str, Any],
    *,
    force: bool = False,
    extends: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Iterator[RunWriter]:
    """Open a run folder for one configuration, creating it if absent; every rank of a job calls this.

    Args:
        run: The folder.
        configuration: What the records depend on, as JSON-ready values.
        force: Throw away the records that are there.
        extends: Tells of the configuration that is there whether its records are a part of what is wanted
            now; they are kept, and the folder becomes the wanted configuration's.

    Raises:
        RecordsError: The folder belongs to another configuration (the differing fields are named), is in use,
            is damaged, or cannot be written.
    """
    first = distributed.rank() == 0
    folder: RunWriter | None = None
    with ExitStack() as stack:
        # Rank 0 first: it also looks for processes of an earlier job, whose locks the other ranks would take.
        for turn in (first, not first):
            with _together():
                if turn:
                    stack.enter_context(locked(run, distributed.rank()))
        shared = _is_shared(run)
        for turn in (first, not first):
            with _together():
                if turn:
                    folder = _prepare(
                        run,
                        configuration,
                        force=force,
                        owner=first or not shared,
                        shared=shared,
                        extends=extends,
                    )
        assert folder is not None
        yield folder


@contextmanager
def _together() -> Iterator[None]:
    """Run a step on every rank; when it fails on one, every rank raises instead of waiting for it."""
    problem: MlxPruneError | None = None
    try:
        yield
    except MlxPruneError as error:
        problem = error
    failed = distributed.gather_integers(int(problem is not None))
    if problem is not None:
        raise problem
    if any(failed):
        raise RecordsError(f"process {failed.index(1)} of this job could not open the run folder.")


def _is_shared(run: Path) -> bool:
    """Whether every rank sees rank 0's folder: rank 0 leaves a file there and the others look for it."""
    if distributed.size() == 1:
        return True
    token = max(distributed.gather_integers(uuid.uuid4().int % 2**31 if distributed.rank() == 0 else 0))
    mark = run / f".job-{token:08x}"
    if distributed.rank() == 0:
        mark.touch()
    distributed.barrier()
    seen = all(distributed.gather_integers(int(mark.exists())))
    if distributed.rank() == 0:
        mark.unlink()
    return seen


def _prepare(
    run: Path,
    configuration: Mapping[str, Any],
    *,
    force: bool,
    owner: bool,
    shared: bool,
    extends: Callable[[Mapping[str, Any]], bool] | None,
) -> RunWriter:
    (run / RECORDS_FOLDER).mkdir(exist_ok=True)
    if owner:
        remove_leftovers(run)
        remove_leftovers(run / RECORDS_FOLDER)
    if owner and force:
        # run.json first: records without it are refused, so a kill between the two leaves nothing half-valid.
        (run / RUN_FILE).unlink(missing_ok=True)
        for file in part_files(run):
            file.unlink()
    if (run / RUN_FILE).exists():
        data = RunFolder(run).resumed().entries
        folder = RunWriter(run, data, shared=shared)
        if owner and extends is not None and extends(data["configuration"]):
            # Before the first new record, so that a kill in between leaves a run that is to be carried on.
            folder.update(**_identity(configuration), status="running")
        _require_same(run, folder.data["configuration"], configuration)
        return folder
    if part_files(run):
        raise RecordsError(f"{run} holds records but no {RUN_FILE}; redo the run with --force.")
    data = {
        "format": FORMAT,
        **_identity(configuration),
        "status": "running",
        "created": now(),
        "versions": versions(),
        "device": device(),
        "sessions": [],
    }
    folder = RunWriter(run, data, shared=shared)
    folder.update()
    return folder


def _identity(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "configuration_hash": configuration_hash(configuration),
        "configuration": json.loads(json.dumps(configuration)),
    }


def _require_same(run: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if configuration_hash(found) == configuration_hash(wanted):
        return
    wanted = json.loads(json.dumps(wanted))
    names = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
    differences = ", ".join(
        f"{name} (there {_brief(found.get(name))}, now {_brief(wanted.get(name))})" for name in names
    )
    raise RecordsError(
        f"{run} belongs to another configuration, which differs in {differences}; "
        "choose another folder, or start it anew with --force."
    )


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def now() -> str:
    """The present time, UTC, ISO 8601, in whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
