"""A client of the cluster for the e2e tests, on the host and in a container. It prints its findings and fails on an error.

    client.py program HOST PORT README    runs the README's program
    client.py nodes HOST PORT             prints the addresses of the nodes as the client sees them
    client.py store HOST PORT PREFIX      stores arrays that are hard to keep
    client.py check HOST PORT PREFIX      looks whether they are what this Python would have stored
"""

import re
import sys
import types

import numpy as np
import redis
from fidelity import assert_identical, awkward_arrays, filled
from ndring import NdringError, NumPyRedis

try:
    from ml_dtypes import bfloat16
except ImportError:  # a stand-in over void, because numpy registers new types only from C: the transferred and stored bytes are the same
    bfloat16 = type("bfloat16", (np.void,), {"__module__": "ml_dtypes"})
    bfloat16.dtype = np.dtype((bfloat16, "V2"))
    sys.modules["ml_dtypes"] = types.ModuleType("ml_dtypes")
    sys.modules["ml_dtypes"].bfloat16 = bfloat16


def arrays():
    """Yields (name, array), the same in every process, including types that only this NumPy knows."""
    for name, array in awkward_arrays():
        if name != "masked struct with fill value":  # NumPy does not initialize its padding: the bytes differ between processes
            yield name, array
    yield "large", np.arange(1 << 20, dtype="<f4").reshape(1024, 1024).T
    yield "bfloat16", filled((3, 5), bfloat16).T


def program(host, port, readme):
    with open(readme, encoding="utf-8") as file:
        blocks = re.findall(r"^```python\n(.*?)^```", file.read(), re.M | re.S)
    source = next(block for block in blocks if "NumPyRedis()" in block)
    names = {}
    exec(compile(source.replace("NumPyRedis()", f"NumPyRedis({host!r}, {port})"), readme, "exec"), names)
    assert_identical(names["retrieved"], names["arr"])
    print(repr(names["retrieved"]))


def nodes(host, port):
    with NumPyRedis(host, port) as client:
        print("\n".join(client.nodes()))


def store(host, port, prefix):
    with NumPyRedis(host, port) as client:
        for name, array in arrays():
            assert client.set(prefix + name, array)
        print(sum(1 for _ in arrays()))


def check(host, port, prefix):
    wrong, missing, seen = [], [], set()
    with NumPyRedis(host, port) as client:
        for name, want in arrays():
            seen.add((prefix + name).encode("utf-8", "surrogatepass"))
            got = client.get(prefix + name)
            if got is None:
                missing.append(name)
                continue
            try:
                assert_identical(got, want)
            except AssertionError as e:
                wrong.append(f"{name}: {e}")
        # Types that only the other NumPy has are not read as something else: the error says what is missing.
        refused = 0
        for key in set(client.scan_iter(match=prefix + "*")) - seen:
            try:
                client.get(key)
                wrong.append(f"{key!r} was read, which this NumPy does not know")
            except NdringError as e:
                refused += 1
                assert "numpy" in str(e), e
    assert not wrong, "\n".join(wrong)
    print(f"{len(seen) - len(missing)} identical, {refused} refused, missing: {missing}")


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}, redis-py {redis.__version__}", file=sys.stderr)
    {"program": program, "nodes": nodes, "store": store, "check": check}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
