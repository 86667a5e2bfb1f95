"""A cluster of stubs: each node serves the slots that it is given, stores what it receives, and
fails as the test wants.

Nodes listen on 127.0.0.1, and every connection has a thread. A node stores what NP.SET sends
without parsing more of it than a plain array.
"""
from __future__ import annotations

import socket
import threading

import over_tls
from ndring._core import commands as _commands

NPY_REST = b"$-1\r\n$3\r\n1-1\r\n:%d\r\n*0\r\n"


def bulk(text):
    return b"$%d\r\n%b\r\n" % (len(text), text)


class FakeNode:
    """``commands``: all commands received except CLUSTER SLOTS, which is counted. ``override``: a
    function of (node, arguments) that returns the reply in bytes, None for the usual reply, or DROP
    to close the connection."""

    DROP = object()

    def __init__(self, cluster, name, address=("127.0.0.1", 0)):
        self.cluster = cluster
        self.name = name
        self.data = {}
        self.commands = []
        self.override = None
        self.slots_override = None
        self.asked_for_slots = 0
        self.redirects = 0
        self.replica_reads = 0
        self.alive = False
        self.start(address)

    def start(self, address=None):
        self._socket = socket.create_server(address or self.address)
        self.address = self._socket.getsockname()
        self.alive = True
        self._open = set()
        self._threads = [threading.Thread(target=self._accept, args=(self._socket,))]
        self._threads[0].start()

    def die(self):
        self.alive = False
        for s in [self._socket, *list(self._open)]:
            try:
                socket.socket.shutdown(s, socket.SHUT_RDWR)  # that of TLS would go on in plain text
            except OSError:
                pass
        self._socket.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    @property
    def where(self):
        return f"{self.address[0]}:{self.address[1]}"

    def _accept(self, server):
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # send small replies at once
            self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain):
        try:
            connection = over_tls.secured(plain)
        except OSError:
            return
        finally:
            self._open.discard(plain)
        self._open.add(connection)
        state = {}
        with connection, connection.makefile("rb") as stream:
            try:
                while True:
                    line = stream.readline()
                    if not line or not self.alive:
                        return
                    arguments = []
                    for _ in range(int(line[1:])):
                        size = int(stream.readline()[1:])
                        arguments.append(stream.read(size))
                        stream.read(2)
                    answer = self._answer(arguments, state)
                    if answer is FakeNode.DROP:
                        return
                    connection.sendall(answer)
            except (OSError, ValueError):
                pass
            finally:
                self._open.discard(connection)

    def _answer(self, arguments, state):
        name = arguments[0].upper()
        if name == b"CLIENT":
            return b"+OK\r\n"
        if name == b"CLUSTER":
            if arguments[1] == b"SHARDS":
                return self.cluster.shards_reply()
            self.asked_for_slots += 1
            return self.slots_override(self) if self.slots_override else self.cluster.slots_reply()
        self.commands.append(arguments)
        answer = self.override(self, arguments) if self.override else None
        asked = state.pop("asking", False)
        if name in (b"READONLY", b"READWRITE"):
            state["readonly"] = name == b"READONLY"
            return b"+OK\r\n" if answer is None else answer
        if answer is not None:
            state["refused"] = True
            return answer
        if name == b"MULTI":
            state["queue"], state["refused"] = [], False
            return b"+OK\r\n"
        if name == b"EXEC":
            queue, refused = state.pop("queue"), state["refused"]
            return b"-EXECABORT because of previous errors\r\n" if refused else b"*%d\r\n" % len(queue) + b"".join(self._do(c) for c in queue)
        if name == b"ASKING":
            state["asking"] = True
            return b"+OK\r\n"
        if name in (b"PING", b"INFO", b"NP.SCAN"):
            return self._do(arguments)
        keys = arguments[1:2] if name in (b"NP.SET", b"NP.GET", b"NP.EXPIRE") else arguments[1:]
        reads = state.get("readonly") and name in (b"NP.GET", b"NP.EXISTS", b"NP.TTL")
        if reads and all(self in self.cluster.copies[_commands.slot(key)] for key in keys):
            self.replica_reads += 1
            return self._do(arguments)
        refusal = self._refusal(keys, asked)
        if refusal:
            self.redirects += refusal.startswith(b"-MOVED")
            state["refused"] = True
            return refusal
        if "queue" in state:
            state["queue"].append(arguments)
            return b"+QUEUED\r\n"
        return self._do(arguments)

    def _refusal(self, keys, asked):
        slots = {_commands.slot(key) for key in keys if key != b"WITHATTRS"}
        if len(slots) > 1:
            return b"-CROSSSLOT keys of different slots\r\n"
        (slot,) = slots
        owner = self.cluster.owners[slot]
        if owner is self or asked:
            return None
        if owner is None or not owner.alive:
            return b"-CLUSTERDOWN the node is dead\r\n"
        return b"-MOVED %d %b\r\n" % (slot, owner.where.encode())

    def _do(self, arguments):
        name, key = arguments[0].upper(), arguments[1] if len(arguments) > 1 else None
        if name == b"PING":
            return b"+PONG\r\n"
        if name == b"INFO":
            return bulk(b"name:%b\r\n" % self.name.encode())
        if name == b"NP.SET":
            request = arguments[arguments.index(b"REQID") + 1] if b"REQID" in arguments[3:] else None
            if request in self.cluster.outcomes:
                return self.cluster.outcomes[request]
            if b"NX" in arguments[3:] and key in self.data:
                return b"$-1\r\n"  # a write that was not done leaves no request id
            self.data[key] = arguments[2]
            if request is not None:
                self.cluster.outcomes[request] = b"+OK\r\n"
            return b"+OK\r\n"
        if name == b"NP.GET":
            if key not in self.data:
                return b"$-1\r\n"
            npy = self.data[key]
            return b"*5\r\n" + bulk(npy) + NPY_REST % (_commands._crc32c(npy, 0) if _commands._crc32c else 0)
        if name == b"NP.EXISTS":
            return b":%d\r\n" % sum(k in self.data for k in arguments[1:])
        if name == b"NP.DEL":
            return b":%d\r\n" % sum(self.data.pop(k, None) is not None for k in arguments[1:])
        if name == b"NP.EXPIRE":
            return b":%d\r\n" % (key in self.data)
        if name == b"NP.TTL":
            return b":-1\r\n"
        if name == b"NP.SCAN":
            keys = sorted(self.data)
            start, count = int(key), int(arguments[3])
            part = keys[start : start + count]
            cursor = start + count if start + count < len(keys) else 0
            return b"*2\r\n" + bulk(b"%d" % cursor) + b"*%d\r\n" % len(part) + b"".join(map(bulk, part))
        return b"-ERR unknown command\r\n"


