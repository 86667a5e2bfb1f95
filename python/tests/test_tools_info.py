"""``python -m ndring info`` against a real node."""
from __future__ import annotations

import json
import re

import numpy as np
import pytest
from ndring import NumPyRedis
from ndring._tools import info
from tools_helpers import spawn


def sent_by(client):
    return client.info("stats")["total_net_output_bytes"]


def picture_of(out):
    """Returns the lines after the facts."""
    return out.decode().split("\n\n", 1)[1].splitlines()


def test_info(tool, client):
    client.set("a\nb", np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)), ex=5400)
    meta = client.meta("a\nb")
    code, out, err = tool("info", "a\nb")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        r"key:      a\\nb\ndtype:    >f4\nshape:    \(2,3\)\norder:    Fortran\nbytes:    24\nmemory:   \d+\n"
        rf"ttl:      (5400|5399) s \(1h(30|29)m\)\nversion:  {meta.version}\ncrc32c:   {meta.crc32c:08x}\n\n"
        "┌──────┐\n│  ░░▒▒│\n│▓▓████│\n└──────┘\n0 to 5\n",
        out.decode(),
    ), out.decode()
    assert b"\n\n" not in tool("info", "a\nb", "--no-picture")[1]
    found = json.loads(tool("info", "a\nb", "--json")[1])
    assert 5_300_000 < found.pop("ttl_ms") <= 5_400_000 and found.pop("memory_bytes") > 24
    assert found == {
        "key": "a\\nb", "dtype": ">f4", "shape": [2, 3], "order": "F", "itemsize": 4, "size": 6, "bytes": 24, "npy_bytes": 152, "version": meta.version,
        "crc32c": meta.crc32c, "attrs": None, "parts": {},
    }  # fmt: skip


def test_attrs_and_parts(tool, client):
    client.set("masked", np.ma.array([1.0, 2, 9], mask=[0, 0, 1]))
    out = tool("info", "masked")[1].decode()
    assert 'attrs:    40 bytes: {"v":1,"py":{"kind":"masked","mask":{}}}\n' in out and "parts:    mask 3\n" in out
    assert out.endswith("\n\n █\n █\n █\n▁█\n1 to 2\n")
    found = json.loads(tool("info", "masked", "--json")[1])
    assert found["attrs"] == {"v": 1, "py": {"kind": "masked", "mask": {}}} and found["parts"] == {"mask": 3}
    client.set("long", np.zeros(1, np.dtype("f8", metadata={"unit": "\u202e" * 100})))
    assert re.search(r"attrs:    \d+ bytes: \{.{56}\.\.\.\n", tool("info", "long")[1].decode())


class TestHugeArrays:
    """Only the elements that are shown travel."""

    @pytest.mark.parametrize("shape", [(4_000_000,), (2000, 2000), (4_000_000, 1), (1, 4_000_000), (3, 1_000_000)])
    def test_few_bytes_travel(self, tool, client, shape):
        client.set("k", np.arange(np.prod(shape)).reshape(shape))
        before = sent_by(client)
        code, out, _ = tool("info", "k", "--width", 10**9)
        assert code == 0 and "no picture" not in out.decode()
        assert sent_by(client) - before < 60_000
        lines = picture_of(out)
        assert max(map(len, lines)) <= 200 and len(lines) <= 23

    def test_what_the_picture_shows(self, tool, client):
        client.set("k", np.arange(1_000_000))
        assert picture_of(tool("info", "k", "--width", "20")[1]) == [
            "               ▁▃▅▆█", "          ▁▃▅▆██████", "     ▁▃▄▆███████████", "▁▃▄▆████████████████", "0 to 950000, in every 50000th element",
        ]  # fmt: skip
        client.set("k", np.arange(1_000_000).reshape(1000, 1000))
        lines = picture_of(tool("info", "k", "--width", "12")[1])
        assert lines[:2] + lines[-2:] == ["┌──────────┐", "│          │", "└──────────┘", "0 to 950800, in every 50th row and every 200th column"]
        client.set("k", np.zeros((3, 1000)))
        assert picture_of(tool("info", "k", "--width", "12")[1])[-1] == "all 0, in every row and every 200th column"

    def test_arrays_that_are_not_drawn(self, tool, client):
        for array, text in (
            (np.ma.masked_all(100_000), "parts of a masked array"), (np.zeros((100, 100, 100)), "more than two axes"),
            (np.zeros(10**6, "U1"), "no picture of dtype <U1"), (np.zeros(10**6, "i4,f8"), "no picture of dtype"),
            (np.zeros((), "S1000000"), "the element has 1000000 bytes"),
        ):  # fmt: skip
            client.set("k", array)
            before = sent_by(client)
            code, out, err = tool("info", "k")
            assert (code, err) == (0, "") and text in picture_of(out)[0] and sent_by(client) - before < 5000


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros(0), "no picture: the array is empty"), (np.zeros((3, 0)), "no picture: the array is empty"), (np.array([True, True]), "all True"),
        (np.array([False, True]), "False to True"), (np.array([3 + 4j, 0]), "absolute values 0 to 5"), (np.array([np.nan]), "no finite values"),
        (np.array(["2026-01-01", "2026-02-01"], "M8[D]"), "2026-01-01 to 2026-02-01"), (np.array([1, 5], "m8[s]"), "1 seconds to 5 seconds"),
        (np.array([1e-300, 1e300]), "1e-300 to 1e+300"), (np.full((2, 2), 7, "u1"), "all 7"), (np.array(["a"]), "no picture of dtype <U1"),
    ],
)  # fmt: skip
def test_small_arrays(tool, client, array, text):
    client.set("k", array)
    code, out, err = tool("info", "k")
    assert (code, err) == (0, "") and picture_of(out)[-1] == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.float32(2.5), "2.5"), (np.array(7), "7"), (np.str_("a\nb\x1b"), "a b\\x1b"), (np.array("x"), "x"), (np.datetime64("2026-01-01"), "2026-01-01")],
)
def test_single_values(tool, client, value, text):
    client.set("k", value)
    assert tool("info", "k")[1].decode().endswith(f"\nvalue:    {text}\n")


def test_an_array_that_is_replaced_meanwhile(client, node_url, monkeypatch):
    client.set("k", np.zeros(100_000))
    with NumPyRedis.from_url(node_url) as c:
        meta = c.meta("k")

        def picture():
            return info._picture(c, b"k", meta, 80, info.picture.UNICODE)

        assert len(picture()) == 6
        for other in (np.zeros((1000, 1000)), np.zeros(10**8, "i1"), np.zeros(100_000, "S1"), np.float64(1), np.ma.masked_all(9)):
            client.set("k", other)
            assert len(picture()) == 2 and picture()[1].startswith("no picture: ")
        client.delete("k")
        assert picture() == ["", "no picture: the array was deleted or replaced meanwhile"]
        client.set("k", np.zeros(3))
        meta = c.meta("k")
        client.set("k", np.zeros((3, 1)))
        assert picture() == ["", "no picture: the array was deleted or replaced meanwhile"]


def test_the_encoding_of_the_output(node_url, client):
    client.set("é", np.arange(12))
    done = spawn("info", "é", stdout=-1, env={"NDRING_URL": node_url, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"})
    assert done.returncode == 0 and done.stdout.startswith(b"key:      \\xc3\\xa9\n")
    assert done.stdout.endswith(b"\n         .:#\n      .:####\n   .:#######\n.:##########\n0 to 11\n")
    done = spawn("ls", stdout=-1, env={"NDRING_URL": node_url, "PYTHONIOENCODING": "ascii"})
    assert done.stdout == b"\\xc3\\xa9\n"
