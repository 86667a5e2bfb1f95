"""``python -m ndring ping`` and ``ls`` against real nodes, and what all commands have in common."""
from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import numpy as np
import pytest
from conftest import start_node, stop_node
from ndring import DecodeError, Pipeline
from tools_helpers import COMMAND, ENVIRONMENT, spawn

# ping


def test_ping(tool, node):
    code, out, err = tool("ping")
    assert (code, err) == (0, "") and re.fullmatch(rf"127\.0\.0\.1:{node[1]}  \d+\.\d\d ms\n", out.decode())


def test_ping_asks_every_node(tool, fake):
    cluster = fake(3)
    dead = cluster.nodes[1]
    first = cluster.nodes[0].where
    code, out, err = tool("ping", "--url", f"redis://{first}")
    assert (code, err) == (0, "") and out.count(b" ms\n") == 3
    assert all([b"PING"] in node.commands for node in cluster.nodes)
    dead.die()
    began = time.monotonic()
    code, out, err = tool("--url", f"redis://{first}", "ping")
    assert code == 1 and out.count(b" ms\n") == 2 and f"{dead.where}  no answer\n" in out.decode()
    assert err.startswith(f"ndring: {dead.where}: ") and err.count("\n") == 1 and time.monotonic() - began < 2.5


def test_ping_a_node_that_is_silent(tool, fake):
    cluster = fake(2)
    silent = cluster.nodes[1]
    release = threading.Event()
    silent.override = lambda node, words: release.wait(30) and None
    try:
        code, out, err = tool("ping", "--url", f"redis://{cluster.nodes[0].where}", "--timeout", "0.3")
    finally:
        release.set()
    assert code == 1 and f"{silent.where}  no answer" in out.decode() and silent.where in err


def test_ping_a_unix_socket(tool, stub, tmp_path):
    server = stub(b"+PONG\r\n", b"+PONG\r\n", path=tmp_path / "s")
    code, out, _ = tool("ping", "--url", f"unix://{tmp_path}/s")
    assert code == 0 and out.startswith(str(tmp_path).encode()) and server.commands == [[b"PING"]] * 2


# Connecting


@pytest.mark.parametrize("words", [["ping"], ["ls"], ["ls", "-l"], ["get", "k"], ["info", "k"]])
def test_no_server(tool, words):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    code, out, err = tool(*words, "--url", f"redis://127.0.0.1:{port}", "--timeout", "0.1")
    assert (code, out) == (1, b"") and err.count("\n") == 1 and f"127.0.0.1:{port}" in err and "--timeout sets how long" in err


def test_outages_are_not_missing_keys(tool):
    code, _, err = tool("get", "k", "--url", "redis://127.0.0.1:1?on_error=miss&retry_for=0")
    assert code == 1 and "no such key" not in err and "refused" in err


