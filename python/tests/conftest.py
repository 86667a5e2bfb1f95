"""Real nodes for the suite, and a scripted stub of a node that fails."""
from __future__ import annotations

import asyncio
import faulthandler
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading

import ndring
import over_tls
import pytest
from fake_cluster import FakeCluster

#: Which client the suite tries: "asyncio" and "uvloop" stand for the one for asyncio, with that event loop.
CLIENT = os.environ.get("NDRING_CLIENT", "blocking")
if CLIENT != "blocking":  # before the tests import it
    from over_asyncio import blocking_client, uvloop_loop

    ndring.NumPyRedis = blocking_client(uvloop_loop if CLIENT == "uvloop" else asyncio.new_event_loop)
from ndring import NumPyRedis, __main__  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: What does not depend on the client, or concerns the insides of the blocking one.
NOT_OVER_ASYNCIO = (
    "api_page", "asyncio", "cluster", "codec", "contrib", "copies", "import", "memoize", "near_cache", "options", "package", "pool", "readme",
    "recipes", "restart", "signals", "storm", "stream", "tools", "typing", "urls",
)  # fmt: skip


#: What does not depend on connections, has servers of its own, or runs other programs.
NOT_OVER_TLS = (
    "api_page", "codec", "connecting", "decisions", "import", "options", "package", "readme", "recipes", "restart", "stream", "tls", "tools",
    "typing", "urls",
)  # fmt: skip


def pytest_ignore_collect(collection_path, config):
    left_out = (*(NOT_OVER_ASYNCIO if CLIENT != "blocking" else ()), *(NOT_OVER_TLS if over_tls.ON else ()))
    return True if left_out and collection_path.name[len("test_") :].startswith(left_out) else None


def pytest_configure(config):
    config.addinivalue_line("markers", "blocking: concerns threads, forks or the insides of the blocking client")
    config.addinivalue_line("markers", "plain: has servers or other processes that do not speak TLS")


def pytest_collection_modifyitems(config, items):
    marks = [mark for mark, on in (("blocking", CLIENT != "blocking"), ("plain", over_tls.ON)) if on]
    left_out = [item for item in items if any(map(item.get_closest_marker, marks))]
    if not left_out:
        return
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def start_node(*arguments, folder=None):
    """Starts a node on ports chosen by the system. Returns the process and its address once it is ready.

    Its data folder is temporary, unless ``folder`` is given, which is kept.
    """
    return wait_until_ready(launch_node(*arguments, folder=folder))


def launch_node(*arguments, folder=None):
    """Starts a node and returns its process at once."""
    binary = os.environ.get("NDRING_BIN", str(ROOT / "bin" / "ndring"))
    temporary = tempfile.TemporaryDirectory(prefix="ndring-test-")
    command = [binary, "--port", "0", "--http-port", "0", "--dir", str(folder or temporary.name), *over_tls.NODE_ARGUMENTS, *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={})
    process.folder = temporary
    return process


def read_log(process, pattern):
    """Reads a node's log up to a line that matches, and returns the match."""
    log = []
    for line in process.stderr:
        log.append(line)
        found = re.search(pattern, line)
        if found:
            return found
    process.stderr.close()
    process.folder.cleanup()
    raise AssertionError(f"the node did not start: exit code {process.wait()}\n{''.join(log[-20:])}")


def wait_until_ready(process):
    ready = read_log(process, r'msg="ndring is ready".* resp=(\S+):(\d+) ')
    # Keep reading the log, so that the pipe does not fill up.
    process.log_reader = threading.Thread(target=lambda: [None for _ in process.stderr])
    process.log_reader.start()
    return process, (ready[1], int(ready[2]))


def kill_node(process):
    process.kill()
    process.wait()
    process.log_reader.join()
    process.stderr.close()
    process.folder.cleanup()


class Cluster:
    """Real nodes that form a cluster. ``addresses``: of each node, in order. ``processes``: None
    for a killed node. ``arguments``: further flags of each node."""

    def __init__(self, count, folder, *arguments):
        self._folder = folder
        self._arguments = arguments
        self._seeds = {}  # gossip address of each node
        self.processes = []
        self.addresses = []
        try:
            for i in range(count):
                self.processes.append(self._launch(i, 0, count))
            for process in self.processes:
                self.addresses.append(wait_until_ready(process)[1])
        except BaseException:
            for process in self.processes:
                process.kill()
            raise

    def _launch(self, i, port, expect=0):
        seeds = [seed for j, seed in self._seeds.items() if j != i]
        arguments = [*(("--join", ",".join(seeds)) if seeds else ()), *(("--bootstrap-expect", str(expect)) if expect else ())]
        process = launch_node(
            "--port", str(port), "--bind", "127.0.0.1", "--bus-port", "0", "--gossip-port", "0", "--node-id", f"n{i}", *arguments,
            *self._arguments, folder=self._folder / f"n{i}",
        )  # fmt: skip
        self._seeds[i] = read_log(process, r'msg="reachable by other nodes".* gossip=(\S+)')[1]
        return process

    def kill(self, i):
        kill_node(self.processes[i])
        self.processes[i] = None

    def restart(self, i):
        """Starts a killed node again, at its old address."""
        self.processes[i] = self._launch(i, self.addresses[i][1])
        assert wait_until_ready(self.processes[i])[1] == self.addresses[i]

    def add(self):
        """Starts one more node, which joins the cluster, and returns its address once it is ready.
        It may receive shards later."""
        process, address = wait_until_ready(self._launch(len(self.processes), 0))
        self.processes.append(process)
        self.addresses.append(address)
        return address

    def close(self):
        stop_nodes([process for process in self.processes if process is not None])


