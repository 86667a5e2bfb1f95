"""What you store is exactly what you get back: a demonstration on a running cluster.

    make demo                                       starts three nodes, runs this, stops them
    NDRING_ADDR=host:7379 python examples/demo.py   uses a running cluster, of which any node will do
"""

import inspect
import os
import sys
import time

import numpy as np
import redis

from ndring import NumPyRedis

HOST, _, PORT = os.environ.get("NDRING_ADDR", "127.0.0.1:7379").rpartition(":")


def program(client):
    arr = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32, order="F")
    arr.flags.writeable = False
    client.set("my_array", arr)
    retrieved = client.get("my_array")
    assert np.array_equal(arr, retrieved) and arr.dtype == retrieved.dtype
    assert arr.flags["F_CONTIGUOUS"] == retrieved.flags["F_CONTIGUOUS"]
    assert arr.flags["WRITEABLE"] == retrieved.flags["WRITEABLE"]
    return retrieved


def awkward_arrays():
    """Yields pairs (description, array) that .npy files, hand-written pickles or tobytes() get wrong."""
    yield "Fortran order", np.asfortranarray(np.arange(12.0).reshape(3, 4))

    read_only = np.linspace(0, 1, 5)
    read_only.flags.writeable = False
    yield "read-only", read_only

    yield "big-endian", np.array([[1, 256], [65536, -1]], dtype=">i4")

    point = np.dtype([("name", "U8"), ("at", "<f8", (2,)), ("when", "datetime64[ms]")], align=True)
    yield "structured, aligned", np.array([("origin", (0, 0), "2024-02-29"), ("far", (1e300, -0.0), "NaT")], dtype=point)

    masked = np.ma.masked_array([1.5, np.nan, -7.25, 0.0], mask=[False, True, False, True], fill_value=-999.0)
    yield "masked", masked

    yield "negative strides", np.arange(24, dtype=np.int16).reshape(4, 6)[::-1, ::-2]

    # A signalling NaN, a NaN with a payload, an infinity and a negative zero: arithmetic would change these bits.
    odd = np.array([0x7FF0000000000001, 0xFFF8DEADBEEF0001, 0xFFF0000000000000, 1 << 63], dtype=np.uint64)
    yield "NaN payloads", odd.view(np.float64)


def raw(a):
    """Returns the bytes of every element in logical order, including padding between fields."""
    plain = np.asarray(a).view(np.ndarray)
    return plain.view(np.dtype((np.void, plain.dtype.itemsize))).tobytes()


def differences(stored, got):
    """Returns the names of the properties that differ; none if the array came back as it was stored."""
    pairs = {
        "type": (type(stored), type(got)),
        "dtype": (stored.dtype, got.dtype),
        "byte order": (stored.dtype.str, got.dtype.str),
        "alignment": (stored.dtype.isalignedstruct, got.dtype.isalignedstruct),
        "shape": (stored.shape, got.shape),
        "strides": (stored.strides, got.strides),
        "flags": (flags(stored), flags(got)),
        "bytes": (raw(stored), raw(got)),
    }
    if isinstance(stored, np.ma.MaskedArray) and isinstance(got, np.ma.MaskedArray):
        pairs["mask"] = (raw(np.ma.getmaskarray(stored)), raw(np.ma.getmaskarray(got)))
        pairs["data under the mask"] = (raw(stored.data), raw(got.data))
        pairs["fill value"] = (stored.fill_value, got.fill_value)
        pairs["hard mask"] = (stored.hardmask, got.hardmask)
    return [name for name, (before, after) in pairs.items() if before != after]


def flags(a):
    """Returns the flags as letters, without OWNDATA, which no other process can have."""
    names = {"C": "C_CONTIGUOUS", "F": "F_CONTIGUOUS", "W": "WRITEABLE", "A": "ALIGNED"}
    return "".join(letter if a.flags[name] else "-" for letter, name in names.items())


def where(client):
    """Yields each node's address with the keys of this demonstration that it holds: SCAN on a node lists only its own."""
    for address in client.nodes():
        host, _, port = address.rpartition(":")
        with redis.Redis(host.strip("[]"), int(port)) as node:
            keys = [key.decode() for key in node.scan_iter(count=1000)]
        yield address, sorted(key for key in keys if key == "my_array" or key.startswith("ndring-demo:"))


class Screen:
    """Colours on a terminal, plain text elsewhere."""

    def __init__(self):
        self.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        try:
            "✓✗".encode(sys.stdout.encoding or "ascii")
            self.tick, self.cross = "✓", "✗"
        except UnicodeEncodeError:
            self.tick, self.cross = "ok", "NO"

    def paint(self, text, code):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def title(self, text):
        print(f"\n{self.paint(text, '1')}")

    def dim(self, text):
        return self.paint(text, "2")

    def mark(self, good):
        return self.paint(self.tick, "32") if good else self.paint(self.cross, "1;31")


def main():
    screen = Screen()
    started = time.perf_counter()
    failed = 0
    with NumPyRedis(HOST, int(PORT)) as client:
        client.ping()
        print(f"{screen.paint('ndring', '1;36')} at {', '.join(client.nodes())}" + screen.dim(
            f"   Python {sys.version.split()[0]}, numpy {np.__version__}, redis-py {redis.__version__}"))

        screen.title("The program")
        source, _ = inspect.getsourcelines(program)
        for line in source[1:-1]:
            print(screen.dim("  │ ") + line.rstrip()[4:])

        screen.title("What came back")
        try:
            got = program(client)
            print("\n".join("  " + line for line in repr(got).splitlines()))
            print(f"  {screen.mark(True)} equal, {got.dtype}, "
                  f"{'Fortran order' if got.flags['F_CONTIGUOUS'] else 'C order'}, "
                  f"{'writeable' if got.flags['WRITEABLE'] else 'read-only'}")
        except AssertionError:
            failed += 1
            print(f"  {screen.mark(False)} not what was stored")

        screen.title("Awkward arrays")
        columns = "{:<20}  {:<7}  {:<6}  {:<8}  {:<5}  {:>15}"
        print(screen.dim("    " + columns.format("", "dtype", "shape", "strides", "flags", "round trip")))
        for number, (what, array) in enumerate(awkward_arrays()):
            key = f"ndring-demo:{number}"
            start = time.perf_counter()
            client.set(key, array)
            got = client.get(key)
            took = time.perf_counter() - start
            wrong = differences(array, got)
            failed += bool(wrong)
            dtype = "struct" if array.dtype.names else array.dtype.str
            shape, strides = "×".join(map(str, array.shape)), ",".join(map(str, array.strides))
            row = columns.format(what, dtype, shape, strides, flags(array), f"{took * 1e3:.2f} ms")
            print(f"  {screen.mark(not wrong)} {row}" + (f"  changed: {', '.join(wrong)}" if wrong else ""))

        screen.title("Where the keys are stored")
        for address, keys in where(client):
            print(f"  {address:<21}  {len(keys)} keys" + screen.dim("  " + " ".join(keys)))
        client.delete("my_array", *(f"ndring-demo:{number}" for number in range(number + 1)))

    took = time.perf_counter() - started
    if failed:
        print(f"\n{screen.paint(f'{failed} arrays did not come back as they were stored', '1;31')}")
        return 1
    print(screen.dim("\n  a tick: same type, dtype, byte order, shape, strides, flags, bytes; mask and fill value"))
    print(f"\n{screen.paint('Every array came back exactly as it was stored', '1;32')}, in {took:.2f} s.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except redis.ConnectionError as e:
        sys.exit(f"no node answers at {HOST}:{PORT} ({e}); start one with make run")
