"""Writes what numpy reads from headers: python3 make_headers.py > headers-numpyX.jsonl

Each line has a header (hexadecimal), whether numpy wrote it, and what numpy reads from it, null if it refuses. Headers that numpy wrote
cover every kind of dtype; the others are mutations of these, made from a fixed seed.
"""

import ast
import io
import json
import math
import random
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")
fmt = np.lib.format

SIMPLE = [
    *"? b B h H i I l L q Q e f d g F D G".split(), ">i2", "<i4", ">u8", ">f2", ">f4", "<f8", ">f8", ">f16", ">c8", "<c16", ">c32",
    "S0", "S1", "S7", "U0", "U1", ">U3", "V0", "V1", "V9", "c", "M8", "m8", "M8[Y]", "M8[25s]", ">M8[ns]", "m8[as]", "m8[7D]", ">m8[3us]", "M8[generic]",
]
STRUCTURED = [
    [("x", "<i4"), ("y", ">f8")],
    [("x", "<i4", (3,)), ("y", "u1", (2, 2))],
    [("x", "u1", 5)],
    [("", "u1"), ("y", "f8")],
    [(("a title", "x"), "<i4"), ("y", "f8")],
    [("it's", "u1"), ('say "so"', "u1"), ("both ' and \"", "u1"), ("back\\slash", "u1"), ("tab\tnl\n\x01", "u1")],
    [("größe", "<f4")],
    [("長さ", "<f4"), ("😀", "u1")],
    [("inner", [("a", "u1"), ("b", [("c", ">i8"), ("d", "S3", (2,))])])],
    [("when", "M8[ms]"), ("s", "S0"), ("u", "U2")],
    [("f%d" % i, "f4") for i in range(200)],
    [],
]
ALIGNED = [[("a", "u1"), ("b", "f8"), ("c", "i2")], [("a", "u1"), ("b", [("c", "u1"), ("d", "i8")])]]
SHAPES = [(), (0,), (1,), (5,), (2, 3), (0, 3, 0), (1,) * 32, (3, 0, 2**40), (2**31, 2**20)]


def dtypes():
    yield from map(np.dtype, SIMPLE)
    yield from map(np.dtype, STRUCTURED)
    for fields in ALIGNED:
        yield np.dtype(fields, align=True)
    yield np.dtype({"names": ["a", "b"], "formats": ["u1", "f4"], "offsets": [3, 8], "itemsize": 20})
    yield np.dtype((np.record, [("x", "f4")]))


def header_of(dtype, shape, fortran):
    out = io.BytesIO()
    fmt._write_array_header(out, {"descr": fmt.dtype_to_descr(dtype), "fortran_order": fortran, "shape": shape}, None)
    return out.getvalue()


def raw_header(text, major=1):
    body = text.encode("utf8" if major == 3 else "latin1")
    return b"\x93NUMPY" + bytes((major, 0)) + len(body).to_bytes(2 if major == 1 else 4, "little") + body


def verdict(header):
    """What numpy reads: shape, order, item size, descr as the header writes it; None when it refuses."""
    stream = io.BytesIO(header)
    try:
        version = fmt.read_magic(stream)
        shape, fortran, dtype = fmt._read_array_header(stream, version, max_header_size=1 << 21)
        if dtype.hasobject:
            return None
        # numpy takes True for 1 here; ndring refuses booleans on purpose.
        if any(isinstance(n, bool) for n in shape):
            return None
        # np.load finds these only when it makes the array.
        nonzero = max(dtype.itemsize, 1) * math.prod(n or 1 for n in shape)
        if any(n < 0 for n in shape) or nonzero >= 2**63:
            return None
        start = 10 if version[0] == 1 else 12
        text = header[start : stream.tell()].decode("utf8" if version[0] == 3 else "latin1")
        descr = ast.literal_eval(text.strip())["descr"]
    except Exception:
        return None
    return {
        "shape": shape, "fortran": fortran, "itemsize": dtype.itemsize, "offset": stream.tell(),
        "descr": descr if isinstance(descr, str) else repr(descr),
    }  # fmt: skip