@pytest.mark.parametrize("given", ["redis://:wrong@{}", "redis://{}"])
def test_passwords(tool, monkeypatch, given):
    process, address = start_node("--requirepass", "secret")
    where = "%s:%d" % address
    try:
        code, out, err = tool("ls", "--url", given.format(where))
        assert (code, out) == (1, b"") and re.match("ndring: (WRONGPASS|NOAUTH) ", err) and err.count("\n") == 1
        assert tool("ls", "--url", f"redis://:secret@{where}")[0] == 0
        monkeypatch.setenv("NDRING_PASSWORD", "secret")
        assert tool("ls", "--url", f"redis://{where}")[0] == 0
        assert tool("ls", "--url", f"redis://:wrong@{where}")[0] == 1  # the URL takes precedence
    finally:
        stop_node(process)


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"], ["get"], ["get", ""], ["get", "a", "b"], ["get", "k", "-e", "--esc"], ["info", r"a\q", "-e"], ["ls", "--timeout", "0"],
        ["ls", "--timeout", "nan"], ["ls", "--timeout", "x"], ["ls", "--url", "http://x"], ["ls", "--url", "redis://h:99999"],
        ["ls", "--url", "redis://h?nonsense=1"],
        ["ls", "-l", "--json"], ["ls", "--count", "-l"], ["set", "k"], ["set", "k", "f", "--ex", "0"], ["set", "k", "f", "--ex", "1", "--px", "1"],
        ["set", "k", "f", "--nx", "--xx"], ["set", "k", "f", "--px", "1.5"], ["info", "k", "--width", "0"], ["import"], ["ls", "a\n\udcff", "b"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_invalid_command_lines(tool, words):
    code, out, err = tool(*words)
    assert (code, out) == (2, b"") and err.count("\n") == 1, err


def test_a_timeout_must_be_positive(tool):
    for text in ("0", "-1", "inf", "nan"):
        assert f"argument --timeout: must be positive, not {text}; " in tool("ls", f"--timeout={text}")[2]


def test_options_may_stand_before_the_command(tool, monkeypatch, node_url):
    monkeypatch.setenv("NDRING_URL", "redis://127.0.0.1:1?retry_for=0")
    assert tool("ls")[0] == 1
    for words in (["--url", node_url, "ls"], ["ls", "--url", node_url], ["--url", "redis://127.0.0.1:1", "--timeout", "9", "ls", "--url", node_url]):
        assert tool(*words) == (0, b"", "")


def test_help(tool):
    for words in ([], ["--help"], *([name, "--help"] for name in ("ping", "ls", "get", "set", "info", "import"))):
        code, out, err = tool(*words)
        assert (code, err) == (0, "") and out.startswith(b"usage: python -m ndring")


# ls


KEYS = [b"plain", b"a\nb", b"back\\n", b"\xff\x00{x}", "é日".encode(), b"-l", b"two  spaces"]


def test_ls(tool, client):
    for key in KEYS:
        client.set(key, np.zeros(3))
    code, out, err = tool("ls")
    assert (code, err) == (0, "")
    shown = ["plain", r"a\nb", r"back\\n", r"\xff\x00{x}", "é日", "-l", "two  spaces"]
    assert sorted(out.decode().splitlines()) == sorted(shown)
    assert tool("ls", "p*")[1] == b"plain\n" and tool("ls", "nothing*") == (0, b"", "")
    assert tool("ls", "--count")[1] == b"7\n" and tool("ls", "*n*", "--count")[1] == b"2\n"
    for key, name in zip(KEYS, shown):
        code, out, _ = tool("info", "--escaped", "--json", "--", name)
        assert code == 0 and json.loads(out)["key"] == name
        assert tool("info", "--", os.fsdecode(key))[0] == 0 if b"\x00" not in key else True


def test_ls_long(tool, client):
    client.set("v", np.zeros(300, "f4"), px=5_400_000)
    client.set("s", np.zeros((), [("a b", "<i4")]))
    assert tool("ls", "-l", "v")[1] == b"float32    (300,)                1200     5400 v\n"
    assert tool("ls", "-l", "s")[1].split() == [b"[('a_b','<i4')]", b"()", b"4", b"-", b"s"]
    assert re.fullmatch(rb"float32    \(300,\)              1\.2KiB    1h(30|29)m v\n", tool("ls", "-l", "--human", "v")[1])
    found = {line["key"]: line for line in map(json.loads, tool("ls", "--json")[1].splitlines())}
    assert 5_300_000 < found["v"].pop("ttl_ms") <= 5_400_000
    assert found["v"] == {"key": "v", "dtype": "<f4", "shape": [300], "bytes": 1200}
    assert found["s"] == {"key": "s", "dtype": [["a b", "<i4"]], "shape": [], "bytes": 4, "ttl_ms": None}


def test_ls_with_many_keys(tool, client):
    client.mset({f"k{i}": np.zeros(1) for i in range(450)})  # more than two batches
    lines = tool("ls", "-l")[1].decode().splitlines()
    assert sorted(line.split()[-1] for line in lines) == sorted(f"k{i}" for i in range(450))


def test_keys_whose_metadata_cannot_be_read(tool, client, monkeypatch):
    client.set("good", np.zeros(1))
    client.set("other", np.zeros(1))
    execute = Pipeline.execute

    def second_is_unknown(self, raise_on_error):
        return [execute(self, raise_on_error)[0], DecodeError("not\nclear")]

    monkeypatch.setattr(Pipeline, "execute", second_is_unknown)
    code, out, err = tool("ls", "-l")
    assert code == 1 and out.count(b"\n") == 1 and re.fullmatch("ndring: (good|other): not clear\n", err)
    monkeypatch.setattr(Pipeline, "execute", lambda self, raise_on_error: [None, None])
    assert tool("ls", "-l") == (0, b"", "")  # both keys were deleted meanwhile


# The end of the output


def test_the_reader_goes(node_url, client):
    """As `ls | head -1`: silent, with the exit code that shells give programs that end so."""
    client.mset({f"{i:0200}": np.zeros(1) for i in range(1000)})
    client.set("large", np.zeros(10**6))
    for words in (["ls"], ["ls", "-l"], ["get", "large"], ["get", "0" * 199 + "1"], ["info", "large"], ["--help"], ["ls", "--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = spawn(*words, stdout=writer, env={"NDRING_URL": node_url})
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, b""), words


def test_a_full_disk_and_closed_outputs(node_url, client):
    client.set("k", np.zeros(10))
    env = {"NDRING_URL": node_url}
    with open("/dev/full", "wb") as full:
        for words in (["ls"], ["get", "k"], ["info", "k"], ["ping"], ["ls", "--count"]):
            done = spawn(*words, stdout=full, env=env)
            assert (done.returncode, done.stderr) == (1, b"ndring: cannot write to standard output: No space left on device\n"), words
    for words in (["ls"], ["get", "k"], ["info", "k"], ["ping"]):
        done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, *words], stderr=subprocess.PIPE, env={**ENVIRONMENT, **env})
        assert (done.returncode, done.stderr) == (1, b"ndring: standard output is closed: nothing can be written\n"), words
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, "get", "missing"], stdout=subprocess.PIPE, env={**ENVIRONMENT, **env})
    assert (done.returncode, done.stdout) == (1, b"")
    words = ["import", "redis://127.0.0.1:1"]  # print() would write the error to standard output
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, *words], stdout=subprocess.PIPE, env={**ENVIRONMENT, **env})
    assert (done.returncode, done.stdout) == (2, b"")


def test_ctrl_c(stub, tmp_path):
    reached, ended = threading.Event(), threading.Event()
    server = stub(lambda connection: (connection.sendall(b"*5\r\n$1000\r\n\x93NUMPY"), reached.set(), ended.wait(60)))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children ignore it
    words = ["get", "k", "-o", str(tmp_path / "x.npy"), "--url", f"redis://127.0.0.1:{server.address[1]}"]
    try:
        with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
            try:
                assert reached.wait(30)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=30)
            finally:
                process.kill()
                ended.set()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (process.returncode, out, err) == (130, b"", b"") and list(tmp_path.iterdir()) == []
