"""A real node for the suite, and a stub of one that fails as it is told."""
from __future__ import annotations

import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading

import pytest
from fake_cluster import FakeCluster
from ndring import NumPyRedis

ROOT = pathlib.Path(__file__).resolve().parents[2]


def start_node(*arguments, folder=None):
    """Starts a node on ports that the system chooses; returns the process and its address once it is ready.

    Its data folder is a new one, or ``folder``, which stays.
    """
    binary = os.environ.get("NDRING_BIN", str(ROOT / "bin" / "ndring"))
    temporary = tempfile.TemporaryDirectory(prefix="ndring-test-")
    command = [binary, "--port", "0", "--http-port", "0", "--dir", str(folder or temporary.name), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={})
    process.folder = temporary
    for line in process.stderr:
        ready = re.search(r'msg="ndring is ready".* resp=(\S+):(\d+) ', line)
        if ready:
            # Its log is read to the end, so that it does not fill the pipe.
            process.log_reader = threading.Thread(target=lambda: [None for _ in process.stderr])
            process.log_reader.start()
            return process, (ready[1], int(ready[2]))
    temporary.cleanup()
    raise AssertionError(f"the node did not start: exit code {process.wait()}")


def stop_node(process):
    process.terminate()
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.log_reader.join()
        process.stderr.close()
        process.folder.cleanup()


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
    """A server that answers each command with what the test scripted, and writes down what it was sent.

    An answer is bytes to send; None closes the connection instead; a function is called with the socket. CLUSTER SLOTS is answered
    with ``slots`` and counted, not written down.
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
            with connection:
                try:
                    self._serve(connection)
                except (ConnectionError, ValueError):
                    pass  # the client has gone

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
            if arguments[0].upper() == b"CLIENT":  # what newer versions of redis-py say of themselves
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
    """Returns a function that starts a stub with its answers."""
    stubs = []

    def start(*answers, path=None):
        stubs.append(Stub(answers, path))
        return stubs[-1]

    yield start
    for s in stubs:
        s.close()


@pytest.fixture
def fake():
    """Returns a function that starts a cluster of so many stubs."""
    clusters = []

    def start(count=3):
        clusters.append(FakeCluster(count))
        return clusters[-1]

    yield start
    for c in clusters:
        c.close()
