"""Keys, sizes and times as the commands write them."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from ndring._tools import text


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (b"plain:key {1}", "plain:key {1}"),
        (b"a\nb\r\t", "a\\nb\\r\\t"),
        (b"back\\slash", "back\\\\slash"),
        (b"\\n", "\\\\n"),
        (b"\x00\x1b[2J\x7f\xff", "\\x00\\x1b[2J\\x7f\\xff"),
        ("é日".encode(), "é日"),
        ("\u202e\u200b\u00a0".encode(), "\\xe2\\x80\\xae\\xe2\\x80\\x8b\\xc2\\xa0"),  # reverses the line, invisible, looks like a space
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),  # a surrogate
    ],
)
def test_keys(key, shown):
    assert text.escape_key(key) == shown
    assert text.unescape_key(shown.encode()) == key


@given(st.binary(), st.sampled_from(["utf-8", "ascii", "latin-1", None, "unknown"]))
def test_every_key_is_one_line_that_can_be_read_back(key, encoding):
    shown = text.escape_key(key, encoding)
    assert shown.isprintable() and text.unescape_key(shown.encode()) == key
    if encoding in ("utf-8", "ascii", "latin-1"):
        shown.encode(encoding)


@given(st.binary(), st.binary())
def test_different_keys_look_different(a, b):
    assert (text.escape_key(a) == text.escape_key(b)) == (a == b)


@pytest.mark.parametrize("broken", [b"\\", b"\\q", b"\\x", b"\\x1", b"\\xgg", b"a\\0"])
def test_unknown_escapes(broken):
    with pytest.raises(ValueError, match="unknown escape"):
        text.unescape_key(broken)


def test_sizes_and_times():
    sizes = [0, 1023, 1024, 1536, 1 << 20, 5 << 30, 1 << 50]
    assert [text.human_size(n) for n in sizes] == ["0B", "1023B", "1.0KiB", "1.5KiB", "1.0MiB", "5.0GiB", "1024.0TiB"]
    times = [0, 59, 60, 61, 3600, 3659, 5400, 86400, 90000, 10**7]
    assert [text.human_time(n) for n in times] == ["0s", "59s", "1m", "1m1s", "1h", "1h", "1h30m", "1d", "1d1h", "115d17h"]
    assert [text.seconds_left(n) for n in (-1, 0, 1, 1000, 1001)] == [None, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("dtype", "word", "json"),
    [
        ("f4", "float32", "<f4"),
        (">f8", ">f8", ">f8"),
        ("M8[ns]", "datetime64[ns]", "<M8[ns]"),
        ("U3", "<U3", "<U3"),
        ([("a b", "<i4"), ("c\n", ">f8", (2,))], "[('a_b','<i4'),('c\\n','>f8',(2,))]", [["a b", "<i4"], ["c\n", ">f8", (2,)]]),
    ],
)
def test_dtypes(dtype, word, json):
    assert text.dtype_text(np.dtype(dtype)) == word and text.dtype_json(np.dtype(dtype)) == json


def test_fields_that_overlap():
    dtype = np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i2"], "offsets": [0, 0]})
    assert text.dtype_json(dtype) == str(dtype) and " " not in text.dtype_text(dtype)


def test_messages_are_one_line():
    assert text.one_line("a\n b\x1b[2J") == "a b\\x1b[2J" and text.printable("a  b\n") == "a  b\\n"
