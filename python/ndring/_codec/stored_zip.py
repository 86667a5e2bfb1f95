"""ZIP archives of uncompressed entries, in one fixed form.

::

    local header | entry | local header | entry | ... | directory of all entries | end of the directory

Every field has exactly one permitted value, so the reader rebuilds each header from name, size and
CRC-32 and compares the bytes. It therefore accepts nothing but what the writer writes: no
compression, encryption, comments, gaps, overlaps or entries outside of the directory. Each entry
starts at a multiple of 64 bytes, because an extra field pads its local header. Sizes and offsets
from 4 GiB are in ZIP64's fields. docs/attrs.md describes the form.
"""
from __future__ import annotations

import struct
from typing import Any, List, NamedTuple, Sequence, Tuple

from .._exceptions import DecodeError

#: Every entry starts at a multiple of this many bytes.
ALIGN = 64
#: The first size or offset (bytes) that needs ZIP64, and the first such number of entries.
_LARGE = 0xFFFFFFFF
_MANY = 0xFFFF
_IN_ZIP64 = 0xFFFFFFFF  # in place of a size or offset that ZIP64's field has

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_VERSION, _VERSION64 = 20, 45  # of the specification, that a reader needs
_UTF8 = 0x800  # flag: the name is UTF-8
_DATE = 0x21  # 1 January 1980; equal values have equal bytes
_ZIP64_FIELD = 0x0001
_ALIGN_FIELD = 0xD935  # the extra field with which Android's zipalign pads too


class Entry(NamedTuple):
    """``name``: UTF-8. ``size``: in bytes. ``crc``: CRC-32. ``offset``: of the local header, in bytes."""

    name: bytes
    size: int
    crc: int
    offset: int


def local_header(entry: Entry) -> bytes:
    """Returns the header in front of an entry, padded so that the entry is aligned."""
    version, size, extra = _VERSION, entry.size, b""
    if size >= _LARGE:
        extra = struct.pack("<2H2Q", _ZIP64_FIELD, 16, size, size)
        version, size = _VERSION64, _IN_ZIP64
    padding = -(entry.offset + _LOCAL.size + len(entry.name) + len(extra) + 6) % ALIGN
    extra += struct.pack("<3H", _ALIGN_FIELD, 2 + padding, ALIGN) + bytes(padding)
    fields = (b"PK\3\4", version, _UTF8, 0, 0, _DATE, entry.crc, size, size, len(entry.name), len(extra))
    return _LOCAL.pack(*fields) + entry.name + extra


def directory(entries: Sequence[Entry], offset: int) -> bytes:
    """Returns what follows the last entry. ``offset``: where it starts, in bytes."""
    out = bytearray()
    for entry in entries:
        out += _central_header(entry)
    count, size = len(entries), len(out)
    if count >= _MANY or size >= _LARGE or offset >= _LARGE:
        out += _END64.pack(b"PK\6\6", _END64.size - 12, _VERSION64, _VERSION64, 0, 0, count, count, size, offset)
        out += _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)
        count, size, offset = 0xFFFF, _IN_ZIP64, _IN_ZIP64
    out += _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)
    return bytes(out)


def _central_header(entry: Entry) -> bytes:
    version, size, offset, extra = _VERSION, entry.size, entry.offset, b""
    if size >= _LARGE:
        extra += struct.pack("<2Q", size, size)
        size = _IN_ZIP64
    if offset >= _LARGE:
        extra += struct.pack("<Q", offset)
        offset = _IN_ZIP64
    if extra:
        version, extra = _VERSION64, struct.pack("<2H", _ZIP64_FIELD, len(extra)) + extra
    fields = (b"PK\1\2", version, version, _UTF8, 0, 0, _DATE, entry.crc, size, size, len(entry.name), len(extra), 0, 0, 0, 0, offset)
    return _CENTRAL.pack(*fields) + entry.name + extra


def read(archive: memoryview, most: int) -> List[Tuple[bytes, int, int]]:
    """Returns name, start and end (bytes) of each entry, at most ``most``, in the order of the
    archive.

    The entries' CRC-32 are not compared with their bytes. Raises DecodeError for any archive that
    the functions above do not write.
    """
    try:
        return _read(archive, most)
    except struct.error as exc:
        raise DecodeError(f"the archive of a collection ends too early: {exc}") from exc


def _read(archive: memoryview, most: int) -> List[Tuple[bytes, int, int]]:
    end = len(archive) - _END.size
    fields: Any = _END.unpack_from(archive, max(end, 0))
    count, size, offset = fields[4], fields[5], fields[6]
    if size == _IN_ZIP64:
        end -= _END64.size + _LOCATOR.size
        fields = _END64.unpack_from(archive, max(end, 0))
        count, size, offset = fields[7], fields[8], fields[9]
    if offset + size != end or count > most:
        raise DecodeError("the directory of a collection's archive is not where it ends, or has too many entries")
    listed = bytes(archive[offset:])
    entries: List[Entry] = []
    found: List[Tuple[bytes, int, int]] = []
    at = position = 0
    for _ in range(count):
        fields = _CENTRAL.unpack_from(listed, at)
        at += _CENTRAL.size
        name, extra = listed[at : at + fields[10]], at + fields[10]
        at = extra + fields[11]
        length = struct.unpack_from("<Q", listed, extra + 4)[0] if fields[8] == _IN_ZIP64 else fields[8]
        entry = Entry(name, length, fields[7], position)
        header = local_header(entry)
        start = position + len(header)
        position = start + length
        if archive[start - len(header) : start] != header:
            raise DecodeError("an entry of a collection's archive does not match the archive's directory")
        entries.append(entry)
        found.append((name, start, position))
    if position != offset or listed != directory(entries, offset):
        raise DecodeError("the directory of a collection's archive does not match its entries")
    return found
