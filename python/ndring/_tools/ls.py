"""``python -m ndring ls``."""
from __future__ import annotations

import argparse
import itertools
import json
import os
from typing import Any, Iterator, List

from .. import Meta, NumPyRedis
from .connect import connect
from .output import FAILED, OK, Output, complain, reason
from .text import dtype_json, dtype_text, human_size, human_time, one_line, seconds_left, shape_text

HELP = "list the keys"
DESCRIPTION = (
    r"Lists the keys of all nodes, one per line, in no order. Bytes that are not printable text appear as \n, \r, \t or \xff, and a backslash as \\; "
    "the other commands accept this form with --escaped. With -l or --json a line also has the array's dtype, shape, bytes of data and time to live."
)
_BATCH = 200  # keys whose metadata is fetched at once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", help="only keys that match, such as 'features:*'")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-l", "--long", action="store_true", help="show dtype, shape, bytes, seconds to live (- for none), key")
    form.add_argument("--json", action="store_true", help="write a JSON object per line")
    form.add_argument("--count", action="store_true", help="only count the keys")
    parser.add_argument("--human", action="store_true", help="with -l: sizes such as 1.5MiB, times such as 2h5m")


def run(options: argparse.Namespace, out: Output) -> int:
    with connect(options) as client:
        keys = client.scan_iter(None if options.pattern is None else os.fsencode(options.pattern))
        if options.count:
            out.line(str(sum(1 for _ in keys)))
            return OK
        if not (options.long or options.json):
            for key in keys:
                out.line(out.key(key))
            return OK
        code = OK
        for key, meta in _metas(client, keys):
            if isinstance(meta, Exception):
                complain(f"{out.key(key)}: {one_line(reason(meta))}")
                code = FAILED
            elif meta is not None:  # None: the key was deleted meanwhile
                out.line(_json_line(out.key(key), meta) if options.json else _long_line(out.key(key), meta, options.human))
        return code


def _metas(client: NumPyRedis, keys: Iterator[bytes]) -> Iterator[Any]:
    """Yields each key with its Meta, None for a missing key, or the exception that its metadata raised."""
    while True:
        batch: List[bytes] = list(itertools.islice(keys, _BATCH))
        if not batch:
            return
        with client.pipeline() as pipeline:
            for key in batch:
                pipeline.meta(key)
            yield from zip(batch, pipeline.execute(raise_on_error=False))


def _long_line(key: str, meta: Meta, human: bool) -> str:
    seconds = seconds_left(meta.pttl)
    size = human_size(meta.nbytes) if human else str(meta.nbytes)
    ttl = "-" if seconds is None else human_time(seconds) if human else str(seconds)
    return f"{dtype_text(meta.dtype):<10} {shape_text(meta.shape):<14} {size:>11} {ttl:>8} {key}"


def _json_line(key: str, meta: Meta) -> str:
    line = {"key": key, "dtype": dtype_json(meta.dtype), "shape": list(meta.shape), "bytes": meta.nbytes, "ttl_ms": None if meta.pttl < 0 else meta.pttl}
    return json.dumps(line)
