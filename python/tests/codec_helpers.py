"""Encodes a value and decodes it again, as the client does."""
from __future__ import annotations

import io
import json
from typing import Any, Tuple

import numpy as np

from ndring import _codec


def aligned_buffer(raw: Any) -> np.ndarray:
    """Returns bytes as the client receives them: 1-d uint8, writable, not shared."""
    buffer = np.empty(len(raw), np.uint8)
    buffer[...] = np.frombuffer(raw, np.uint8) if len(raw) else 0
    return buffer


def npy_of(encoded: _codec.Encoded) -> bytes:
    """Returns the .npy file that is sent."""
    return b"".join([encoded.header, encoded.data, *encoded.more])


def unpack(encoded: _codec.Encoded, **options: Any) -> Any:
    """Decodes an encoded value."""
    wire = npy_of(encoded)
    header = _codec.parse_header(wire)
    assert header is not None
    assert header.data_offset == len(encoded.header)
    assert header.data_offset + header.nbytes == len(wire)
    parts = {name.decode(): bytes(part) for name, part in encoded.parts}
    return _codec.decode(header, aligned_buffer(wire[header.data_offset :]), encoded.attrs or None, parts, **options)


def roundtrip(value: Any, **options: Any) -> Any:
    """Encodes and decodes ``value``, and checks what any reader must find on the wire."""
    encoded = _codec.encode(value, **options)
    check_wire(encoded, value)
    return unpack(encoded)


def check_wire(encoded: _codec.Encoded, value: Any) -> None:
    """Fails unless the encoded bytes are a .npy of the logical shape that numpy itself reads."""
    assert len(encoded.header) % 64 == 0 and encoded.header.endswith(b"\n")
    assert encoded.data.format == "B" and encoded.data.ndim == 1 and encoded.data.contiguous
    for name, part in encoded.parts:
        assert isinstance(name, bytes) and part.format == "B" and part.ndim == 1 and part.contiguous
    if encoded.attrs:
        attrs = json.loads(encoded.attrs)
        assert attrs.keys() == {"v", "py"} and len(encoded.attrs) <= 65536
    loaded = np.load(io.BytesIO(encoded.header + bytes(encoded.data)), allow_pickle=False, **LOAD_OPTIONS)
    assert loaded.shape == np.shape(value)
    assert not loaded.dtype.hasobject
    if not encoded.attrs:
        base = np.ndarray.view(value, np.ndarray)
        assert loaded.dtype == base.dtype
        # np.load itself drops padding bytes.
        assert base.dtype.names is not None or loaded.tobytes() == base.tobytes()


#: numpy rejects headers above 10,000 characters by default.
LOAD_OPTIONS: Any = {"max_header_size": 1 << 20}


def same_memory(array: np.ndarray, view: memoryview) -> bool:
    """Returns whether a view refers to an array's memory."""
    return np.shares_memory(array, np.frombuffer(view, np.uint8))


def numpy_saves(value: np.ndarray) -> Tuple[bytes, bytes]:
    """Returns header and data as np.save writes them."""
    out = io.BytesIO()
    np.save(out, value, allow_pickle=False)
    raw = out.getvalue()
    end = raw.index(b"\n") + 1
    return raw[:end], raw[end:]
