"""Arrays over truncated files: an error instead of a crash at the next access."""
from __future__ import annotations

import mmap
import os

import numpy as np
import pytest
from codec_helpers import roundtrip
from fidelity import assert_identical
from ndring import _codec
from ndring._exceptions import DecodeError, EncodeError

PAGE = mmap.ALLOCATIONGRANULARITY
OFFSETS = [0, 16, PAGE, PAGE + 16]


def mapped(path, offset, size=4 * PAGE):
    path.write_bytes(bytes(range(256)) * ((size + 2 * PAGE) // 256))
    return np.memmap(path, np.uint8, "r+", offset, (size,))


@pytest.mark.parametrize("offset", OFFSETS)
def test_truncated_file(tmp_path, offset):
    array = mapped(tmp_path / "m", offset)
    assert_identical(roundtrip(array), array)
    whole = {
        "itself": array, "as an array": np.asarray(array), "a view": np.asarray(array).view("u2")[::-1], "its end": array[-1:],
        "masked": np.ma.MaskedArray(array, copy=False), "reshaped": array.reshape(2, -1).T, "a matrix": array.view(np.matrix),
    }  # fmt: skip
    beginning = array[:PAGE]
    os.truncate(tmp_path / "m", offset + 2 * PAGE)
    for name, value in whole.items():
        with pytest.raises(EncodeError, match="truncated"):
            _codec.encode(value)
    assert roundtrip(beginning).tobytes() == beginning.tobytes()
    assert roundtrip(array[: 2 * PAGE]).nbytes == 2 * PAGE
    os.truncate(tmp_path / "m", offset + 2 * PAGE - 1)  # one byte of the page is left: the rest of it would read as zero
    with pytest.raises(EncodeError, match="1 bytes of the array"):
        _codec.encode(array[: 2 * PAGE])


def test_a_removed_file_is_still_complete(tmp_path):
    array = mapped(tmp_path / "m", 0)
    os.unlink(tmp_path / "m")
    assert roundtrip(array).tobytes() == array.tobytes()


def test_anonymous_memory():
    array = np.frombuffer(mmap.mmap(-1, PAGE), "f8")
    assert roundtrip(array).tobytes() == array.tobytes()
    text = np.frombuffer(memoryview(bytearray(16)), "f8")
    assert roundtrip(text).tobytes() == text.tobytes()


def test_mappings_that_numpy_did_not_make(tmp_path):
    (tmp_path / "m").write_bytes(bytes(2 * PAGE))
    with open(tmp_path / "m", "r+b") as file:
        array = np.frombuffer(mmap.mmap(file.fileno(), 0), "f8")
    os.truncate(tmp_path / "m", PAGE)
    with pytest.raises(EncodeError, match=f"{PAGE} bytes"):
        _codec.encode(array)


def test_masks(tmp_path):
    array = np.ma.MaskedArray(np.zeros(4 * PAGE, "u1"))
    vars(array)["_mask"] = mapped(tmp_path / "m", 0).view(bool)
    os.truncate(tmp_path / "m", PAGE)
    with pytest.raises(EncodeError, match="truncated"):
        _codec.encode(array)


def test_out(tmp_path):
    array = mapped(tmp_path / "m", 0)
    header = _codec.parse_header(_codec.encode(np.zeros(4 * PAGE, "u1")).header)
    assert len(_codec.check_out(array, header, None)) == 4 * PAGE
    os.truncate(tmp_path / "m", PAGE)
    with pytest.raises(DecodeError, match="truncated"):
        _codec.check_out(array, header, None)
