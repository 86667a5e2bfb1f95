"""Builds requests and parses replies. Nothing here touches a connection."""
from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from .. import _codec

from .._codec import kinds as _kinds
from .._codec.attrs import load
from .._codec.literal import LiteralError, parse_literal
from .._codec.npy import Header
from .._exception_origin import is_decode_error
from .._exceptions import CorruptError, DecodeError
from .replies import checked, is_ok, is_size, is_time, is_version_or_null
from .request import Request
from .resp import MAX_SUMMED, Buffer, Piece, Reading, ReplyReader, Stored, crc32c as _crc32c, pack, pack_after


@dataclass(frozen=True)
class Meta:
    """The metadata of a stored array.

    ``shape``: lengths of the axes. ``dtype``: the array's own. ``fortran_order``: whether the data
    is in F order. ``itemsize``, ``nbytes``: bytes per element, bytes of data. ``size``: number of
    elements. ``npy_bytes``: bytes of the .npy file, the first ``data_offset`` of which are its
    header. ``version``: of the write that stored it. ``crc32c``: over all stored bytes. ``pttl``:
    milliseconds until it expires, -1 for never. ``attrs``: JSON stored beside it, or None.
    ``parts``: name -> bytes of each part.
    """

    shape: Tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    itemsize: int
    size: int
    nbytes: int
    npy_bytes: int
    data_offset: int
    version: str
    crc32c: int
    pttl: int
    attrs: Optional[bytes]
    parts: Mapping[str, int]
    header: Header


def slot(key: bytes) -> int:
    """Returns the hash slot of a key, computed as Redis Cluster does."""
    opening = key.find(b"{")
    if opening >= 0:
        closing = key.find(b"}", opening + 1)
        if closing > opening + 1:
            key = key[opening + 1 : closing]
    return binascii.crc_hqx(key, 0) % 16384


_JOINED = 32 << 10  # bytes; up to this size one copy costs less than sending three buffers


_read_ok = checked("NP.SET", is_ok)


def set_request(
    key: bytes, value: Any, layout: str, metadata: str, words: Sequence[bytes], conditional: bool = False, check: Callable[[Any], bool] = is_ok,
    convert: bool = False,
) -> Request:  # fmt: skip
    """Returns NP.SET for a value. The request refers to the value's memory instead of copying it."""
    encoded = _codec.encode(value, layout=layout, metadata=metadata, convert=convert)
    read = _read_ok if check is is_ok else checked("NP.SET", check)
    header, data, more = encoded.header, encoded.data, encoded.more
    size = len(data) + sum(map(len, more)) if more else len(data)
    options: List[Buffer] = list(words)
    if encoded.attrs:
        options += (b"ATTRS", encoded.attrs)
    for name, part in encoded.parts:
        options += (b"PART", name, part)
    if size <= MAX_SUMMED:
        crc = _crc32c(data, _crc32c(header))
        for buffer in more:
            crc = _crc32c(buffer, crc)
        if encoded.attrs:
            crc = _crc32c(encoded.attrs, crc)
        for name, part in encoded.parts:
            crc = _crc32c(part, _crc32c(name, crc))
        options += (b"CRC32C", b"%d" % crc)
    # The .npy file is two or more buffers here and one argument on the wire.
    head = b"*%d\r\n$6\r\nNP.SET\r\n$%d\r\n%b\r\n$%d\r\n%b" % (3 + len(options), len(key), key, len(header) + size, header)
    rest = pack_after(b"\r\n", options)
    if size <= _JOINED and len(rest) == 1:
        return Request([b"".join((head, data, *more, rest[0]))], read, conditional, None, True, key, writes=True, quick=ReplyReader.ok)
    return Request([head, data, *more, *rest], read, conditional, encoded, True, key, writes=True, quick=ReplyReader.ok)


def meta_request(key: bytes) -> Request:
    return Request(pack(b"NP.META", key), _read_meta, key=key, spread=True)


def _read_meta(reader: ReplyReader) -> Reading[Optional[Meta]]:
    return parse_meta((yield from reader.reply()))


def get_request(key: bytes) -> Request:
    command = b"*3\r\n$6\r\nNP.GET\r\n$%d\r\n%b\r\n$9\r\nWITHATTRS\r\n" % (len(key), key)
    return Request([command], ReplyReader.stored, key=key, spread=True, quick=ReplyReader.plain)


