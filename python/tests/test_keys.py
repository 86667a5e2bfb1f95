"""Keys: the same bytes from every version of Python and numpy, and a clear error for invalid keys."""
from __future__ import annotations

import enum
import sys

import ndring
import numpy as np
import pytest
from ndring._core.options import encode_key


class Number(enum.IntEnum):
    THREE = 3


class Bits(enum.IntFlag):
    FIVE = 5


class Text(str, enum.Enum):
    A = "a"


class Mine(float):
    def __repr__(self) -> str:
        return "mine"


@pytest.mark.parametrize(
    ("key", "encoded"),
    [
        ("a", b"a"), ("größe", "größe".encode()), ("a\0b", b"a\0b"), (np.str_("a"), b"a"), (Text.A, b"a"),
        (b"a\xff", b"a\xff"), (np.bytes_(b"a"), b"a"), (bytearray(b"a"), b"a"), (memoryview(b"ab")[1:], b"b"),
        (3, b"3"), (-3, b"-3"), (2**70, b"1180591620717411303424"), (Number.THREE, b"3"), (Bits.FIVE, b"5"),
        (np.int64(3), b"3"), (np.uint8(3), b"3"), (np.int64(-(2**63)), b"-9223372036854775808"),
        (1.5, b"1.5"), (np.float64(1.5), b"1.5"), (Mine(1.5), b"1.5"), (1.0, b"1.0"), (1e300, b"1e+300"), (-0.0, b"-0.0"),
        (float("inf"), b"inf"), (np.float64("nan"), b"nan"),
    ],
    ids=repr,
)  # fmt: skip
def test_keys(key, encoded):
    assert encode_key(key) == encoded


NO_KEYS = [
    None, True, False, np.True_, np.float32(1.5), np.float16(1), np.longdouble(1), np.datetime64(1, "s"), np.array(3), 1j, object(),
    "", b"", "\udc80x", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("key", NO_KEYS, ids=lambda key: repr(key)[:20])
def test_invalid_keys(key):
    with pytest.raises(ndring.EncodeError, match="a key "):
        encode_key(key)


@pytest.mark.skipif(not hasattr(sys, "get_int_max_str_digits"), reason="Python prints numbers of any length")
def test_numbers_too_long_for_python_to_print():
    with pytest.raises(ndring.EncodeError, match="a key "):
        encode_key(10**5000)


@pytest.mark.parametrize("keys", [["a"], ("a", "b"), {"a"}, {"a": 1}], ids=str)
def test_several_keys_instead_of_one(keys):
    client = ndring.NumPyRedis("127.0.0.1", 1)
    for method in (client.delete, client.exists, client.get, client.pipeline().delete, client.pipeline().exists, client.pipeline().get):
        with pytest.raises(ndring.EncodeError, match=r"delete\(\*keys\)"):
            method(keys)


@pytest.mark.parametrize("key", ["abc", b"abc", bytearray(b"abc"), memoryview(b"abc"), "", np.str_("abc")], ids=repr)
def test_one_key_instead_of_several(key):
    with pytest.raises(ndring.EncodeError, match=r"pass \[key\]"):
        ndring.NumPyRedis("127.0.0.1", 1).mget(key)


@pytest.mark.parametrize("pairs", [[("a", np.zeros(1))], "ab", np.zeros(2), {"a"}], ids=lambda value: type(value).__name__)
def test_mset_requires_a_mapping(pairs):
    with pytest.raises(ndring.EncodeError, match="mapping"):
        ndring.NumPyRedis("127.0.0.1", 1).mset(pairs)


def test_errors_name_patterns_and_prefixes():
    client = ndring.NumPyRedis("127.0.0.1", 1)
    with pytest.raises(ndring.EncodeError, match="a pattern "):
        client.scan_iter("\udc80")
    with pytest.raises(ndring.EncodeError, match="a pattern "):
        client.scan_iter(["a"])
    for prefix in ("", b"", "\udc80", None):
        with pytest.raises(ndring.EncodeError, match="a prefix "):
            client.delete_prefix(prefix)


def test_errors_of_keys_are_type_errors():
    with pytest.raises(TypeError):
        ndring.NumPyRedis("127.0.0.1", 1).mget("abc")
