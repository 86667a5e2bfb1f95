"""``python -m ndring get`` and ``set`` against a real node."""
from __future__ import annotations

import os
import pty
import resource
import stat
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest
from ndring import NumPyRedis
from ndring._tools import getset, npyfile
from tools_helpers import COMMAND, ENVIRONMENT, on_a_terminal, spawn

ARRAYS = [
    np.arange(6, dtype=">f4").reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.array(3.5),
    np.zeros((0, 4), "i2"),
    np.array([("a", 1)], [("x y", "<U3"), ("z", ">i8")]),
    np.array(["2026-01-01", "NaT"], "M8[D]"),
    np.array([b"ab\0"], "S3"),
    np.arange(3_000_000),
]


@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_get_writes_what_np_save_writes(tool, client, tmp_path, number):
    array = ARRAYS[number]
    client.set("k", array)
    np.save(tmp_path / "expected.npy", array)
    expected = (tmp_path / "expected.npy").read_bytes()
    assert tool("get", "k", "-o", tmp_path / "x.npy") == (0, b"", "") and (tmp_path / "x.npy").read_bytes() == expected
    assert tool("get", "k") == (0, expected, "") and tool("get", "k", "-o", "-")[1] == expected
    # and back
    assert tool("set", "copy", tmp_path / "x.npy") == (0, b"", "")
    a, b = client.meta("k"), client.meta("copy")
    assert (a.dtype, a.shape, a.fortran_order, a.crc32c) == (b.dtype, b.shape, b.fortran_order, b.crc32c) and b.attrs is None


def test_missing_keys(tool, tmp_path):
    for words in (["get", "a\nb"], ["get", "a\nb", "-o", tmp_path / "x.npy"], ["info", "a\nb"], ["info", "a\nb", "--json"]):
        assert tool(*words) == (1, b"", "ndring: no such key: a\\nb\n")
    assert list(tmp_path.iterdir()) == []


def test_what_npy_cannot_express(tool, client, tmp_path):
    masked = np.ma.array([1.0, 2, 3], mask=[0, 1, 0], fill_value=7)
    client.set("masked", masked)
    for words in (["-o", tmp_path / "x.npy"], []):
        code, out, err = tool("get", "masked", *words)
        assert (code, out) == (1, b"") and "-o FILE.npz" in err
    assert list(tmp_path.iterdir()) == []
    assert tool("get", "masked", "-o", tmp_path / "x.npz") == (0, b"", "")
    with np.load(tmp_path / "x.npz") as archive:
        assert sorted(archive.files) == ["data", "fill_value", "mask"]
        again = np.ma.array(archive["data"], mask=archive["mask"], fill_value=archive["fill_value"])
    assert again.tolist() == [1, None, 3] and again.fill_value == 7 and again.data[1] == 2
    client.set("record", np.zeros(2, [("a", "i4")]).view(np.recarray))
    code, _, err = tool("get", "record", "-o", tmp_path / "m.npy")
    assert code == 0 and err == "ndring: note: the file does not keep the class recarray\n" and np.load(tmp_path / "m.npy")["a"].tolist() == [0, 0]
    client.set("metadata", np.zeros(1, np.dtype("f8", metadata={"unit": "m"})))
    assert "the dtype's metadata" in tool("get", "metadata", "-o", tmp_path / "m.npy")[2]


def test_dtypes_that_npy_does_not_name(tool, client, tmp_path, monkeypatch):
    scalar = type("bfloat16", (np.void,), {"__module__": "ml_dtypes"})  # numpy registers real ones only from C
    scalar.dtype = np.dtype((scalar, "V2"))
    module = types.ModuleType("ml_dtypes")
    module.bfloat16 = scalar
    monkeypatch.setitem(sys.modules, "ml_dtypes", module)
    client.set("k", np.zeros(3, scalar.dtype))
    code, _, err = tool("get", "k", "-o", tmp_path / "x.npy")
    assert code == 1 and "a .npy file cannot express the dtype" in err and list(tmp_path.iterdir()) == []
    code, out, err = tool("info", "k")
    assert (code, err) == (0, "") and b"no picture of dtype" in out and tool("ls", "-l")[0] == tool("ls", "--json")[0] == 0


