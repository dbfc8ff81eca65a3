"""The slots of a library's calls are found, for both processors, and written only where that is safe."""

from __future__ import annotations

import ctypes
import mmap
import re
import struct
import sys
from collections.abc import Callable, Iterator

import pytest

from mlx_prune import _elf

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="libraries have another form there")

X86_64, AARCH64, RISC_V = 62, 183, 243
NAMES = re.compile("cblas_.*|dgeev_")
SEGMENT, DYNAMIC, SYMBOLS, STRINGS, RELOCATIONS, SLOTS = 64, 256, 512, 640, 768, 1024
LIBRARY_BYTES = 2 * mmap.PAGESIZE

Library = Callable[..., list[_elf.Region]]


@pytest.fixture
def library() -> Iterator[Library]:
    """Puts a small library into memory, as the dynamic linker would, and returns where."""
    kept = []

    def build(
        machine: int, relocations: list[tuple[int, int, int]], *, relocated: bool = True, addend: int = 0
    ) -> list[_elf.Region]:
        memory = mmap.mmap(-1, LIBRARY_BYTES)
        kept.append(memory)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        shift = start if relocated else 0
        names = [b"", b"cblas_sgemm", b"memcpy", b"dgeev_", b"cblas_own"]
        strings = b"\0".join(names) + b"\0"
        header = struct.pack(
            "<6s10xHHIQQQIHHHHHH", b"\x7fELF\x02\x01", 3, machine, 1, 0, SEGMENT, 0, 0, 64, 56, 2, 0, 0, 0
        )
        symbols = b"".join(
            struct.pack(
                "<IBBHQQ", strings.index(name + b"\0") if name else 0, 18, 0, 7 * (name == b"cblas_own"), 0, 0
            )
            for name in names
        )
        bound = [entry for entry in relocations if entry[2] in (7, 1026)]
        others = [entry for entry in relocations if entry not in bound]
        tables = [
            b"".join(struct.pack("<QQq", slot, symbol << 32 | kind, addend) for slot, symbol, kind in table)
            for table in (others, bound)
        ]
        tags = {
            5: STRINGS + shift, 10: len(strings), 6: SYMBOLS + shift,
            7: RELOCATIONS + shift, 8: len(tables[0]),
            23: RELOCATIONS + len(tables[0]) + shift, 2: len(tables[1]), 20: 7, 0: 0,
        }  # fmt: skip
        parts = {
            0: header,
            SEGMENT: struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, LIBRARY_BYTES, LIBRARY_BYTES, 4096)
            + struct.pack("<IIQQQQQQ", 2, 6, DYNAMIC, DYNAMIC, DYNAMIC, 16 * len(tags), 16 * len(tags), 8),
            DYNAMIC: b"".join(struct.pack("<QQ", *tag) for tag in tags.items()),
            SYMBOLS: symbols,
            STRINGS: strings,
            RELOCATIONS: b"".join(tables),
        }
        for at, part in parts.items():
            memory[at : at + len(part)] = part
        return [_elf.Region(start, start + LIBRARY_BYTES, "rw-p", "/made/up.so")]

    yield build
    kept.clear()


@pytest.mark.parametrize("relocated", [True, False], ids=["glibc", "musl"])
@pytest.mark.parametrize(("machine", "data", "jump"), [(X86_64, 6, 7), (AARCH64, 1025, 1026)])
def test_slots_are_found_by_name(
    library: Library, machine: int, data: int, jump: int, relocated: bool
) -> None:
    made = library(
        machine,
        [
            (SLOTS, 1, jump), (SLOTS + 8, 2, jump), (SLOTS + 16, 1, data), (SLOTS + 24, 3, data),
            (SLOTS + 32, 4, jump), (SLOTS + 40, 0, 8),
        ],
        relocated=relocated,
    )  # fmt: skip
    start = made[0].start
    assert _elf.calls(made, NAMES) == {
        "cblas_sgemm": [start + SLOTS, start + SLOTS + 16],
        "dgeev_": [start + SLOTS + 24],
    }


def test_other_processors_and_other_uses_of_an_address_are_refused(library: Library) -> None:
    with pytest.raises(_elf.UnreadableError, match="ELF machine 243"):
        _elf.calls(library(RISC_V, [(SLOTS, 1, 5)]), NAMES)
    with pytest.raises(_elf.UnreadableError, match=r"cblas_sgemm is used in a way .* \(type 257\)"):
        _elf.calls(library(AARCH64, [(SLOTS, 1, 257)]), NAMES)
    with pytest.raises(_elf.UnreadableError, match="cblas_sgemm"):
        _elf.calls(library(X86_64, [(SLOTS, 1, 7)], addend=8), NAMES)


def test_tables_outside_the_library_are_refused_rather_than_read(library: Library) -> None:
    (region,) = library(X86_64, [(SLOTS, 1, 7)])
    with pytest.raises(_elf.UnreadableError, match="outside the library"):
        _elf.calls([region._replace(end=region.start + SYMBOLS)], NAMES)
    with pytest.raises(_elf.UnreadableError, match="outside the library"):
        _elf.calls([region._replace(permissions="---p")], NAMES)


@pytest.fixture
def page() -> Iterator[int]:
    """A read-only page, as the dynamic linker leaves it, whose first slots hold a function's address."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for slot in (at, at + 8):
        ctypes.c_uint64.from_address(slot).value = _function("abs")
    _elf._protect(at, mmap.PAGESIZE, "r--p")
    yield at
    _elf._protect(at, mmap.PAGESIZE, "rw")


def _function(name: str) -> int:
    return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value or 0


def _permissions(address: int) -> str:
    return next(region.permissions for region in _elf.regions() if region.start <= address < region.end)


def test_read_only_slots_are_written_and_are_read_only_again(page: int) -> None:
    _elf.redirect({page: _function("labs"), page + 8: _function("atoi")}, _elf.regions())
    assert ctypes.c_uint64.from_address(page).value == _function("labs")
    assert ctypes.c_uint64.from_address(page + 8).value == _function("atoi")
    assert _permissions(page) == "r--p"


@pytest.mark.parametrize("wrong", ["no address", "unaligned", "unmapped"])
def test_all_slots_are_written_or_none(page: int, wrong: str) -> None:
    other = {"no address": page + 16, "unaligned": page + 4, "unmapped": 8}[wrong]
    with pytest.raises(_elf.UnreadableError):
        _elf.redirect({page: _function("labs"), other: _function("labs")}, _elf.regions())
    assert ctypes.c_uint64.from_address(page).value == _function("abs")


def test_none_is_written_where_the_system_forbids_it(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(address: int, size: int, permissions: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_elf, "_protect", forbidden)
    with pytest.raises(PermissionError):
        _elf.redirect({page: _function("labs")}, _elf.regions())
    monkeypatch.undo()
    assert ctypes.c_uint64.from_address(page).value == _function("abs")
