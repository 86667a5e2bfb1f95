"""Typical uses, for mypy: those marked as wrong must be errors, since unused ignores are errors too."""
from __future__ import annotations

from typing import Any, Iterator, List, Optional, Tuple

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

client.set("k", np.arange(3), ex="soon")  # type: ignore[arg-type]
client.set("k", np.arange(3), exx=3)  # type: ignore[call-arg]
client.get(None)  # type: ignore[arg-type]
client.expire("k")  # type: ignore[call-arg]
wrong: str = client.ttl("k")  # type: ignore[assignment]
client.get_or_set("k", np.zeros(3))  # type: ignore[arg-type]
pipe.ttl("k").nosuch()  # type: ignore[attr-defined]
pipe.set("k", np.arange(3), exx=3)  # type: ignore[call-arg]
