"""Layouts: what is copied, recorded, dropped and refused."""
from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from codec_helpers import aligned_buffer, roundtrip, same_memory, unpack
from fidelity import assert_identical, filled, memory
from ndring import _codec
from ndring._exceptions import DecodeError, EncodeError


@pytest.mark.parametrize(
    "array",
    [filled(5, "f8"), filled((3, 4), "i2").T, filled((3, 4), ">U2"), filled((), "M8[s]"), filled((2, 2), "u1,f8"),
     filled((2, 3), "f4").view(np.matrix), filled((1, 4), "f4")[:, None], np.ma.MaskedArray(filled((3, 2), "f4"))],
    ids=lambda a: f"{type(a).__name__} {a.dtype.str}{a.shape}",
)  # fmt: skip
def test_contiguous_arrays_are_not_copied(array):
    encoded = _codec.encode(array)
    assert same_memory(array, encoded.data)
    assert len(encoded.data) == array.nbytes


def test_masks_are_not_copied():
    masked = np.ma.MaskedArray(filled((3, 2), "f4"), filled((3, 2), "u1") > 9)
    ((name, part),) = _codec.encode(masked).parts
    assert name == b"mask" and same_memory(masked._mask, part)


@pytest.mark.parametrize("array", [filled(5, "f8"), np.asfortranarray(filled((3, 4), "i2")), filled(3, "u1,f8")])
def test_received_memory_is_the_result(array):
    encoded = _codec.encode(array)
    header = _codec.parse_header(encoded.header)
    buffer = aligned_buffer(encoded.data)
    assert np.shares_memory(_codec.decode(header, buffer, None), buffer)


def test_encoding_keeps_the_value_alive():
    encoded = _codec.encode(filled(1000, "f8"))
    assert bytes(encoded.data) == filled(1000, "f8").tobytes()


def test_packed_span():
    array = filled((1000, 100), "f8")[:, 0]
    assert _codec.encode(array).attrs == b""
    assert_identical(roundtrip(array), array.copy())
    assert_identical(roundtrip(array, layout="exact"), array)
    kept = filled((1000, 8), "f8")[:, 0]
    assert_identical(roundtrip(kept), kept)
    assert_identical(roundtrip(kept, layout="packed"), kept.copy())


def test_limit_of_exact():
    # Mapped lazily: only two bytes of a gigabyte are touched.
    array = np.zeros(1 << 30, np.uint8)[:: (1 << 30) - 1]
    with pytest.raises(EncodeError, match="layout='packed'"):
        _codec.encode(array, layout="exact")
    assert_identical(roundtrip(array), array.copy())


def test_strides_of_short_axes_matter():
    array = filled((1, 3), "f8")
    odd = np.ndarray((1, 3), "f8", memory(24), 0, (8, 8))
    assert _codec.encode(array).attrs == b""
    assert json.loads(_codec.encode(odd).attrs or b"{}") in ({}, {"v": 1, "py": {"strides": [8, 8]}})
    assert_identical(roundtrip(odd), odd)
    wild = np.ndarray((1, 3), "f8", memory(24), 0, (-12345, 8))
    encoded = _codec.encode(wild)
    assert json.loads(encoded.attrs) == {"v": 1, "py": {"strides": [-12345, 8]}} and same_memory(wild, encoded.data)
    assert_identical(unpack(encoded), wild)


def test_overlap_is_restored_as_overlap():
    windows = np.lib.stride_tricks.sliding_window_view(filled(9, "f4"), 3, writeable=True)
    back = roundtrip(windows)
    back[0, 1] = -1
    assert back[1, 0] == -1


def test_gaps_are_zero():
    back = roundtrip(filled(6, "u1")[::2])
    whole = np.ndarray((5,), "u1", back.base, back.__array_interface__["data"][0] - address(back.base))
    assert whole[1] == whole[3] == 0


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_broadcast_arrays_cause_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _codec.encode(np.broadcast_arrays(filled(3, "i2"), np.zeros((2, 3)))[0])


def test_decode_limits_allocations():
    array = filled((100, 8), "f8")[:, 0]
    encoded = _codec.encode(array)
    span = 99 * 64 + 8
    assert_identical(unpack(encoded, max_bytes=span), array)
    with pytest.raises(DecodeError, match="limit"):
        unpack(encoded, max_bytes=span - 1)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memmaps_come_back_as_arrays_in_memory(tmp_path, mode):
    filled((3, 4), "f4").tofile(tmp_path / "mapped")
    mapped = np.memmap(tmp_path / "mapped", "f4", mode, shape=(3, 4), order="F")
    back = roundtrip(mapped)
    assert type(back) is np.ndarray
    assert_identical(back, mapped)
    assert_identical(roundtrip(mapped[::2]), mapped[::2])


