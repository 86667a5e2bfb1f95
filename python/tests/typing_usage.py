"""Typical uses, for mypy. Lines marked as wrong must be errors, because unused ignores are errors too."""
from __future__ import annotations

from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
from ndring import Meta, NumPyRedis, Pipeline

client: NumPyRedis = NumPyRedis.from_url("redis://localhost", socket_timeout=3)
stored: bool = client.set("k", np.arange(3), ex=60, nx=True)
array: Any = client.get("k", default=None)
several: List[Any] = client.mget(["a", b"b", 3])
shape: Optional[Tuple[int, ...]] = client.shape("k")
dtype: Optional[np.dtype[Any]] = client.dtype("k")
meta: Optional[Meta] = client.meta("k")
used: Optional[int] = client.memory_usage("k")
ttl: int = client.ttl("k")
keys: Iterator[bytes] = client.scan_iter("k*")
made: Any = client.get_or_set("k", lambda: np.zeros(3), ex=60)
with client.pipeline(transaction=True) as pipe:
    chained: Pipeline = pipe.set("k", np.arange(3)).get("k").expire("k", 3)
    results: List[Any] = chained.execute()

scalar: np.float64 = np.float64(1)
named: Dict[str, np.ndarray[Any, Any]] = {"a": np.zeros(3)}
by_number: Dict[int, np.float32] = {1: np.float32(1)}
client.set("k", scalar)
client.set(np.int64(3), np.zeros(3))
client.mset(named)
client.mset(by_number)
client.mset({"a": np.zeros(3), b"b": scalar, 3: np.str_("c")})
text_keys: List[str] = ["a", "b"]
client.mget(text_keys)
pipe.set("k", scalar)

client.set("k", named)
client.set("k", {"q": np.zeros(3), "r": (scalar, [np.zeros(3)], {"x": {}})})
client.set("k", (np.zeros(3), scalar))
client.set("k", np.linalg.svd(np.zeros((3, 3))))
listed: List[np.ndarray[Any, Any]] = [np.zeros(3)]
client.set("k", listed)
client.set("k", [np.zeros(3), np.zeros(4)])
client.mset({"a": named, "b": (scalar,), "c": np.zeros(3)})
pipe.set("k", named)
made_named: Any = client.get_or_set("k", lambda: {"a": np.zeros(3)})

client.set("k", {"a": "text"})  # type: ignore[dict-item]
client.set("k", {"a": 1})  # type: ignore[dict-item]
client.set("k", (1, 2))  # type: ignore[arg-type]
client.set("k", {1: np.zeros(3)})  # type: ignore[dict-item]
client.set("k", "text")  # type: ignore[arg-type]
client.set("k", 1.5)  # type: ignore[arg-type]
client.set("k", [1, 2])  # type: ignore[arg-type]
client.set("k", None)  # type: ignore[arg-type]
client.mset({"k": "text"})  # type: ignore[dict-item]
client.get_or_set("k", lambda: "text")  # type: ignore[arg-type, return-value]
pipe.set("k", b"bytes")  # type: ignore[arg-type]
client.set(None, np.zeros(3))  # type: ignore[arg-type]
client.set("k", np.arange(3), ex="soon")  # type: ignore[arg-type]
client.set("k", np.arange(3), exx=3)  # type: ignore[call-arg]
client.get(None)  # type: ignore[arg-type]
client.expire("k")  # type: ignore[call-arg]
wrong: str = client.ttl("k")  # type: ignore[assignment]
client.get_or_set("k", np.zeros(3))  # type: ignore[arg-type]
pipe.ttl("k").nosuch()  # type: ignore[attr-defined]
pipe.set("k", np.arange(3), exx=3)  # type: ignore[call-arg]