@pytest.mark.skipif(not hasattr(getattr(np, "dtypes", None), "StringDType"), reason="StringDType came with numpy 2.0")
def test_string_dtype():
    with pytest.raises(npyfile.Failure, match="cannot express the dtype StringDType"):
        npyfile.as_array(np.array(["a"], np.dtypes.StringDType()), False)


def test_get_replaces_files_as_a_whole(tool, client, tmp_path, monkeypatch):
    client.set("k", np.arange(3))
    file = tmp_path / "x.npy"
    file.write_text("before")
    file.chmod(0o640)
    link = tmp_path / "link.npy"
    link.symlink_to(file)

    def fill(file, array):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(npyfile, "write_npy", fill)
        code, _, err = tool("get", "k", "-o", link)
    assert (code, err) == (1, f"ndring: cannot write {link}: No space left on device\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.npy", "x.npy"] and file.read_text() == "before"

    def interrupt(file, array):
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(npyfile, "write_npy", interrupt)
        assert tool("get", "k", "-o", link) == (130, b"", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.npy", "x.npy"] and file.read_text() == "before"
    assert tool("get", "k", "-o", link)[0] == 0 and link.is_symlink() and np.load(file).tolist() == [0, 1, 2]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    before = os.umask(0o027)
    try:
        assert tool("get", "k", "-o", tmp_path / "new.npy")[0] == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.npy").stat().st_mode) == 0o640
    client.set("k", np.arange(10**6))
    for path, text in ((tmp_path, "is a directory"), (tmp_path / "none" / "x.npy", "No such file or directory"), ("/dev/full", "No space left on device")):
        code, _, err = tool("get", "k", "-o", path)
        assert code == 1 and text in err and err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.npy", "new.npy", "x.npy"]


def test_a_disk_that_fills_up(node_url, client, tmp_path):
    """numpy's own writing to files would not say why it failed."""
    client.set("k", np.zeros(10**6))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    for name in ("x.npy", "x.npz"):
        done = spawn("get", "k", "-o", str(tmp_path / name), env={"NDRING_URL": node_url}, preexec_fn=limit)
        assert (done.returncode, done.stderr.decode()) == (1, f"ndring: cannot write {tmp_path / name}: File too large\n")
    assert list(tmp_path.iterdir()) == []


def test_a_lost_connection_leaves_no_file(tool, stub, tmp_path):
    start = b"*5\r\n$1000\r\n\x93NUMPY"
    server = stub(lambda connection: connection.sendall(start))
    code, out, err = tool("get", "k", "-o", tmp_path / "x.npy", "--url", "redis://127.0.0.1:%d?retry_for=0" % server.address[1])
    assert (code, out) == (1, b"") and err.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_terminal_gets_text(node_url, client):
    client.set("small", np.array([[1.5, 2], [3, 4]]))
    assert on_a_terminal("get", "small") == "[[1.5 2. ]\n [3.  4. ]]\n"
    large = np.arange(10**6).reshape(1000, 1000)
    client.set("large", large)
    assert on_a_terminal("get", "large") == f"{large}\n"
    client.set("row", np.arange(64))
    assert max(map(len, on_a_terminal("info", "row", columns=40).splitlines()[-5:-1])) == 32


@pytest.mark.parametrize("shape", [(1001,), (2, 501), (7, 7, 21), (6, 6, 6, 6), (1, 7, 200), (7, 7, 7, 7, 1)])
@pytest.mark.parametrize("dtype", ["f4", "U5", "i2,M8[D]"])
def test_corners_print_like_the_whole_array(client, node_url, shape, dtype, monkeypatch):
    random = np.random.default_rng(1)
    array = random.integers(-999, 999, shape).astype("i2").astype(dtype)
    client.set("k", array)
    with NumPyRedis.from_url(node_url) as c, monkeypatch.context() as patched:
        patched.setattr(NumPyRedis, "get", None)  # not the whole array
        assert getset._printed(c, b"k") == str(array)


def test_arrays_of_which_no_corners_can_be_read(client, node_url, monkeypatch):
    masked = np.ma.array(np.arange(2000), mask=np.arange(2000) == 1)
    client.set("masked", masked)
    many = np.zeros((7,) * 6, "i1")
    client.set("many", many)
    client.set("replaced", np.zeros(2000))
    with NumPyRedis.from_url(node_url) as c:
        assert getset._printed(c, b"masked") == str(masked) and getset._printed(c, b"many") == str(many)
        assert getset._printed(c, b"missing") is None
        meta = c.meta("replaced")
        client.set("replaced", np.ones(2000))  # the same shape, after the metadata was read
        assert getset._corners(c, b"replaced", meta) is None and getset._printed(c, b"replaced") == str(np.ones(2000))
        client.set("replaced", np.ones(5))
        assert getset._corners(c, b"replaced", meta) is None
        client.delete("replaced")
        assert getset._corners(c, b"replaced", meta) is None


def test_set_options(tool, client, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3))
    file = tmp_path / "x.npy"
    assert tool("set", "k", file, "--xx") == (1, b"", "ndring: not stored: k does not exist\n") and client.exists("k") == 0
    assert tool("set", "k", file, "--nx", "--ex", 100)[0] == 0 and 95 < client.ttl("k") <= 100
    assert tool("set", "k", file, "--nx") == (1, b"", "ndring: not stored: k exists already\n")
    assert tool("set", "k", file, "--xx", "--px", 5_000_000)[0] == 0 and 4_990_000 < client.pttl("k") <= 5_000_000
    assert tool("set", "k", file)[0] == 0 and client.ttl("k") == -1
    assert tool("set", "-e", r"a\nb", file)[0] == 0 and client.get(b"a\nb").tolist() == [0, 1, 2]


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("shift", [0, 3])
def test_large_files_are_mapped(tool, client, tmp_path, monkeypatch, order, shift):
    """Also where the data is not aligned, which other programs write."""
    array = np.array(np.arange(400_000).reshape(2, -1), order=order)
    np.save(tmp_path / "x.npy", array)
    raw = (tmp_path / "x.npy").read_bytes()
    if shift:
        length = int.from_bytes(raw[8:10], "little") + shift
        raw = raw[:8] + length.to_bytes(2, "little") + raw[10:127] + b" " * shift + raw[127:]
        (tmp_path / "x.npy").write_bytes(raw)
    mapped = []
    memmap = np.memmap
    monkeypatch.setattr(np, "load", lambda *a, load=np.load, **kw: (mapped.append(kw), load(*a, **kw))[1])
    assert tool("set", "k", tmp_path / "x.npy") == (0, b"", "")
    assert len(mapped) == 1 and mapped[0]["mmap_mode"] == "c" and mapped[0]["allow_pickle"] is False and np.memmap is memmap
    stored = client.get("k")
    assert type(stored) is np.ndarray and stored.flags.writeable and stored.flags[f"{order}_CONTIGUOUS"] and np.array_equal(stored, array)
    assert client.meta("k").attrs is None
    (tmp_path / "x.npy").write_bytes(raw + b"!")
    assert "further bytes" in tool("set", "k", tmp_path / "x.npy")[2]
    (tmp_path / "x.npy").write_bytes(raw[:-1])
    assert tool("set", "k", tmp_path / "x.npy")[0] == 1


