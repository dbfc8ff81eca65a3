"""Send the calls that a loaded shared library makes into others to functions of one's choice (Linux).

A shared library calls functions of others through a table of addresses, one slot per function, which the
dynamic linker fills in. The library's relocations say where the slots are; they are read from memory.
Nothing on disk changes, and no other library's calls do.

Sources: System V ABI, "Dynamic linking"; its supplements for x86-64 (R_X86_64_*) and AArch64 (R_AARCH64_*).
It has run on x86-64; of aarch64, the tables of MLX's wheel were read, and nothing ran.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

MAPS = "/proc/self/maps"

# e_machine: the types of relocations whose slot holds nothing but a function's address (GLOB_DAT, JUMP_SLOT).
ADDRESS_KINDS = {62: (6, 7), 183: (1025, 1026)}

_LOAD, _DYNAMIC = 1, 2
_PLTRELSZ, _STRTAB, _SYMTAB, _RELA, _RELASZ, _STRSZ, _PLTREL, _JMPREL = 2, 5, 6, 7, 8, 10, 20, 23
_SYMBOL_BYTES, _SEGMENT_BYTES, _POINTER_BYTES = 24, 56, 8


class UnreadableError(Exception):
    """The library, or the memory around it, is not as expected; nothing was changed."""


class Region(NamedTuple):
    """Addresses [start, end) of this process, their permissions ("r-xp"), and the file mapped there or ""."""

    start: int
    end: int
    permissions: str
    path: str


def regions() -> list[Region]:
    """The memory of this process, by address."""
    found = []
    with open(MAPS, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            addresses, permissions, _, _, _, *path = line.rstrip("\n").split(maxsplit=5)
            start, end = (int(address, 16) for address in addresses.split("-"))
            found.append(Region(start, end, permissions, *(path or [""])))
    return found


def calls(library: Sequence[Region], names: re.Pattern[str]) -> dict[str, list[int]]:
    """Where a loaded library keeps the addresses of functions that it calls in others.

    Args:
        library: The library's own memory, by address.
        names: What the whole of a function's name must match.

    Returns:
        Addresses of the slots, by the function's name.

    Raises:
        UnreadableError: Not a library of a known processor, or it keeps such an address elsewhere, too.
    """
    start = library[0].start
    header = _read(library, start, 64)
    machine = struct.unpack_from("<H", header, 18)[0]
    if header[:6] != b"\x7fELF\x02\x01" or machine not in ADDRESS_KINDS:
        raise UnreadableError(f"libraries of this processor (ELF machine {machine}) cannot be redirected")
    (first,), (count,) = struct.unpack_from("<Q", header, 32), struct.unpack_from("<H", header, 56)
    segments = list(struct.iter_unpack("<IIQQQQQQ", _read(library, start + first, _SEGMENT_BYTES * count)))
    # Type, flags, offset in the file, address as linked, ..., size in memory.
    shift = next((start - at + offset for kind, _, offset, at, *_ in segments if kind == _LOAD), None)
    dynamic = next(((at, size) for kind, _, _, at, _, _, size, _ in segments if kind == _DYNAMIC), None)
    if shift is None or dynamic is None:
        raise UnreadableError("the library has no dynamic section")
    tags = dict(struct.iter_unpack("<QQ", _read(library, shift + dynamic[0], dynamic[1])))
    if not tags.keys() >= {_STRTAB, _SYMTAB, _STRSZ} or tags.get(_PLTREL, _RELA) != _RELA:
        raise UnreadableError("the library's dynamic section has another form")

    def table(tag: int, size: int) -> bytes:
        # glibc has put addresses as loaded in place of those as linked, musl has not.
        at = tags.get(tag, 0)
        return _read(library, at if at >= start else at + shift, size)

    relocations = [
        (slot + shift, info >> 32, info & 0xFFFFFFFF, addend)
        for tag, size in ((_RELA, _RELASZ), (_JMPREL, _PLTRELSZ))
        for slot, info, addend in struct.iter_unpack("<QQq", table(tag, tags.get(size, 0)))
        if info >> 32
    ]
    strings = table(_STRTAB, tags[_STRSZ])
    last = max((symbol for _, symbol, _, _ in relocations), default=0)
    symbols = table(_SYMTAB, _SYMBOL_BYTES * (last + 1))
    found: dict[str, set[int]] = {}
    for slot, symbol, kind, addend in relocations:
        at, _, _, section = struct.unpack_from("<IBBH", symbols, _SYMBOL_BYTES * symbol)
        name = strings[at : strings.index(b"\0", at)].decode()
        if section or not names.fullmatch(name):
            continue
        if kind not in ADDRESS_KINDS[machine] or addend:
            raise UnreadableError(f"the address of {name} is used in a way that is not known (type {kind})")
        found.setdefault(name, set()).add(slot)
    return {name: sorted(slots) for name, slots in found.items()}


def redirect(addresses: Mapping[int, int], memory: Sequence[Region]) -> None:
    """Store functions' addresses in slots, all of them or none.

    Each store is one aligned machine word: a thread that calls through a slot meanwhile calls one function or
    the other. Pages that the dynamic linker has made read-only are so again afterwards.

    Args:
        addresses: What to store, by address of the slot.
        memory: The process's memory, by address.

    Raises:
        UnreadableError: A slot holds no function's address now.
        OSError: The system does not allow writing there.
    """
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    locked = {}
    for slot in addresses:
        region = _region(memory, slot)
        if region is None or "r" not in region.permissions or slot % _POINTER_BYTES:
            raise UnreadableError("a slot lies outside the library")
        now = _region(memory, ctypes.c_uint64.from_address(slot).value)
        if now is None or "x" not in now.permissions:
            raise UnreadableError("a slot holds no function's address")
        if "w" not in region.permissions:
            locked[slot // page_bytes * page_bytes] = region
    unlocked = []
    try:
        for page in locked:
            _protect(page, page_bytes, "rw")
            unlocked.append(page)
        for slot, address in addresses.items():
            ctypes.c_uint64.from_address(slot).value = address
    finally:
        for page in unlocked:
            _protect(page, page_bytes, locked[page].permissions)


def _protect(page: int, size: int, permissions: str) -> None:
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    bits = sum(1 << "rwx".index(letter) for letter in set(permissions) & set("rwx"))
    if protect(page, size, bits):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _region(memory: Sequence[Region], address: int) -> Region | None:
    return next((region for region in memory if region.start <= address < region.end), None)


def _read(library: Sequence[Region], address: int, size: int) -> bytes:
    """Bytes of the library's own memory; an address outside it is an error rather than a crash."""
    reached = address
    for region in library:
        if region.start <= reached < region.end and "r" in region.permissions:
            reached = region.end
    if size and reached < address + size:
        raise UnreadableError("a table lies outside the library")
    return ctypes.string_at(address, size) if size else b""