def test_unaligned_input_memory_is_realigned():
    encoded = _codec.encode(filled(5, "f8"))
    buffer = np.empty(41, np.uint8)[1:]
    buffer[...] = np.frombuffer(encoded.data, np.uint8)
    assert_identical(_codec.decode(_codec.parse_header(encoded.header), buffer, None), filled(5, "f8"))


def test_read_only_input_is_copied():
    encoded = _codec.encode(filled(5, "f8"))
    back = _codec.decode(_codec.parse_header(encoded.header), np.frombuffer(bytes(encoded.data), np.uint8), None)
    assert_identical(back, filled(5, "f8"))


# ---- get(out=)


def checked(out, stored, **options):
    encoded = _codec.encode(stored, **options)
    header = _codec.parse_header(encoded.header)
    sizes = {name.decode(): len(part) for name, part in encoded.parts}
    view = _codec.check_out(out, header, encoded.attrs, sizes)
    assert view.format == "B" and view.ndim == 1 and not view.readonly and len(view) == header.nbytes
    view[:] = encoded.data
    return out


@pytest.mark.parametrize(
    "stored",
    [filled(5, "f8"), filled((3, 4), ">i2"), np.asfortranarray(filled((3, 4), "U2")), filled((), "M8[s]"),
     filled((2, 2), np.dtype("u1,f8", align=True)), np.empty((0, 3)), filled((2, 3), "f4").view(np.matrix),
     filled(3, "u1,i4").view(np.recarray), filled(3, np.dtype("f4", metadata={"a": 1}))],
    ids=lambda a: f"{type(a).__name__} {a.dtype.str}{a.shape}",
)  # fmt: skip
def test_out_is_filled(stored):
    assert_identical(checked(np.copy(stored, order="K", subok=True), stored), stored)


def test_out_may_be_a_memmap(tmp_path):
    out = np.memmap(tmp_path / "out", "f4", "w+", shape=(3, 2))
    assert checked(out, filled((3, 2), "f4")).tobytes() == filled((3, 2), "f4").tobytes()


def test_out_stays_writable():
    stored = filled(3, "f4")
    stored.setflags(write=False)
    assert checked(np.zeros(3, "f4"), stored).flags.writeable


def test_out_with_the_recorded_strides():
    stored = filled(10, "i4")[None, :]
    assert checked(np.zeros((1, 10), "i4"), stored).tobytes() == stored.tobytes()
    assert checked(np.zeros(5, "i4"), filled(10, "i4")[::2], layout="packed").tolist() == filled(10, "i4")[::2].tolist()


@pytest.mark.parametrize(
    ("out", "stored"),
    [
        pytest.param(np.zeros(4, "f4"), filled(3, "f4"), id="shape"),
        pytest.param(np.zeros((3, 1), "f4"), filled(3, "f4"), id="dimensions"),
        pytest.param(np.zeros(3, "i4"), filled(3, "f4"), id="dtype"),
        pytest.param(np.zeros(3, ">f4"), filled(3, "f4"), id="byte order"),
        pytest.param(np.zeros(3, "i8,f4"), filled(3, "f4,i8"), id="fields"),
        pytest.param(np.zeros((3, 2), "f4"), np.asfortranarray(filled((3, 2), "f4")), id="C for F"),
        pytest.param(np.zeros((3, 2), "f4", "F"), filled((3, 2), "f4"), id="F for C"),
        pytest.param(np.zeros(6, "f4")[::2], filled(3, "f4"), id="slice"),
        pytest.param(np.zeros(3, "f4"), filled(6, "f4")[::2], id="stored slice"),
        pytest.param(np.zeros(3, "f4"), filled(3, "f4")[::-1], id="stored reversed"),
        pytest.param(np.frombuffer(bytes(12), "f4"), filled(3, "f4"), id="read-only"),
        pytest.param(np.zeros((), "f4"), np.float32(3), id="scalar"),
        pytest.param(np.zeros(3, "f4"), np.ma.MaskedArray(filled(3, "f4")), id="stored masked"),
        pytest.param(np.ma.zeros(3, "f4"), filled(3, "f4"), id="out masked"),
        pytest.param(np.zeros((2, 2), "f4"), filled((2, 2), "f4").view(np.matrix), id="stored matrix"),
        pytest.param(filled((2, 2), "f4").view(np.matrix), filled((2, 2), "f4"), id="out matrix"),
        pytest.param(bytearray(12), filled(3, "f4"), id="bytearray"),
    ],
)
def test_out_that_does_not_match(out, stored):
    before = bytes(np.ascontiguousarray(out)) if isinstance(out, np.ndarray) else bytes(out)
    with pytest.raises(DecodeError, match="out"):
        checked(out, stored)
    assert before == (bytes(np.ascontiguousarray(out)) if isinstance(out, np.ndarray) else bytes(out))
