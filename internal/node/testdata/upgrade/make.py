"""Makes the data folders of an earlier ndring that TestUpgrade opens: make.py PROGRAM OUTPUT-FOLDER.

For each folder it writes NAME.tar.gz and NAME.json, which says what the program answered about each key before it ended.
Needs nothing but Python's standard library. See README.md.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

FAR = 4102444800000  # 2100-01-01, in ms


class Client:
    """One connection that speaks RESP2. Replies are bytes, int, None, list or Error."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")

    def __call__(self, *arguments):
        self.send(*arguments)
        return self.reply()

    def send(self, *arguments):
        parts = [b"*%d\r\n" % len(arguments)]
        for a in arguments:
            a = a if isinstance(a, bytes) else str(a).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(a), a))
        self.socket.sendall(b"".join(parts))

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        raise AssertionError(line)

    def must(self, *arguments):
        reply = self(*arguments)
        assert not isinstance(reply, Error), (arguments[:2], reply)
        return reply


class Error(str):
    pass


def npy(seed, size):
    """A .npy file of uint8 whose bytes repeat, so that it compresses well."""
    head = "{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }" % size
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    block = bytes((seed * 31 + i * 7) % 251 for i in range(1009))
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + (block * (size // 1009 + 1))[:size]


def load(c, flush):
    """Stores arrays in every way that leaves something in a folder."""
    if flush:
        for i in range(20):
            c.must("NP.SET", "flushed:%d" % i, npy(i, 100))
        c.must("FLUSHALL")
    for i in range(200):
        c.must("NP.SET", "plain:%d" % i, npy(i, 50 + 13 * i))
    for i in range(40):
        c.must("NP.SET", "deadline:%d" % i, npy(i, 300), "PXAT", FAR + i)
        c.must("NP.SET", "extended:%d" % i, npy(i, 200), "PX", "600")
        c.must("PEXPIREAT", "extended:%d" % i, FAR + 1000 + i)
        c.must("NP.SET", "persisted:%d" % i, npy(i, 210), "PX", "600")
        c.must("PERSIST", "persisted:%d" % i)
        c.must("NP.SET", "over:%d" % i, npy(i, 220), "PX", "1")  # expires before the program ends
        c.must("NP.SET", "deleted:%d" % i, npy(i, 230))
    for i in range(0, 40, 2):
        assert c.must("DEL", "deleted:%d" % i) == 1
    for i in range(20):
        c.must("NP.SET", "attrs:%d" % i, npy(i, 500), "ATTRS", '{"unit":"K","n":%d}' % i, "PART", "mask", b"\x01\x00" * i, "PART", "note", b"x")
        c.must("NP.MSET", "{batch%d}:a" % i, npy(i, 90), "{batch%d}:b" % i, npy(i + 1, 91), "{batch%d}:c" % i, npy(i + 2, 92))
    for i in range(10):
        c.must("MULTI")
        c.must("NP.SET", "{exec%d}:a" % i, npy(i, 70))
        c.must("NP.SET", "{exec%d}:b" % i, npy(i, 71), "PXAT", FAR)
        c.must("DEL", "{exec%d}:a" % i)
        c.must("EXEC")
        assert c.must("NP.SET", "once:%d" % i, npy(i, 80), "NX", "REQID", "id-%d" % i) == b"OK"
    for i in range(3):
        c.must("NP.SET", "blob:%d" % i, npy(i, 1200000 + i))


def change(c):
    """What follows a snapshot: the tail of the log."""
    for i in range(0, 200, 3):
        c.must("NP.SET", "plain:%d" % i, npy(i + 5, 60 + 11 * i))
    for i in range(1, 200, 10):
        c.must("DEL", "plain:%d" % i)
    for i in range(0, 40, 4):
        c.must("NP.SET", "deadline:%d" % i, npy(i + 9, 310), "KEEPTTL")
        c.must("NP.SET", "late:%d" % i, npy(i, 240), "PX", "700")
        c.must("PEXPIREAT", "late:%d" % i, FAR + 5)
        assert c.must("NP.SET", "twice:%d" % i, npy(i, 85), "NX", "REQID", "tail-%d" % i) == b"OK"
    c.must("NP.SET", "blob:1", npy(77, 1300000))
    c.must("DEL", "blob:2")
    c.must("NP.SET", "blob:9", npy(78, 1100000))


def answers(clients):
    """Everything that the nodes say about their keys."""
    keys = {}
    for c in clients:
        for key in scan(c):
            reply = c.must("NP.GET", key, "WITHATTRS")
            meta = c.must("NP.META", key)
            fields = dict(zip(meta[::2], meta[1::2]))
            keys[key.decode()] = {
                "digest": digest(reply),
                "deadline": c.must("PEXPIRETIME", key),
                "version": fields[b"version"].decode(),
            }
    return keys


def scan(c):
    cursor = b"0"
    while True:
        cursor, some = c.must("SCAN", cursor, "COUNT", "1000")
        yield from some
        if cursor == b"0":
            return


def digest(reply):
    """The first half of the SHA-256 of the bulks of NP.GET WITHATTRS, each with its length in front, and its integers."""
    h = hashlib.sha256()

    def add(r):
        if isinstance(r, list):
            for one in r:
                add(one)
        elif isinstance(r, int):
            h.update(b":%d;" % r)
        elif r is None:
            h.update(b"-1;")
        else:
            h.update(b"%d;" % len(r) + r)

    add(reply)
    return h.hexdigest()[:32]


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Node:
    def __init__(self, program, folder, name, *arguments):
        self.port, http, bus, self.gossip = free_ports(4)
        common = "--node-id %s --port %d --http-port %d --bus-port %d --gossip-port %d --dir %s --appendonly yes --shards 16 --scrub-rate 0"
        line = (common % (name, self.port, http, bus, self.gossip, folder)).split()
        self.line = [program, *line]
        self.arguments = arguments

    def start(self, *more):
        self.process = subprocess.Popen([*self.line, *self.arguments, *more], stderr=subprocess.DEVNULL)

    def client(self):
        for _ in range(600):
            try:
                c = Client(self.port)
                if b"cluster_state:ok" in c.must("CLUSTER", "INFO"):
                    return c
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError("the node does not serve")

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(30)


def pack(folder, output, name, keys):
    with tarfile.open(os.path.join(output, name + ".tar.gz"), "w:gz", compresslevel=9) as t:
        t.add(folder, arcname=".", filter=anonymous)
    with open(os.path.join(output, name + ".json"), "w") as f:
        json.dump(keys, f, indent=0, sort_keys=True)
        f.write("\n")


def anonymous(info):
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def lone(program, output, name, how, flush):
    folder = tempfile.mkdtemp()
    node = Node(program, folder, "old", "--replicas", "1")
    node.start()
    c = node.client()
    load(c, flush)
    if not flush:
        c.must("SAVE")
        change(c)
    time.sleep(1.2)  # the shortest deadlines pass, and the log is synced
    keys = answers([c])
    node.end(how)
    pack(folder, output, name, keys)
    shutil.rmtree(folder)


def three(program, output, name):
    folder = tempfile.mkdtemp()
    nodes = [Node(program, os.path.join(folder, n), n, "--replicas", "2", "--bootstrap-expect", "3") for n in ("n1", "n2", "n3")]
    seeds = ",".join("127.0.0.1:%d" % n.gossip for n in nodes)
    for n in nodes:
        n.start("--join", seeds)
    clients = [n.client() for n in nodes]
    for i in range(60):
        put(clients, "plain:%d" % i, npy(i, 40 + i))
    for i in range(20):
        put(clients, "deadline:%d" % i, npy(i, 40), "PXAT", FAR + i)
    time.sleep(1.2)
    keys = answers(clients)
    for n in nodes:
        n.end(signal.SIGKILL)
    pack(folder, output, name, keys)
    shutil.rmtree(folder)


def put(clients, key, *arguments):
    for c in clients:
        reply = c("NP.SET", key, *arguments)
        if not isinstance(reply, Error):
            return
    raise AssertionError(reply)


def main():
    program, output = sys.argv[1:]
    lone(program, output, "killed", signal.SIGKILL, flush=False)
    lone(program, output, "log-only", signal.SIGKILL, flush=True)
    lone(program, output, "stopped", signal.SIGTERM, flush=True)
    three(program, output, "three")


main()