CHANGES = [
    lambda t, r: t.replace("True", "1").replace("False", "0"),
    lambda t, r: t.replace("'shape'", "'shapes'"),
    lambda t, r: t.replace("(", "[", 1).replace(")", "]", 1),
    lambda t, r: t.replace(", }", "}"),
    lambda t, r: t.replace(", }", ", 'x': 1}"),
    lambda t, r: t.replace("'", '"'),
    lambda t, r: t.replace("'descr': ", "'descr': u"),
    lambda t, r: t.replace(": ", ":").replace(", ", ","),
    lambda t, r: t.replace(",", " ,\n\t"),
    lambda t, r: t.replace("(", "(-", 1),
    lambda t, r: t.replace("(", "(1.5, ", 1),
    lambda t, r: t.replace("(", "(True, ", 1),
    lambda t, r: t.replace("(", "(None, ", 1),
    lambda t, r: t.replace("(", "(0x10, ", 1),
    lambda t, r: t.replace("(", "(1_0, ", 1),
    lambda t, r: t.replace("(", "(1e3, ", 1),
    lambda t, r: t.replace("(", "(007, ", 1),
    lambda t, r: t.replace("(", "(+7, ", 1),
    lambda t, r: t.replace("(", "(1+1, ", 1),
    lambda t, r: t.replace("(", "(99999999999999999999, ", 1),
    lambda t, r: t.replace("(", "(9223372036854775807, ", 1),
    lambda t, r: t.replace("<", ">"),
    lambda t, r: t.replace("<", "="),
    lambda t, r: t.replace("<", "|"),
    lambda t, r: t.replace("<", ""),
    lambda t, r: t.replace("f8", "O"),
    lambda t, r: t.replace("f8", "f3"),
    lambda t, r: t.replace("f8", "x8"),
    lambda t, r: t.replace("i4", "i4,f8"),
    lambda t, r: t.replace("f4", "float32"),
    lambda t, r: t.replace("f4", "2f4"),
    lambda t, r: t.replace("[ms]", "[parsec]"),
    lambda t, r: t.replace("[ms]", "[0ms]"),
    lambda t, r: t.replace("[ms]", "[ms/7]"),
    lambda t, r: t.replace("[25s]", "[-25s]"),
    lambda t, r: t.replace("S7", "S-7"),
    lambda t, r: t.replace("S7", "S99999999999"),
    lambda t, r: t.replace("(3,)", "(3.0,)"),
    lambda t, r: t.replace("(3,)", "(-3,)"),
    lambda t, r: t.replace("(3,)", "3"),
    lambda t, r: t.replace("(3,)", "()"),
    lambda t, r: t.replace("'y'", "'x'"),
    lambda t, r: t.replace("'y'", "7"),
    lambda t, r: t + "#comment\n",
    lambda t, r: t.strip() + "; 1",
    lambda t, r: " " + t,
    lambda t, r: t.strip()[:-1],
    lambda t, r: t + "x",
]


def mutated(text, rng):
    if rng.random() < 0.6:
        return rng.choice(CHANGES)(text, rng)
    at = rng.randrange(len(text.rstrip()))
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + rng.choice("0123456789'\"()[]{},:<>|TFu-\\ OfSx") + text[at:]
    return text[:at] + rng.choice("0123456789'\"()[]{},:<>|TFu-\\ OfSx") + text[at + 1 :]


def main():
    rng = random.Random(20261124)
    lines = {}
    for number, dtype in enumerate(dtypes()):
        for shape in SHAPES if number < 3 else rng.sample(SHAPES, 2):
            lines[header_of(dtype, shape, rng.random() < 0.5)] = None
    written = set(lines)
    texts = [h[10:].decode("latin1") for h in lines if h[6] == 1]
    while len(lines) < 900:
        text = mutated(rng.choice(texts), rng)
        if rng.random() < 0.2:
            text = mutated(text, rng)
        lines[raw_header(text.strip() + "\n")] = None
    for major in (1, 2, 3):
        lines[raw_header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n", major)] = None
    print(json.dumps({"numpy": np.__version__}))
    for header in lines:
        print(json.dumps({"header": header.hex(), "written": header in written, "read": verdict(header)}))


sys.exit(main())
