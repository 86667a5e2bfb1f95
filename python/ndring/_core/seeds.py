"""Parses the nodes that are given to a client, in all the ways in which people write host and port."""
from __future__ import annotations

import re
from typing import Any, Iterable, List, Tuple

from .slots import Address

DEFAULT_PORT = 7379
_AUTHORITY = re.compile(r"(?P<before>rediss?://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]*)")


def parse_seeds(host: Any, port: Any, startup_nodes: Any) -> List[Address]:
    """Returns the addresses in a client's arguments. Raises TypeError or ValueError with the
    correct form."""
    number = _port(port)
    if startup_nodes is not None:
        return _seed_list(startup_nodes, number, "startup_nodes")
    if isinstance(host, str):
        return [_address(host, number, "host")]
    return _seed_list(host, number, "host")


def _seed_list(nodes: Any, port: int, name: str) -> List[Address]:
    if isinstance(nodes, (str, bytes)) or not isinstance(nodes, Iterable):
        raise TypeError(f"{name} must be a list such as ['a:7379', 'b:7379'], not {nodes!r}")
    found = [_seed(node, port) for node in nodes]
    if not found:
        raise ValueError(f"{name} is empty: give at least one node")
    return list(dict.fromkeys(found))


def _seed(node: Any, port: int) -> Address:
    if isinstance(node, str):
        return _parse_host_port(node, port)
    if isinstance(node, (tuple, list)) and len(node) == 2:
        return _address(node[0], _port(node[1]), "a node")
    if hasattr(node, "host") and hasattr(node, "port"):  # redis-py's ClusterNode
        return _address(node.host, _port(node.port), "a node")
    raise TypeError(f"a node must be 'host:port', (host, port) or redis-py's ClusterNode, not {node!r}")


def _parse_host_port(text: str, port: int) -> Address:
    if "://" not in text and (text.count(":") == 1 or text.startswith("[") and "]:" in text):
        host, _, number = text.rpartition(":")
        return _address(host.strip("[]"), _port(number), "a node")
    return _address(text.strip("[]"), port, "a node")


def _address(host: Any, port: int, name: str) -> Address:
    if not isinstance(host, str):
        raise TypeError(f"{name} must be a host name or address, not {host!r}")
    if "://" in host:
        raise ValueError(f"{name} must be a host name or address, not the URL {host!r}: use NumPyRedis.from_url")
    head, _, tail = host.rpartition(":")
    if host.count(":") == 1 and tail.isdigit():
        raise ValueError(f"{name} is {host!r}, with a port: use NumPyRedis({head!r}, {tail}) or NumPyRedis([{host!r}])")
    if not host or len(host) > 255 or any(c.isspace() or not c.isprintable() or c in "/@?#," for c in host):
        raise ValueError(f"{host[:60]!r} is not a host name or address")
    return Address(host, port)


def _port(port: Any) -> int:
    if isinstance(port, str) and port.isascii() and port.isdigit():
        port = int(port)
    if isinstance(port, bool) or not hasattr(port, "__index__"):
        raise TypeError(f"a port must be an int, not {port!r}")
    if not 0 < port.__index__() < 65536:
        raise ValueError(f"a port must be from 1 to 65535, not {port!r}")
    return int(port)


def split_url(url: str) -> Tuple[str, List[str]]:
    """Splits ``redis://user:password@a:1,b:2?x=y``: returns the URL with the first host only, and
    the list of hosts if there are several."""
    found = _AUTHORITY.match(url)
    if found is None or "," not in found["hosts"]:
        return url, []
    several = found["hosts"].split(",")
    if not all(several):
        raise ValueError(f"an empty host in the URL: {found['hosts']!r}")
    return found["before"] + several[0] + url[found.end() :], several