class FakeCluster:
    """``owners``: the node that serves each slot, None for none. ``told``: what CLUSTER SLOTS
    reports, if that differs. ``outcomes``: of conditional writes that were done, by request id; all
    nodes know them, as copies do. ``copies``: the replicas of each slot. ``hidden``: CLUSTER SLOTS
    does not name them, as where all nodes serve slots; CLUSTER SHARDS does."""

    def __init__(self, count):
        self.owners = [None] * 16384
        self.told = None
        self.outcomes = {}
        self.copies = [()] * 16384
        self.hidden = False
        self.nodes = [FakeNode(self, f"{i:040d}") for i in range(count)]
        for slot in range(16384):
            self.owners[slot] = self.nodes[slot // 64 % count]  # shards of 64 slots, round-robin

    def slots_reply(self):
        owners = self.told or self.owners
        rows, start = [], 0
        for slot in range(1, 16385):
            if slot == 16384 or owners[slot] is not owners[start] or self.copies[slot] != self.copies[start]:
                if owners[start] is not None:
                    nodes = [owners[start], *(() if self.hidden else self.copies[start])]
                    texts = [b"*4\r\n%b:%d\r\n%b*0\r\n" % (bulk(n.address[0].encode()), n.address[1], bulk(n.name.encode())) for n in nodes]
                    rows.append(b"*%d\r\n:%d\r\n:%d\r\n%b" % (2 + len(nodes), start, slot - 1, b"".join(texts)))
                start = slot
        return b"*%d\r\n" % len(rows) + b"".join(rows)

    def shards_reply(self):
        entries = []
        for primary in dict.fromkeys(node for node in self.owners if node is not None):
            mine = [slot for slot in range(16384) if self.owners[slot] is primary]
            slots = [slot for slot in mine for _ in range(2)]
            nodes = [(primary, b"master"), *((node, b"replica") for node in dict.fromkeys(n for slot in mine for n in self.copies[slot]))]
            texts = [
                b"*10\r\n" + b"".join(map(bulk, (b"id", node.name.encode(), b"port"))) + b":%d\r\n" % node.address[1]
                + b"".join(map(bulk, (b"endpoint", node.address[0].encode(), b"role", role, b"health", b"online")))
                for node, role in nodes
            ]  # fmt: skip
            entries.append(
                b"*4\r\n" + bulk(b"slots") + b"*%d\r\n" % len(slots) + b"".join(b":%d\r\n" % slot for slot in slots)
                + bulk(b"nodes") + b"*%d\r\n" % len(texts) + b"".join(texts)
            )
        return b"*%d\r\n" % len(entries) + b"".join(entries)

    def copy_to_next(self):
        """Gives each slot a replica, on the node after its own."""
        self.copies = [(self.nodes[(self.nodes.index(owner) + 1) % len(self.nodes)],) for owner in self.owners]

    def promote(self, dead, heir):
        """Makes ``heir`` the primary of all slots of ``dead``, with their content."""
        heir.data.update(dead.data)
        self.copies = [tuple(node for node in nodes if node not in (dead, heir)) for nodes in self.copies]
        self.owners = [heir if node is dead else node for node in self.owners]

    def owner(self, key):
        return self.owners[_commands.slot(key.encode() if isinstance(key, str) else key)]

    def give(self, key, node):
        """Moves the shard of a key, with its content, to another node."""
        first = _commands.slot(key.encode()) // 64 * 64
        old = self.owners[first]
        self.owners[first : first + 64] = [node] * 64
        for name in [k for k in old.data if _commands.slot(k) // 64 * 64 == first]:
            node.data[name] = old.data.pop(name)

    @property
    def redirects(self):
        return sum(node.redirects for node in self.nodes)

    @property
    def asked_for_slots(self):
        return sum(node.asked_for_slots for node in self.nodes)

    def close(self):
        for node in self.nodes:
            if node.alive:
                node.die()
