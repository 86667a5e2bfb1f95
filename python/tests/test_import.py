"""``python -m ndring import`` from a real redis-server."""
from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
import redis
from conftest import start_node, stop_node
from ndring import NumPyRedis, _import

PYTHON = Path(__file__).resolve().parents[1]


def npy(array, version=None):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), version=version)
    return stream.getvalue()


@pytest.fixture(scope="module", params=["one", "cluster"])
def source(request, tmp_path_factory):
    program = shutil.which("redis-server")
    if program is None:
        assert os.environ.get("CI") != "true", "redis-server is not installed"
        pytest.skip("redis-server is not installed")
    cluster = request.param == "cluster"
    for _ in range(10):  # another program may take the port first
        with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as bus:
            port, bus_port = free.getsockname()[1], bus.getsockname()[1]
        arguments = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path_factory.mktemp("redis"))]
        if cluster:
            arguments += ["--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        r = redis.Redis(port=port)
        while process.poll() is None:
            try:
                if r.info("server")["process_id"] == process.pid:
                    break
            except redis.ConnectionError:
                time.sleep(0.02)
        if process.poll() is None:
            break
    else:
        raise AssertionError("redis-server does not start")
    try:
        if cluster:
            r.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while not re.search(r"cluster_state\W+ok", str(r.execute_command("CLUSTER", "INFO"))):
                time.sleep(0.02)
        yield r
    finally:
        r.close()
        process.kill()
        process.wait()


@pytest.fixture
def target():
    process, address = start_node()
    yield f"redis://{address[0]}:{address[1]}"
    stop_node(process)


def port_of(source):
    return source.connection_pool.connection_kwargs["port"]


def run(source, target, *arguments, user=""):
    port = source if isinstance(source, int) else port_of(source)
    done = subprocess.run(
        [sys.executable, "-m", "ndring", "import", f"redis://{user}127.0.0.1:{port}/0", "--to", target, *arguments],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(PYTHON)},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


ARRAYS = {
    b"plain": np.arange(10.0),
    b"zero-d": np.array(3, "i2"),
    b"empty": np.zeros((0, 3), "f4"),
    b"fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
    b"struct": np.array([(1, 2.5)], [("a", "<i4"), ("b", ">f8")]),
    b"text": np.array(["a", "bc"]),
    b"time": np.array(["2026-01-01"], "M8[ns]"),
    b"big": np.arange(1_000_000),
    b"\x00\xff{binary}": np.array([True, False]),
    b"{tag}key": np.arange(3, dtype=">u2"),
}


@pytest.fixture
def filled(source):
    source.flushall()
    for key, array in ARRAYS.items():
        source.set(key, npy(array))
    source.set("v2", npy(np.arange(4), (2, 0)))
    source.set("v3", npy(np.zeros(2, [("é", "f4")]), (3, 0)))
    source.set("soon", npy(np.arange(5)), ex=5000)
    source.set("ms", npy(np.arange(6)), px=7_654_321)
    return source


def other_things(source):
    objects, zipped = io.BytesIO(), io.BytesIO()
    np.save(objects, np.array([{}, []], dtype=object), allow_pickle=True)
    np.savez(zipped, np.arange(3))
    whole = npy(np.arange(100))
    source.set("x-objects", objects.getvalue())
    source.set("x-npz", zipped.getvalue())
    source.set("x-pickle", pickle.dumps(np.arange(3)))
    source.set("x-text", "hello")
    source.set("x-raw", np.arange(100).tobytes())
    source.set("x-empty", "")
    source.set("x-number", 5)
    source.set("x-cut", whole[:-1])
    source.set("x-trailing", whole + b"x")
    source.set("x-header", b"\x93NUMPY\x01\x00\xff\xff{'descr': __import__('os')")
    source.hset("x-hash", "a", "b")
    source.rpush("x-list", "a")
    source.sadd("x-set", "a")


def test_arrays_are_copied(filled, target, tmp_path):
    other_things(filled)
    code, out, err = run(filled, target, "--report", str(tmp_path / "report"), "--count", "3")
    assert code == 0 and "Traceback" not in err
    assert out.startswith("27 keys: 14 arrays copied (") and "0 already there, 0 expired meanwhile, 13 not copied" in out
    assert "of 27 keys, 14 arrays" in err
    with NumPyRedis.from_url(target) as c:
        for key, array in ARRAYS.items():
            got = c.get(key)
            assert got.dtype == array.dtype and got.flags.f_contiguous == array.flags.f_contiguous
            np.testing.assert_array_equal(got, array)
            assert c.ttl(key) == -1
        assert c.get("v2").tolist() == [0, 1, 2, 3] and c.get("v3").dtype.names == ("é",)
        for key in ("soon", "ms"):
            assert abs(c.pttl(key) - filled.pttl(key)) < 1000
        assert sum(1 for _ in c.scan_iter()) == 14
    lines = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    reasons = {line["key"]: line["reason"] for line in lines}
    assert reasons == {
        "b'x-objects'": "an array of objects, which is a pickle",
        "b'x-npz'": "a zip file as written by np.savez; save its arrays one by one",
        "b'x-pickle'": "a pickle, which is never loaded",
        "b'x-text'": "not a .npy file",
        "b'x-raw'": "not a .npy file",
        "b'x-empty'": "an empty string",
        "b'x-number'": "not a .npy file",
        "b'x-cut'": "a broken .npy file",
        "b'x-trailing'": "a .npy file followed by other bytes",
        "b'x-header'": "a broken .npy file",
        "b'x-hash'": "a hash, not a string",
        "b'x-list'": "a list, not a string",
        "b'x-set'": "a set, not a string",
    }
    by_key = {line["key"]: line for line in lines}
    assert by_key["b'x-text'"]["bytes"] == 5 and by_key["b'x-text'"]["type"] == "string" and by_key["b'x-hash'"]["type"] == "hash"
    assert by_key["b'x-hash'"]["bytes"] > 0 and not any(line["failed"] for line in lines)
    assert "3 x not a .npy file:\n" in out and "    b'x-text'  (string, 5 B)\n" in out


def test_existing_arrays_are_kept_unless_overwrite(filled, target):
    with NumPyRedis.from_url(target) as c:
        c.set("plain", np.zeros(1))
        code, out, _ = run(filled, target, "--dry-run")
        assert code == 0 and "13 arrays would be copied" in out and "1 already there" in out and sum(1 for _ in c.scan_iter()) == 1
        code, out, _ = run(filled, target)
        assert code == 0 and "13 arrays copied" in out and "1 already there" in out and c.shape("plain") == (1,)
        code, out, _ = run(filled, target)
        assert code == 0 and "0 arrays copied" in out and "14 already there" in out
        code, out, _ = run(filled, target, "--overwrite", "--match", "plai*", "--quiet")
        assert code == 0 and "1 keys: 1 arrays copied" in out and c.shape("plain") == (10,)


def test_arrays_above_the_limit(filled, target):
    code, out, _ = run(filled, target, "--max-array-bytes", "100000")
    assert code == 0 and "larger than --max-array-bytes 100000" in out and "13 arrays copied" in out


def test_arrays_that_ndring_refuses(filled):
    process, address = start_node("--max-array-bytes", "1000")
    try:
        code, out, _ = run(filled, f"redis://{address[0]}:{address[1]}")
    finally:
        stop_node(process)
    assert code == 1 and "13 arrays copied" in out and ", 1 not copied, 1 of them failed\n" in out
    assert "1 x ndring refused it: TOOLARGE:\n" in out and "b'big'  (string, 7.6 MiB: TOOLARGE " in out


def test_no_server_listens(filled, target):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    runs = [run(port, target), run(filled, f"redis://127.0.0.1:{port}?retry_for=0"), run(filled, "http://x"), run(filled, target, "--count", "0")]
    for code, out, err in runs:
        assert code == 2 and out == "" and err.startswith("ndring: ") and "Traceback" not in err and err.count("\n") == 1
    code, _, err = run(filled, target, "--report", "/nowhere/" + uuid.uuid4().hex)
    assert code == 2 and "cannot write the report" in err


def test_help_and_version():
    for arguments, text in (([], "import"), (["--version"], "ndring 0"), (["import", "--help"], "--match")):
        done = subprocess.run([sys.executable, "-m", "ndring", *arguments], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(PYTHON)})
        assert done.returncode == 0 and text in done.stdout
    done = subprocess.run([sys.executable, "-m", "ndring", "import"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(PYTHON)})
    assert done.returncode == 2


