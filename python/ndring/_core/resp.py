"""RESP: packs commands without joining their buffers, and parses replies so that arrays arrive
directly in their own memory. Nothing here touches a socket.

A ``Reading`` parses one reply: it yields memory, and whoever drives it receives at least one byte
into that memory and sends back how many came, 0 if the node has closed the connection. It returns
the reply.
"""
from __future__ import annotations

import re
import sys
from typing import Any, Callable, Dict, Generator, List, NamedTuple, Optional, Sequence, Tuple, TypeVar, Union

import numpy as np

from .._codec.npy import MAX_HEADER, Header, parse_header
from .._exceptions import ConnectionError, DecodeError, NdringError, error_reply

Buffer = Union[bytes, bytearray, memoryview]
T = TypeVar("T")
Reading = Generator[memoryview, int, T]

_FIRST_BUFFER = 20 << 10  # bytes; fits the reply for 16 KiB of data
_MAX_LINE = 64 << 10  # bytes
_MAX_TEXT = 64 << 20  # bytes of a reply that is not an array
_MAX_ITEMS = 1 << 20
_MAX_DEPTH = 16
_CHUNK = 1 << 20  # bytes to receive, then sum while they are in the processor's cache
# What follows the .npy of a plain array in a reply: no attrs, version, CRC32C, no parts.
_PLAIN_REST = re.compile(rb"\r\n(?:\$-1|_)\r\n\$\d\d?\r\n(\d+-\d+)\r\n:(\d+)\r\n\*0\r\n\Z")
_MAX_REST = 128  # bytes

try:
    from crc32c import crc32c as crc32c, hardware_based
except ImportError:  # the optional extra crc32c; without it only the node verifies checksums
    crc32c = None
    hardware_based = False
# Without the CPU instruction (as in Debian 12's package) summing takes longer than transferring the
# bytes.
MAX_SUMMED = sys.maxsize if hardware_based else 64 << 10 if crc32c is not None else -1


def pack(*arguments: Buffer) -> List[Buffer]:
    """Returns a command as buffers. A large argument stays a buffer of its own."""
    return pack_after(b"*%d\r\n" % len(arguments), arguments)


def pack_after(start: bytes, arguments: Sequence[Buffer]) -> List[Buffer]:
    """Returns a command that starts with ``start``, followed by more arguments, as buffers."""
    buffers: List[Buffer] = []
    text = bytearray(start)
    for argument in arguments:
        text += b"$%d\r\n" % len(argument)
        if len(argument) < 4096:
            text += argument
        else:
            buffers += (bytes(text), argument)
            text = bytearray()
        text += b"\r\n"
    buffers.append(bytes(text))
    return buffers


class Stored(NamedTuple):
    """The reply to NP.GET WITHATTRS. ``npy_crc``: CRC32C of the received header and data, None if
    they are longer than MAX_SUMMED. ``data``: 1-d bytes, or None if the data is in ``out``."""

    header: Header
    npy_crc: Optional[int]
    data: Any
    attrs: Optional[bytes]
    version: str
    crc32c: int
    parts: Dict[str, np.ndarray[Any, Any]]


class NotModified(NdringError):
    """Raised by the reply to NP.GET IFNEWER if the array is not newer. No caller sees it."""

    is_reply = True


class Piece(NamedTuple):
    """A part of a stored array. ``data``: 1-d bytes. ``attrs``, ``version``: of the whole array."""

    header: Header
    data: Any
    attrs: Optional[bytes]
    version: str