def test_files_that_are_not_arrays(tool, client, tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    np.save(tmp_path / "good.npy", np.arange(100))
    good = (tmp_path / "good.npy").read_bytes()
    files = {"empty": b"", "cut": good[:-1], "cut-header": good[:60], "two": good * 2, "text": b"hello", "short": b"\x93NU"}
    files.update({"zip": b"PK\x03\x04", "pickle": b"\x80\x04."})
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "header").write_bytes(good[:10] + b"__import__('os')".ljust(118) + good[128:])
    expected = {
        "objects.npy": "an array of objects, which is a pickle and is never loaded", "empty": "it is empty", "cut": "not a complete .npy file",
        "cut-header": "not a complete", "two": "further bytes after the array", "text": "is not a .npy file: write one with np.save",
        "short": "is not a .npy file", "zip": "cannot be read as a .npz file", "pickle": "is not a .npy file", "header": "not a complete .npy file",
        "missing\n": "cannot read", ".": "cannot read",
    }  # fmt: skip
    for name, text in expected.items():
        code, out, err = tool("set", "k", tmp_path / name)
        assert (code, out) == (1, b"") and text in err and err.count("\n") == 1, (name, err)
    assert client.exists("k") == 0


def test_npz_files(tool, client, tmp_path):
    np.savez(tmp_path / "x.npz", a=np.arange(3), b=np.ones(2), c=np.array([{}], dtype=object))
    file = tmp_path / "x.npz"
    code, _, err = tool("set", "k", file)
    assert code == 2 and "name the array with --entry; its entries are a, b, c\n" in err
    code, _, err = tool("set", "k", file, "--entry", "d\n")
    assert code == 2 and "has no entry d\\n; its entries are a, b, c\n" in err
    code, _, err = tool("set", "k", file, "--entry", "c")
    assert code == 1 and "a pickle and is never loaded" in err
    assert tool("set", "k", file, "--entry", "b")[0] == 0 and client.get("k").tolist() == [1, 1]
    np.savez(file, a=np.zeros(1_000_000))  # above the size that is mapped
    assert tool("set", "k", file, "--entry", "a")[0] == 0 and client.shape("k") == (1_000_000,)
    np.save(tmp_path / "x.npy", np.arange(3))
    assert tool("set", "k", tmp_path / "x.npy", "--entry", "a")[0] == 2
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", b"nonsense")
    code, _, err = tool("set", "k", file, "--entry", "a")
    assert code == 1 and err.count("\n") == 1 and client.shape("k") == (1_000_000,)