def newer_request(key: bytes, version: str) -> Request:
    """Returns NP.GET for an array that is newer than a version; its reply raises NotModified otherwise."""
    return Request(pack(b"NP.GET", key, b"WITHATTRS", b"IFNEWER", version.encode()), ReplyReader.stored, key=key)


def piece_request(name: bytes, key: bytes, *arguments: bytes) -> Request:
    """Returns NP.SLICE or NP.TAKE."""
    return Request(pack(name, key, *arguments, b"WITHATTRS"), ReplyReader.piece, key=key, spread=True)


def restore_piece(piece: Optional[Piece]) -> Optional[np.ndarray[Any, Any]]:
    """Returns the array in a reply to NP.SLICE or NP.TAKE, None for a missing key."""
    return None if piece is None else _codec.decode_piece(piece.header, piece.data, piece.attrs)


def restore(stored: Optional[Stored]) -> Any:
    """Returns the array in a reply, None for a missing key. Raises CorruptError or DecodeError."""
    if stored is None:
        return None
    check_crc(stored)
    return _codec.decode(stored.header, stored.data, stored.attrs, stored.parts)


def check_crc(stored: Stored) -> None:
    """Raises CorruptError if the received bytes do not match the checksum that the node stores."""
    crc = stored.npy_crc
    if crc is None:
        return
    if stored.attrs:
        crc = _crc32c(stored.attrs, crc)
    for name, part in stored.parts.items():
        crc = _crc32c(part, _crc32c(name.encode(), crc))
    if crc != stored.crc32c:
        raise CorruptError(f"the received bytes have CRC32C {crc}, the stored ones {stored.crc32c}")


def parse_meta(reply: Any) -> Optional[Meta]:
    """Returns the reply to NP.META, None for a missing key. Raises DecodeError."""
    if reply is None:
        return None
    if not isinstance(reply, (dict, list)):
        raise DecodeError(f"unexpected reply to NP.META: {repr(reply)[:60]}")
    try:
        fields = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2]))
        named: Dict[str, Any] = {name.decode(): value for name, value in fields.items()}
        descr = named["dtype"].decode()
        literal = parse_literal(descr) if descr.startswith(("[", "(")) else descr
        header = Header(literal, tuple(named["shape"]), bool(named["fortran_order"]), named["data_offset"])
        attrs = named["attrs"]
        _check_meta(named, header)
        return Meta(
            header.shape, dtype_of(header, attrs), header.fortran, header.itemsize, named["size"], named["nbytes"], named["npy_bytes"],
            header.data_offset, named["version"].decode(), named["crc32c"], named["pttl"], attrs,
            {name.decode(): size for name, size in zip(named["parts"][::2], named["parts"][1::2])}, header,
        )  # fmt: skip
    except (LiteralError, KeyError, TypeError, AttributeError, UnicodeDecodeError, OverflowError) as exc:
        if not is_decode_error(exc):
            raise
        raise DecodeError(f"malformed reply to NP.META: {type(exc).__name__}: {exc}") from exc


def _check_meta(named: Mapping[str, Any], header: Header) -> None:
    sizes = [*header.shape, *(named[name] for name in ("itemsize", "size", "nbytes", "npy_bytes", "data_offset", "crc32c")), *named["parts"][1::2]]
    if not all(map(is_size, sizes)) or not is_time(named["pttl"]) or named["fortran_order"] not in (0, 1) or named["crc32c"] >= 1 << 32:
        raise DecodeError(f"NP.META replied with impossible numbers: {str(sizes)[:80]}")
    if named["nbytes"] != header.nbytes or named["npy_bytes"] != header.data_offset + header.nbytes or named["itemsize"] != header.itemsize:
        raise DecodeError("NP.META replied with sizes that contradict each other")
    if not is_version_or_null(named["version"]) or type(named["attrs"]) not in (bytes, type(None)):
        raise DecodeError(f"NP.META replied with version {str(named['version'])[:40]!r} and attrs of type {type(named['attrs']).__name__}")


def dtype_of(header: Header, attrs: Optional[bytes]) -> np.dtype[Any]:
    return _kinds.outline(header, load(attrs))[1]


def parse_info(text: str) -> Dict[str, Any]:
    """Returns INFO as a dict: numbers as int or float, ``a=1,b=2`` as a dict, everything else as str."""
    result: Dict[str, Any] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if not colon or line.startswith("#"):
            continue
        if "=" in value:
            result[name] = {k: _number(v) for k, _, v in (pair.partition("=") for pair in value.split(","))}
        else:
            result[name] = _number(value)
    return result


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