def test_progress_on_a_terminal():
    from ndring._import import Report, _Progress

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    report = Report(None)
    progress = _Progress(out, 200, quiet=False)
    report.counts["scanned"], report.counts["copied"], report.bytes = 100, 60, 3 << 20
    progress.show(report)
    assert out.getvalue() == "\r[###############               ] 100 of 200 keys, 60 arrays, 3.0 MiB\x1b[K"
    report.counts["scanned"] = 250  # keys that were added meanwhile
    progress.show(report, last=True)
    assert out.getvalue().endswith("\r[" + "#" * 30 + "] 250 of 250 keys, 60 arrays, 3.0 MiB\x1b[K\n")


def test_progress_with_time(monkeypatch):
    """The rate and the time left, in a line that fits the terminal, and what an import that stops early leaves."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    clock = [100.0]
    monkeypatch.setattr(_import.time, "monotonic", lambda: clock[0])
    report, out = _import.Report(None), Terminal()
    progress = _import._Progress(out, 200, quiet=False)
    report.counts["scanned"], report.counts["copied"], report.bytes = 50, 50, 3 << 20
    clock[0] += 30
    progress.show(report)
    line = "50 of 200 keys, 50 arrays, 3.0 MiB, 102.4 KiB/s, 1m30s left"
    assert out.getvalue() == f"\r[####             ] {line}\x1b[K"
    out.truncate(0)
    out.seek(0)
    monkeypatch.setattr(_import, "_columns", lambda out: 40)
    progress.stop(report)
    assert out.getvalue() == f"\r{line[:39]}\x1b[K\n"
    quiet = Terminal()
    _import._Progress(quiet, 200, quiet=True).stop(report)
    assert quiet.getvalue() == ""


def test_an_import_that_stops_on_a_terminal(stub, target, monkeypatch, capsys):
    """The bar shows what was reached, and the error has a line of its own."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(_import, "_TRIES", 1)
    monkeypatch.setattr(sys, "stderr", Terminal())
    server = stub(b":4\r\n", *HELLO[1:], b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\nk\r\n", b"+list\r\n", b":60\r\n")
    assert _import.run(arguments("redis://127.0.0.1:%d" % server.address[1], "--to", target)) == 1
    *_, bar, error, rest = sys.stderr.getvalue().split("\n")
    assert bar.split("\r")[-1] == "[########                      ] 1 of 4 keys, 0 arrays, 0 B\x1b[K"
    assert error.startswith("ndring: the source fails: ") and rest == ""


def test_the_target_comes_from_the_environment(stub, target):
    env = {**os.environ, "PYTHONPATH": str(PYTHON), "NDRING_URL": target}
    server = stub(*HELLO, b"*2\r\n$1\r\n0\r\n*0\r\n")
    words = [sys.executable, "-m", "ndring", "import", "redis://127.0.0.1:%d" % server.address[1], "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0 and done.stdout.startswith("0 keys: ")
    server = stub(*HELLO)
    words = [*words[:3], "--url", "redis://127.0.0.1:1?retry_for=0", "import", "redis://127.0.0.1:%d" % server.address[1]]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 2 and "127.0.0.1:1" in done.stderr


def test_the_reader_of_the_report_goes(stub, target):
    server = stub(*HELLO, b"*2\r\n$1\r\n0\r\n*0\r\n")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "ndring", "import", "redis://127.0.0.1:%d" % server.address[1], "--to", target, "--quiet"],
        stdout=writer, stderr=subprocess.PIPE, timeout=60, env={**os.environ, "PYTHONPATH": str(PYTHON)},
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


HELLO = (b":5\r\n", b":-2\r\n", b"$30\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n")  # a source's replies while the import connects


def test_source_that_is_lost(stub, target):
    """Reports what was copied until then, and exits with an error."""
    server = stub(*HELLO, b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n")
    code, out, err = run(server.address[1], target)
    assert code == 1 and "ndring: the source fails: " in err and "Traceback" not in err and out.startswith("0 keys: 0 arrays copied")


def test_source_that_is_lost_once(stub, target):
    """The import continues at the same cursor."""
    value = npy(np.arange(3))
    server = stub(
        *HELLO, b"*2\r\n$1\r\n7\r\n*0\r\n", None, b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n", b"+string\r\n",
        b":%d\r\n" % len(value), b"$16\r\n" + value[:16] + b"\r\n", b":1\r\n", b"$%d\r\n%s\r\n" % (len(value), value), b":-1\r\n",
    )  # fmt: skip
    code, out, err = run(server.address[1], target)
    assert code == 0 and out.startswith("1 keys: 1 arrays copied") and "Traceback" not in err
    assert [c[1] for c in server.commands if c[0] == b"SCAN"] == [b"0", b"7", b"7"]


def test_redis_before_7(stub, target):
    """Without PEXPIRETIME the time to live comes from PTTL."""
    value = npy(np.arange(3))
    server = stub(
        HELLO[0], b"-ERR unknown command `PEXPIRETIME`\r\n", HELLO[2], b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n", b"+string\r\n",
        b":%d\r\n" % len(value), b"$16\r\n" + value[:16] + b"\r\n", b":1\r\n", b"$%d\r\n%s\r\n" % (len(value), value), b":5000000\r\n",
    )  # fmt: skip
    assert run(server.address[1], target)[0] == 0
    assert server.commands[-1] == [b"PTTL", b"k"]
    with NumPyRedis.from_url(target) as c:
        assert 4_980_000 < c.pttl("k") <= 5_000_000


def test_keys_that_expire_meanwhile(stub, target):
    missing = b":-2\r\n"
    server = stub(
        *HELLO, b"*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"+string\r\n", b"+string\r\n",
        b":0\r\n", b"$0\r\n\r\n", b":0\r\n",  # a: gone after TYPE
        b":152\r\n", b"$8\r\n\x93NUMPY\x01\x00\r\n", b":1\r\n", b"$-1\r\n", missing,  # b: gone before GET
    )  # fmt: skip
    code, out, _ = run(server.address[1], target)
    assert code == 0 and out == "2 keys: 0 arrays copied (0 B), 0 already there, 2 expired meanwhile, 0 not copied\n"


@pytest.mark.parametrize("command", ["type", "strlen", "getrange", "get", "pexpiretime"])
def test_keys_that_the_source_does_not_return(filled, target, command):
    """A user without permission gets an error, instead of an import that finds nothing to copy."""
    filled.execute_command("ACL", "SETUSER", "some", "reset", "on", ">p", "~*", "&*", "+@all", "-" + command)
    code, out, err = run(filled, target, user="some:p@")
    assert "Traceback" not in err
    if command == "pexpiretime":  # falls back to PTTL
        assert code == 0 and "14 arrays copied" in out
    else:
        assert code == 1 and "0 arrays copied" in out and "14 not copied, 14 of them failed" in out and "no permissions" in out


def test_ndring_is_lost(filled, stub):
    """The import does not try the remaining keys one by one, each for retry_for seconds."""
    server = stub(b"+PONG\r\n")
    code, out, err = run(filled, f"redis://127.0.0.1:{server.address[1]}?retry_for=0")
    assert code == 1 and "ndring: ndring fails: " in err and "Traceback" not in err
    assert "0 arrays copied" in out and "1 of them failed" in out and "1 x the connection to ndring was lost:" in out


def test_ndring_as_the_source(target):
    code, out, err = run(int(target.rpartition(":")[2]), target)
    assert (code, out) == (2, "") and err == "ndring: cannot connect: the source is ndring itself, not Redis\n"


def test_unix_socket(tmp_path, stub, target):
    server = stub(*HELLO, b"*2\r\n$1\r\n0\r\n*0\r\n", path=tmp_path / "s")
    assert _import.run(arguments(f"unix://{tmp_path}/s", "--to", target, "--quiet")) == 0
    assert server.commands[-1][0] == b"SCAN"


def arguments(*words):
    parser = argparse.ArgumentParser()
    _import.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def interruptible():
    """SIGINT ends processes started here even if it is ignored, for example by the background jobs
    of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c(stub, target, interruptible):
    reached, ended = threading.Event(), threading.Event()
    server = stub(*HELLO, b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\nk\r\n", b"+list\r\n", b":60\r\n", lambda _: (reached.set(), ended.wait(60)))
    with subprocess.Popen(
        [sys.executable, "-m", "ndring", "import", f"redis://127.0.0.1:{server.address[1]}", "--to", target],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(PYTHON)},
    ) as process:  # fmt: skip
        try:
            assert reached.wait(30)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
            ended.set()
    assert process.returncode == 130 and "Traceback" not in err
    assert out.startswith("1 keys: 0 arrays copied") and "b'k'  (list, 60 B)" in out


@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts:DeprecationWarning")  # redis-py 6 about its own default
def test_values_are_fetched_in_batches(filled, target, monkeypatch, capsys):
    """A batch has a maximum size, and a larger value is fetched alone."""
    sizes = []
    pipelined = _import._pipelined

    def watched(source, *commands):
        replies = pipelined(source, *commands)
        values = [len(reply) for command, reply in zip(commands, replies) if command[0] == "GET"]
        sizes.extend([values] if values else [])
        return replies

    monkeypatch.setattr(_import, "_pipelined", watched)
    monkeypatch.setattr(_import, "_BATCH_BYTES", 500)
    assert _import.run(arguments(f"redis://127.0.0.1:{port_of(filled)}", "--to", target, "--quiet")) == 0
    assert sum(map(len, sizes)) == 14 and all(len(values) == 1 or sum(values) <= 500 for values in sizes)
    assert any(len(values) > 1 for values in sizes)
    assert "14 arrays copied" in capsys.readouterr().out
