"""Writes and reads arrays of its own until its input ends, and prints each request. The benchmark "elastic" starts it.

    elastic.py --name NAME --pace SECONDS --node HOST:PORT ... BYTES ...

Each key has the numbers 1, 2, 3 and so on, one after the other; a read must return the last one. At the end all keys are read.
"""
import argparse
import sys
import threading
import time

import numpy as np

from ndring import NumPyRedis

EACH = 32  # keys of each size up to 64 KiB; of larger ones there are 2


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--pace", type=float, required=True)
    parser.add_argument("--node", action="append", required=True)
    parser.add_argument("sizes", type=int, nargs="+")
    args = parser.parse_args()
    client = NumPyRedis([(host, int(port)) for host, _, port in (node.rpartition(":") for node in args.node)])
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()

    keys = [(f"{args.name}:{size}:{i}", size) for i in range(EACH) for size in args.sizes if i < 2 or size <= 64 << 10]
    arrays = {size: np.ones(size // 4, np.float32) for size in args.sizes}
    written = {}  # the last number that was acknowledged; None once a write has failed

    def check(key):
        array = client.get(key)
        if array is None or (written[key] is not None and not array[0] == array[-1] == written[key]):
            print(f"wrong {key} has {None if array is None else (array[0], array[-1])}, want {written[key]}")

    def request(what, key, size, began, call):
        error = ""
        try:
            call()
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}".replace("\n", " ").replace("\t", " ")
            if what == "set":
                written[key] = None
        now = time.time()
        print(now, what, key, size, now - began, error, sep="\t", flush=True)
        return now

    due, turn = time.time(), 0
    while not ended.is_set():
        key, size = keys[turn // 2 % len(keys)]
        now = time.time()
        if now < due:
            time.sleep(due - now)
            now = time.time()
        began = min(now, due)
        if turn % 2 == 0:
            number = (written.get(key, 0) or 0) + 1
            array = arrays[size]
            array[0] = array[-1] = number

            def store(key=key, array=array, number=number):
                client.set(key, array)
                if written.get(key, 0) is not None:
                    written[key] = number

            now = request("set", key, size, began, store)
        else:
            now = request("get", key, size, began, lambda key=key: check(key))
        due += args.pace
        if now - due > args.pace:  # it does not catch up with a stall that it has counted
            due = now
        turn += 1
    for key in written:
        check(key)


main()
