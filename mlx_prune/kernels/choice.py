"""Whether a kernel or its portable twin answers: decided per kernel and type, and recorded.

A kernel is used once it agrees with its twin on this machine (:mod:`~mlx_prune.kernels.check`).
Should it fail later, on a matrix of another size, :func:`attempt` does the same work over without it, and it
is not used again in this process. ``MLX_PRUNE_KERNELS=0`` switches all of them off.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import mlx.core as mx

from mlx_prune.dtypes import type_name
from mlx_prune.environment import backend
from mlx_prune.errors import MlxPruneError, RecipeError
from mlx_prune.kernels import check

VARIABLE = "MLX_PRUNE_KERNELS"
SWITCHED_OFF = f"{VARIABLE}=0"
NUMPY, PORTABLE = "numpy", "portable"  # beside the names of backends, which stand for their kernels

T = TypeVar("T")
_Key = tuple[str, str]  # function, type


class KernelWarning(UserWarning):
    """A kernel is not used, because it failed or gave another result than the portable operations."""


@dataclass(frozen=True)
class Answer:
    """What answered one call.

    Attributes:
        key: Function and type.
        implementation: As in :class:`KernelRecord`.
        fault: Why it was not the kernel, where there is one.
    """

    key: _Key
    implementation: str
    fault: str | None = None


@dataclass
class KernelRecord:
    """What answered in one job, where there are kernels.

    Attributes:
        ran: By function and type, in the order of first use: a backend ("metal", "cuda": its kernel),
            "portable" (MLX operations) or "numpy".
        faults: By function and type, why its kernel was not used.
    """

    ran: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    faults: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, other: Mapping[str, Any]) -> None:
        """Add what another job, or an earlier attempt at this one, recorded as JSON."""
        for function, types in other.get("ran", {}).items():
            for dtype, implementations in types.items():
                for implementation in implementations:
                    self.note(Answer((function, dtype), implementation))
        for function, reasons in other.get("faults", {}).items():
            self.faults[function] = {**self.faults.get(function, {}), **reasons}

    def to_json(self) -> dict[str, Any]:
        """For pruning_meta.json; :meth:`add` reads it."""
        return {
            "ran": {name: {t: list(how) for t, how in types.items()} for name, types in self.ran.items()},
            "faults": {name: dict(reasons) for name, reasons in self.faults.items()},
        }

    def note(self, answer: Answer) -> None:
        """Add one answer."""
        function, dtype = answer.key
        implementations = self.ran.setdefault(function, {}).setdefault(dtype, [])
        if answer.implementation not in implementations:
            implementations.append(answer.implementation)
        if answer.fault is not None:
            self.faults.setdefault(function, {})[dtype] = answer.fault


# By function and type, why the kernel is not used in this process; None if it is.
_decided: dict[_Key, str | None] = {}
_records: list[KernelRecord] = []
_process = KernelRecord()
# What answered in each attempt that is not finished; the notes of one that fails are dropped.
_attempts: list[list[Answer]] = []


def usable(function: str, dtype: mx.Dtype) -> bool:
    """Whether a kernel is to be called on this GPU with this type; noted as what answers.

    Args:
        function: Its name in :mod:`~mlx_prune.kernels.launch`.
        dtype: Type of the matrix.
    """
    reason = fault(function, dtype)
    note(function, dtype, backend() if reason is None else PORTABLE, reason)
    return reason is None


def fault(function: str, dtype: mx.Dtype) -> str | None:
    """Why a kernel is not used on this GPU with this type; None if it is. The first call checks it."""
    if switched_off():
        return SWITCHED_OFF
    key = (function, type_name(dtype))
    if key not in _decided:
        found = check.check(function, dtype)
        _decided[key] = None if found.agrees else found.detail
        _tell(key)
    return _decided[key]


def switched_off() -> bool:
    """Whether ``MLX_PRUNE_KERNELS`` is 0.

    Raises:
        RecipeError: It is neither 0 nor 1.
    """
    value = os.environ.get(VARIABLE) or "1"
    if value not in ("0", "1"):
        raise RecipeError(f"{VARIABLE} is {value!r}; 0 switches the GPU kernels off, and 1 leaves them on.")
    return value == "0"


def note(function: str, dtype: mx.Dtype, implementation: str, reason: str | None = None) -> None:
    """Record what answers, and why it is not the kernel."""
    _keep([Answer((function, type_name(dtype)), implementation, reason)])


def so_far() -> KernelRecord:
    """What answered in this process until now, in all its jobs together."""
    return _process


@contextmanager
def recording() -> Iterator[KernelRecord]:
    """While open, what answers is recorded."""
    record = KernelRecord()
    _records.append(record)
    try:
        yield record
    finally:
        _records[:] = [other for other in _records if other is not record]


def attempt(work: Callable[[], T]) -> T:
    """Do some work; where it fails after kernels were called in it, do it over without them.

    Args:
        work: Evaluates what it computes, and can be done twice.

    Returns:
        What it returns.

    Raises:
        Exception: What it raised without kernels; it was not their fault then, and they stay in use.
    """
    notes: list[Answer] = []
    _attempts.append(notes)
    try:
        try:
            found = work()
        except MlxPruneError:
            raise
        except Exception as error:  # whatever the compiler, the driver or the allocator says
            suspects = {answer.key for answer in notes if answer.implementation not in (NUMPY, PORTABLE)}
            if not suspects:
                raise
            notes.clear()
            _decided.update(dict.fromkeys(suspects, check.summary(error)))
            try:
                found = work()
            except BaseException:
                _decided.update(dict.fromkeys(suspects))
                raise
            for key in sorted(suspects):
                _tell(key)
    finally:
        _attempts.pop()
    _keep(notes)
    return found


def sentences(record: Mapping[str, Any]) -> list[str]:
    """What a record (as JSON) says of kernels that failed, for people; nothing of those switched off."""
    return [
        _sentence((function, dtype), reason)
        for function, reasons in record.get("faults", {}).items()
        for dtype, reason in reasons.items()
        if reason != SWITCHED_OFF
    ]


def _keep(answers: list[Answer]) -> None:
    if _attempts:
        _attempts[-1].extend(answers)
        return
    for record in (_process, *_records):
        for answer in dict.fromkeys(answers):
            record.note(answer)


def _tell(key: _Key) -> None:
    reason = _decided[key]
    if reason is not None:
        warnings.warn(_sentence(key, reason), KernelWarning, stacklevel=4)


def _sentence(key: _Key, reason: str) -> str:
    function, dtype = key
    return (
        f"The GPU kernel {function} is not used for {dtype} ({reason}), portable operations take its place; "
        "please report this with the output of `mlxprune doctor --json`."
    )