def start_cluster(count, folder, *arguments):
    """Starts a cluster of ``count`` nodes and waits until they are ready. Their data is under ``folder``."""
    return Cluster(count, pathlib.Path(folder), *arguments)


def stop_node(process):
    stop_nodes([process])


def stop_nodes(processes):
    """Sends each node one signal, since a second one kills it at once, and waits for all of them."""
    for process in processes:
        process.terminate()
    try:
        assert [process.wait(30) for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            kill_node(process)


LIMIT = float(os.environ.get("NDRING_TEST_LIMIT", "120"))  # s per test, and per setup of a fixture


def _limited(what):
    """Fails a test that hangs, with a traceback; if it cannot be interrupted, ends the run."""

    def late(number, frame):
        pytest.fail(f"{what} took longer than {LIMIT:.0f} s (NDRING_TEST_LIMIT)")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LIMIT, 5)
    faulthandler.dump_traceback_later(LIMIT + 60, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    yield from _limited(f"the setup of {item.nodeid}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    yield from _limited(item.nodeid)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    yield from _limited(f"the teardown of {item.nodeid}")


@pytest.fixture(scope="session")
def node():
    process, address = start_node()
    yield address
    stop_node(process)


@pytest.fixture
def client(node):
    with NumPyRedis(*node) as c:
        yield c


class Stub:
    """A server that replies to each command as the test has scripted, and records the commands.

    A reply is bytes to send, None to close the connection, or a function that is called with the
    socket. CLUSTER SLOTS is answered with ``slots`` and counted, but not recorded.
    """

    def __init__(self, answers, path=None):
        self.answers = list(answers)
        self.commands = []
        self.connections = 0
        self.slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$0\r\n\r\n:7379\r\n$4\r\nlone\r\n"
        self.asked_for_slots = 0
        if path is None:
            self._socket = socket.create_server(("127.0.0.1", 0))
        else:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(str(path))
            self._socket.listen()
        self.address = self._socket.getsockname()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            if connection.family == socket.AF_INET:  # send small replies at once
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                try:
                    with over_tls.secured(connection) as connection:
                        self._serve(connection)
                except (ConnectionError, ValueError, ssl.SSLError):
                    pass  # the client has closed the connection

    def _serve(self, connection):
        with connection.makefile("rb") as stream:
            self._answer(connection, stream)

    def _answer(self, connection, stream):
        while True:
            line = stream.readline()
            if not line:
                return
            arguments = []
            for _ in range(int(line[1:])):
                size = int(stream.readline()[1:])
                arguments.append(stream.read(size))
                stream.read(2)
            if arguments[0].upper() == b"CLIENT":  # sent by newer versions of redis-py
                connection.sendall(b"+OK\r\n")
                continue
            if arguments == [b"CLUSTER", b"SLOTS"]:
                self.asked_for_slots += 1
                connection.sendall(self.slots)
                continue
            self.commands.append(arguments)
            answer = self.answers.pop(0) if self.answers else None
            if answer is None:
                return
            if callable(answer):
                answer(connection)
                return
            connection.sendall(answer)

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def stub():
    """Returns a function that starts a stub with its replies."""
    stubs = []

    def start(*answers, path=None):
        stubs.append(Stub(answers, path))
        return stubs[-1]

    yield start
    for s in stubs:
        s.close()


@pytest.fixture
def fake():
    """Returns a function that starts a cluster of stubs."""
    clusters = []

    def start(count=3):
        clusters.append(FakeCluster(count))
        return clusters[-1]

    yield start
    for c in clusters:
        c.close()


@pytest.fixture
def replicated(fake):
    """Returns a function that starts three nodes, each slot with a replica on the next one."""

    def start(hidden=False):
        cluster = fake()
        cluster.copy_to_next()
        cluster.hidden = hidden
        return cluster

    return start


@pytest.fixture
def node_url(node, monkeypatch):
    """An empty node, which the commands find by NDRING_URL."""
    where = f"redis://{node[0]}:{node[1]}"
    monkeypatch.setenv("NDRING_URL", where)
    monkeypatch.delenv("NDRING_PASSWORD", raising=False)
    with NumPyRedis(*node) as c:
        c.delete(*c.scan_iter())
    return where


@pytest.fixture
def tool(capfdbinary, node_url):
    """Returns a function that runs a command here and returns exit code, output as bytes, errors."""

    def call(*words):
        capfdbinary.readouterr()
        code = __main__.main([str(word) for word in words])
        out, err = capfdbinary.readouterr()
        text = err.decode()
        assert "Traceback" not in text and all(line.startswith("ndring: ") for line in text.splitlines()), text
        assert code in (0, 130) or text
        return code, out, text

    return call