def test_standard_input(node_url, client, tmp_path):
    np.save(tmp_path / "x.npy", ARRAYS[4])
    raw = (tmp_path / "x.npy").read_bytes()
    env = {"NDRING_URL": node_url}
    assert spawn("set", "k", "-", input=raw, env=env).returncode == 0 and np.array_equal(client.get("k"), ARRAYS[4])
    program = "import sys, time, os\nfor i in range(0, 200, 2): os.write(1, sys.argv[1].encode('latin1')[i:i+2])"
    slow = subprocess.Popen([sys.executable, "-c", program.replace("sys.argv[1].encode('latin1')", f"{raw!r}")], stdout=subprocess.PIPE)
    with slow:
        assert spawn("set", "slow", "-", stdin=slow.stdout, env=env).returncode == 0
    assert np.array_equal(client.get("slow"), ARRAYS[4])
    with open(tmp_path / "x.npy", "rb") as file:
        assert spawn("set", "file", "-", stdin=file, env=env).returncode == 0 and np.array_equal(client.get("file"), ARRAYS[4])
    for data, text in ((b"", b"standard input is not a .npy file: it is empty"), (raw[:-1], b"not a complete .npy file"), (raw + b"x", b"further bytes")):
        done = spawn("set", "no", "-", input=data, env=env)
        assert done.returncode == 1 and text in done.stderr and done.stderr.count(b"\n") == 1
    assert client.exists("no") == 0
    main, other = pty.openpty()
    try:
        assert spawn("set", "no", "-", stdin=other, env=env).returncode == 2
    finally:
        os.close(main)
        os.close(other)
    done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "set", "no", "-"], stderr=subprocess.PIPE, env={**ENVIRONMENT, **env})
    assert done.returncode == 2 and b"redirect it" in done.stderr and done.stderr.count(b"\n") == 1


def test_redirected_output_is_a_npy_file(node_url, client, tmp_path):
    client.set("k", ARRAYS[0])
    with open(tmp_path / "x.npy", "wb") as file:
        assert spawn("get", "k", stdout=file, env={"NDRING_URL": node_url}).returncode == 0
    assert np.load(tmp_path / "x.npy").dtype == ">f4"
