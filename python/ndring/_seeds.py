"""The nodes that a client is given, of which one is enough: names and ports in the ways in which people write them."""
from __future__ import annotations

import re
from typing import Any, Iterable, List, Tuple

from ._slots import Address

DEFAULT_PORT = 7379
_AUTHORITY = re.compile(r"(?P<before>rediss?://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]*)")


def seeds_of(host: Any, port: Any, startup_nodes: Any) -> List[Address]:
    """Returns the addresses that a client's arguments stand for. Raises TypeError or ValueError, with how to write them."""
    number = _port(port)
    if startup_nodes is not None:
        return _several(startup_nodes, number, "startup_nodes")
    if isinstance(host, str):
        return [_one(host, number, "host")]
    return _several(host, number, "host")


def _several(nodes: Any, port: int, name: str) -> List[Address]:
    if isinstance(nodes, (str, bytes)) or not isinstance(nodes, Iterable):
        raise TypeError(f"{name} is a list such as ['a:7379', 'b:7379'], not {nodes!r}")
    found = [_any(node, port) for node in nodes]
    if not found:
        raise ValueError(f"{name} is empty: at least one node must be given")
    return list(dict.fromkeys(found))


def _any(node: Any, port: int) -> Address:
    if isinstance(node, str):
        return _with_port(node, port)
    if isinstance(node, (tuple, list)) and len(node) == 2:
        return _one(node[0], _port(node[1]), "a node")
    if hasattr(node, "host") and hasattr(node, "port"):  # redis-py's ClusterNode
        return _one(node.host, _port(node.port), "a node")
    raise TypeError(f"a node is 'host:port', (host, port) or a ClusterNode of redis-py, not {node!r}")


def _with_port(text: str, port: int) -> Address:
    if "://" not in text and (text.count(":") == 1 or text.startswith("[") and "]:" in text):
        host, _, number = text.rpartition(":")
        return _one(host.strip("[]"), _port(number), "a node")
    return _one(text.strip("[]"), port, "a node")


def _one(host: Any, port: int, name: str) -> Address:
    if not isinstance(host, str):
        raise TypeError(f"{name} is the name or the address of a machine, not {host!r}")
    if "://" in host:
        raise ValueError(f"{name} is the name or the address of a machine, not the URL {host!r}: NumPyRedis.from_url takes that")
    head, _, tail = host.rpartition(":")
    if host.count(":") == 1 and tail.isdigit():
        raise ValueError(f"{name} is {host!r}, with a port: write NumPyRedis({head!r}, {tail}), or NumPyRedis([{host!r}])")
    if not host or len(host) > 255 or any(c.isspace() or not c.isprintable() or c in "/@?#," for c in host):
        raise ValueError(f"{host[:60]!r} is not the name or the address of a machine")
    return Address(host, port)


def _port(port: Any) -> int:
    if isinstance(port, str) and port.isascii() and port.isdigit():
        port = int(port)
    if isinstance(port, bool) or not hasattr(port, "__index__"):
        raise TypeError(f"a port is an int, not {port!r}")
    if not 0 < port.__index__() < 65536:
        raise ValueError(f"a port is from 1 to 65535, not {port!r}")
    return int(port)


def split_url(url: str) -> Tuple[str, List[str]]:
    """Returns a URL with the first of its hosts only, and all of them if there are several: ``redis://user:password@a:1,b:2?x=y``."""
    found = _AUTHORITY.match(url)
    if found is None or "," not in found["hosts"]:
        return url, []
    several = found["hosts"].split(",")
    if not all(several):
        raise ValueError(f"an empty host in the URL: {found['hosts']!r}")
    return found["before"] + several[0] + url[found.end() :], several
