"""``python -m ndring ping``."""
from __future__ import annotations

import argparse
import time
from urllib.parse import urlsplit

from .. import NdringError, NumPyRedis
from .connect import connect, url_of
from .output import FAILED, OK, Output, complain, reason
from .text import one_line

HELP = "ask every node for a reply and show the round-trip times"
DESCRIPTION = (
    "Asks every node for a reply and shows the round-trip times. Exit code: 0 if all nodes answer, 1 if not. "
    "A node that serves no shards at the moment is not asked; ndctl status shows it."
)
_TIMEOUT = 5.0  # s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: argparse.Namespace, out: Output) -> int:
    if getattr(options, "timeout", None) is None:
        options.timeout = _TIMEOUT
    with connect(options) as client:
        addresses = client.nodes()
        code = OK
        width = max(map(len, addresses), default=0)
        for address in addresses:
            try:
                if urlsplit(url_of(options)).scheme == "unix":
                    took = _round_trip(client)
                else:
                    host, _, port = address.rpartition(":")
                    # A client of its own, which cannot ask another node instead.
                    with connect(options, host=host, port=int(port), retry_for=0) as single:
                        took = _round_trip(single)
            except NdringError as exc:
                complain(f"{address}: {one_line(reason(exc))}")
                out.line(f"{address:{width}}  no answer")
                code = FAILED
            else:
                out.line(f"{address:{width}}  {1000 * took:.2f} ms")
            out.flush()
    return code


def _round_trip(client: NumPyRedis) -> float:
    """Returns the seconds that a reply takes on an open connection."""
    client.ping()
    began = time.perf_counter()
    client.ping()
    return time.perf_counter() - began