class ReplyReader:
    """The received bytes of one connection that no reply has used yet, and the parser of replies.

    An error reply is raised as the corresponding exception, after which the next reply can be read.
    After any other exception the position in the stream is unknown, and the connection must be
    closed.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray(_FIRST_BUFFER)
        self._start = self._end = 0

    @property
    def pending(self) -> int:
        """How many received bytes are left that no reply has used."""
        return self._end - self._start

    def space(self) -> memoryview:
        """Returns memory for the next bytes; ``received`` must follow before anything else."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._buffer):
            self._buffer[: self._end - self._start] = self._buffer[self._start : self._end]
            self._start, self._end = 0, self._end - self._start
            if 2 * self._end > len(self._buffer):
                self._buffer = self._buffer + bytes(len(self._buffer))  # a new one, since memory of the old one is lent
        return memoryview(self._buffer)[self._end :]

    def received(self, count: int) -> None:
        """Takes ``count`` bytes that came into ``space``. Raises ConnectionError for 0."""
        if not count:
            raise ConnectionError("the node closed the connection")
        self._end += count

    def ok(self) -> Optional[str]:
        """Returns "OK" if that is the reply and nothing else has come, else None: the most frequent reply."""
        if self._end - self._start == 5 and self._buffer.startswith(b"+OK\r\n", self._start):
            self._start = self._end
            return "OK"
        return None

    def reply(self, depth: int = 0) -> Reading[Any]:
        """Returns the next reply: bytes, str (of a simple or verbatim string), int, float, bool,
        None, list or dict."""
        line = self._ready_line() or (yield from self._line())
        mark, rest = line[:1], line[1:]
        if mark == b"+":
            return rest.decode("utf8", "replace")
        if mark == b"-":
            raise error_reply(rest.decode("utf8", "replace"))
        if mark == b":":
            return self._int(rest)
        if mark == b"_":
            return None
        if mark == b",":
            try:
                return float(rest)
            except ValueError:
                raise DecodeError(f"{rest[:20]!r} is not a number") from None
        if mark == b"#":
            return rest == b"t"
        if mark in (b"$", b"="):
            size = self._length(rest, _MAX_TEXT)
            if size is None:
                return None
            text = bytearray(size)
            yield from self._fill(memoryview(text))
            yield from self._crlf()
            return bytes(text) if mark == b"$" else text[4:].decode("utf8", "replace")
        if mark in (b"*", b"~", b"%", b">"):
            size = self._length(rest, _MAX_ITEMS)
            if size is None:
                return None
            if depth == _MAX_DEPTH:
                raise DecodeError("the reply is nested too deeply")
            if mark == b"%":
                # An error inside a reply would leave it half read, but nodes never send one.
                size *= 2
            items = []
            for _ in range(size):
                items.append((yield from self._item(depth)))
            return dict(zip(items[::2], items[1::2])) if mark == b"%" else items
        raise _not_a_reply(f"{line[:20]!r} does not start a reply", line)

    def items(self) -> Reading[Optional[int]]:
        """Returns the length of the next reply, an array, None for null. The caller reads the items."""
        line = self._ready_line() or (yield from self._line())
        if line[:1] == b"-":
            raise error_reply(line[1:].decode("utf8", "replace"))
        if line == b"_":
            return None
        if line[:1] != b"*":
            raise DecodeError(f"expected an array, got {line[:20]!r}")
        return self._length(line[1:], _MAX_ITEMS)

    def _item(self, depth: int) -> Reading[Any]:
        try:
            return (yield from self.reply(depth + 1))
        except NdringError as exc:
            if not exc.is_reply:
                raise
            raise DecodeError(f"an error inside a reply: {exc}") from exc

    def stored(self, choose_buffer: Optional[Callable[[Header], Optional[memoryview]]] = None) -> Reading[Optional[Stored]]:
        """Returns the reply to NP.GET WITHATTRS, None for a missing key.

        ``choose_buffer``: called with the header, returns the memory for the data, or None to
        allocate it.
        """
        if not (yield from self._begins(b"*5", "NP.GET")):
            return None
        header, npy_crc, data = yield from self._npy(choose_buffer)
        attrs = yield from self._item(0)
        version = yield from self._item(0)
        crc = yield from self._item(0)
        line = self._ready_line() or (yield from self._line())
        count = self._length(line[1:], 8) if line[:1] == b"*" else None
        if count is None or count % 2 or type(crc) is not int or type(version) is not bytes or type(attrs) not in (bytes, type(None)):
            raise DecodeError("the reply to NP.GET is not npy, attrs, version, crc32c and parts")
        parts: Dict[str, np.ndarray[Any, Any]] = {}
        left = self._max_bytes
        for _ in range(count // 2):
            name = yield from self._item(0)
            if type(name) is not bytes:
                raise DecodeError("a part has no name")
            part = np.empty((yield from self._bulk_length(left)), np.uint8)
            left -= part.nbytes
            yield from self._fill(part.data)
            yield from self._crlf()
            parts[name.decode("utf8", "replace")] = part
        return Stored(header, npy_crc, data, attrs, version.decode("ascii", "replace"), crc, parts)

    def plain(self) -> Optional[Stored]:
        """Returns the reply to NP.GET WITHATTRS if it is a plain array and all of what has come.
        Otherwise returns None and consumes nothing."""
        buffer, end = self._buffer, self._end
        if self._start or not buffer.startswith(b"*5\r\n$"):
            return None
        at = buffer.find(b"\r\n", 5, 27)
        if at < 0:
            return None
        rest = _PLAIN_REST.search(buffer, max(at, end - _MAX_REST), end)
        if rest is None:
            return None
        npy = memoryview(buffer)[at + 2 : rest.start()]
        if buffer[5:at] != b"%d" % len(npy) or len(npy) > self._max_bytes:
            return None
        header = parse_header(npy)
        if header is None or header.data_offset + header.nbytes != len(npy):
            return None  # the general path reports what is wrong
        crc = crc32c(npy) if MAX_SUMMED >= 0 else None
        data = np.frombuffer(bytearray(npy[header.data_offset :]), np.uint8) if header.nbytes else np.empty(0, np.uint8)
        self._start = end
        return Stored(header, crc, data, None, rest.group(1).decode(), int(rest.group(2)), {})

    def piece(self) -> Reading[Optional[Piece]]:
        """Returns the reply to NP.SLICE or NP.TAKE WITHATTRS, None for a missing key."""
        if not (yield from self._begins(b"*3", "NP.SLICE or NP.TAKE")):
            return None
        header, _, data = yield from self._npy(None)
        attrs = yield from self._item(0)
        version = yield from self._item(0)
        if type(version) is not bytes or type(attrs) not in (bytes, type(None)):
            raise DecodeError("the reply to NP.SLICE or NP.TAKE is not npy, attrs and version")
        return Piece(header, data, attrs, version.decode("ascii", "replace"))

    def _begins(self, array: bytes, command: str) -> Reading[bool]:
        """Reads the first line of a reply, which is ``array``. Returns False for null."""
        line = self._ready_line() or (yield from self._line())
        if line[:1] == b"-":
            raise error_reply(line[1:].decode("utf8", "replace"))
        if line in (b"$-1", b"_", b"*-1"):
            return False
        if line == b"+NOTMODIFIED" and command == "NP.GET":
            raise NotModified()
        if line != array:
            raise _not_a_reply(f"unexpected reply to {command}: {line[:20]!r}", line)
        return True

    def _npy(self, choose_buffer: Optional[Callable[[Header], Optional[memoryview]]]) -> Reading[Tuple[Header, Optional[int], Any]]:
        """Returns header, CRC32C and data of a .npy file; see Stored."""
        size = yield from self._bulk_length(self._max_bytes + MAX_HEADER)
        header = yield from self._npy_header(size)
        if header.data_offset + header.nbytes != size:
            raise DecodeError(f"{size - header.data_offset} bytes of data, but the header says {header.nbytes}")
        npy_header = bytes(self._take(header.data_offset))
        target = choose_buffer(header) if choose_buffer else None
        data = None
        if target is None:
            data = np.empty(header.nbytes, np.uint8)
            target = data.data
        npy_crc = yield from self._fill_summed(target, npy_header)
        yield from self._crlf()
        return header, npy_crc, data

    def _npy_header(self, size: int) -> Reading[Header]:
        while True:
            header = parse_header(memoryview(self._buffer)[self._start : min(self._end, self._start + size)])
            if header is not None:
                return header
            if self._end - self._start >= size:
                raise DecodeError("the .npy file ends inside its header")
            self.received((yield self.space()))

    def _bulk_length(self, limit: int) -> Reading[int]:
        line = self._ready_line() or (yield from self._line())
        size = self._length(line[1:], limit) if line[:1] == b"$" else None
        if size is None:
            raise DecodeError(f"expected a bulk string, got {line[:20]!r}")
        return size

    def _int(self, text: bytes) -> int:
        if len(text) > 20:
            raise DecodeError(f"{text[:20]!r}... is not an integer")
        try:
            return int(text)
        except ValueError:
            raise DecodeError(f"{text!r} is not an integer") from None

    def _length(self, text: bytes, limit: int) -> Optional[int]:
        size = self._int(text)
        if size == -1:
            return None
        if not 0 <= size <= limit:
            raise DecodeError(f"a reply of {size} bytes or items exceeds the limit of {limit}")
        return size

    def _ready_line(self) -> Optional[bytes]:
        """Returns the next line if all of it has come, without its end; None also for an empty one."""
        at = self._buffer.find(b"\r\n", self._start, self._end)
        if at <= self._start:
            return None
        line = bytes(self._buffer[self._start : at])
        self._start = at + 2
        return line

    def _line(self) -> Reading[bytes]:
        seen = 0
        while True:
            at = self._buffer.find(b"\r\n", self._start + seen, self._end)
            if at >= 0:
                line = bytes(self._buffer[self._start : at])
                self._start = at + 2
                return line
            seen = max(0, self._end - self._start - 1)
            if seen > _MAX_LINE or self._start < self._end and self._buffer[self._start] == 0x15:  # a TLS alert, which has no line end
                raise _not_a_reply("a line of the reply is too long", bytes(self._buffer[self._start : self._start + 20]))
            self.received((yield self.space()))

    def _crlf(self) -> Reading[None]:
        while self._end - self._start < 2:
            self.received((yield self.space()))
        if self._take(2) != b"\r\n":
            raise DecodeError("a bulk string does not end at its stated length")

    def _take(self, size: int) -> bytearray:
        taken = self._buffer[self._start : self._start + size]
        self._start += size
        return taken

    def _fill(self, target: memoryview) -> Reading[None]:
        """Fills ``target`` with what has come, then with what comes."""
        ready = min(len(target), self._end - self._start)
        target[:ready] = memoryview(self._buffer)[self._start : self._start + ready]
        self._start += ready
        while ready < len(target):
            got = yield target[ready:]
            if not got:
                raise ConnectionError("the node closed the connection inside a reply")
            ready += got

    def _fill_summed(self, target: memoryview, before: bytes) -> Reading[Optional[int]]:
        """Fills ``target`` and returns the CRC32C of ``before`` and ``target``, None if it is
        longer than MAX_SUMMED."""
        if len(target) > MAX_SUMMED:
            yield from self._fill(target)
            return None
        crc = crc32c(before)
        for at in range(0, len(target), _CHUNK):
            piece = target[at : at + _CHUNK]
            yield from self._fill(piece)
            crc = crc32c(piece, crc)
        return int(crc)


def _not_a_reply(text: str, start: bytes) -> DecodeError:
    """Returns the error for bytes that are not a reply, with a hint if their protocol is recognized."""
    if start.startswith(b"HTTP/"):
        text = f"the port speaks HTTP ({start[:20]!r}), not the Redis protocol; the port for clients is 7379 by default"
    elif start[:2] == b"\x15\x03":
        text = "the port speaks TLS: use from_url('rediss://...')"
    elif start.startswith((b"SSH-", b"220 ", b"EHLO")):
        text = f"the port replies {start[:20]!r}: this is not ndring"
    return DecodeError(text)
