"""A TCP proxy between clients and a node that delays, stalls, truncates and resets connections at random.

Run as a program of its own, so that its sockets are not the client's:
``python bad_network.py HOST PORT SEED BYTES`` prints its port. ``BYTES``: how many a connection
transfers on average until something happens to it. A line on its input ends all faults.
"""
from __future__ import annotations

import asyncio
import importlib.util
import random
import socket
import struct
import subprocess
import sys

RESET = struct.pack("ii", 1, 0)
FAULTS = ("reset", "reset", "truncate", "truncate", "close", "delay", "delay", "delay", "delay", "stall")


class _Proxy:
    def __init__(self, node, seed, every):
        self.node = node
        self.random = random.Random(seed)
        self.every = every
        self.faulty = True

    async def serve(self, reader, writer):
        try:
            theirs = await asyncio.open_connection(*self.node)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, theirs[1])
        pumps = [asyncio.ensure_future(self.pump(reader, theirs[1], both)), asyncio.ensure_future(self.pump(theirs[0], writer, both))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for end in both:
            end.close()

    async def pump(self, source, to, both):
        left = self.random.expovariate(1 / self.every)
        try:
            while True:
                data = await source.read(1 << 16)
                if not data:
                    return
                left -= len(data)
                if left < 0 and self.faulty:
                    left = self.random.expovariate(1 / self.every)
                    fault = self.random.choice(FAULTS)
                    if fault == "reset":
                        for end in both:
                            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                            end.transport.abort()
                        return
                    if fault == "close":
                        return
                    if fault == "truncate":
                        to.write(data[: self.random.randrange(len(data))])
                        return
                    await asyncio.sleep(self.random.uniform(0, 0.05) if fault == "delay" else self.random.uniform(0.5, 2.0))
                to.write(data)
                await to.drain()
        except OSError:
            pass


async def main(host, port, seed, every):
    proxy = _Proxy((host, int(port)), seed, float(every))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    proxy.faulty = False
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    sys.stdout.flush()


class BadNetwork:
    """The proxy in a process of its own. ``address``: where it listens."""

    def __init__(self, node, seed, every):
        command = [sys.executable, __file__, *map(str, (*node, seed, every))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = ("127.0.0.1", int(self._process.stdout.readline()))

    def heal(self):
        """Ends all faults."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


if __name__ == "__main__":
    if importlib.util.find_spec("uvloop"):
        asyncio.set_event_loop_policy(__import__("uvloop").EventLoopPolicy())
    asyncio.run(main(*sys.argv[1:]))
