"""Pipeline: collects commands and sends them together."""
from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from ._core import calls as _calls
from ._core.calls import Call
from ._core.cluster import Cluster
from ._core.commands import slot
from ._core.degraded import UNANSWERED, Degraded, is_unanswered
from ._exceptions import NdringError
from ._core.options import Key, Seconds, UnixTime, Value, encode_key


class Pipeline:
    """Commands that are sent together, one batch per node. Created by ``NumPyRedis.pipeline()``.

    Each method takes the arguments of the client's method of that name and returns the pipeline,
    except that ``get`` has no ``out``, and the keys of one ``delete`` or ``exists`` must belong to
    one slot. ``execute`` sends the commands and returns their results in order. Arrays are not
    copied, so do not modify them until ``execute`` returns.

    With ``transaction=True`` the node executes all commands atomically, or none if it rejects one
    of them beforehand. All keys must then belong to one slot; keys with the same ``{tag}`` do.
    """

    def __init__(self, cluster: Cluster, transaction: bool, degraded: Degraded, write_concern: Optional[str] = None) -> None:
        self._cluster = cluster
        self._degraded = degraded
        self._transaction = transaction
        self._write_concern = write_concern
        self._calls: List[Call[Any]] = []

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *exc: object) -> None:
        self.reset()

    def __len__(self) -> int:
        return len(self._calls)

    def reset(self) -> None:
        """Discards the collected commands."""
        self._calls = []

    def execute(self, raise_on_error: bool = True) -> List[Any]:
        """Sends the commands, discards them, and returns their results.

        If a command failed, this raises its error after all others have been executed; with
        ``raise_on_error=False`` the exception takes the place of its result. A transaction that may
        have been executed is not repeated: a lost reply raises UncertainWrite.
        """
        calls, self._calls = self._calls, []
        if not calls:
            return []
        requests = [call.request for call in calls]
        if self._transaction:
            _check_slots(calls)
            try:
                replies = self._cluster.transaction(requests)
            except UNANSWERED as exc:
                if self._cluster.policy.on_error != "miss" or not is_unanswered(exc):
                    raise
                replies = [exc] * len(calls)
        else:
            replies = self._cluster.many(requests)
        results = [_finished(call, reply) for call, reply in zip(calls, replies)]
        if self._cluster.policy.on_error == "miss":
            results = [self._degraded.record(call, r) if is_unanswered(r) else r for call, r in zip(calls, results)]
        if raise_on_error:
            for number, result in enumerate(results, 1):
                if isinstance(result, Exception):
                    result.args = (f"{result} (command {number} of the pipeline)", *result.args[1:])  # appended: the prefix must stay first
                    raise result
        return results

    def set(
        self,
        key: Key,
        value: Value,
        *,
        ex: Optional[Seconds] = None,
        px: Optional[Seconds] = None,
        exat: Optional[UnixTime] = None,
        pxat: Optional[UnixTime] = None,
        keepttl: bool = False,
        nx: bool = False,
        xx: bool = False,
        if_version: Optional[str] = None,
        write_concern: Optional[str] = None,
        layout: str = "auto",
        metadata: str = "error",
    ) -> "Pipeline":
        """See ``NumPyRedis.set``."""
        return self._add(
            _calls.set_(
                key, value, ex=ex, px=px, exat=exat, pxat=pxat, keepttl=keepttl, nx=nx, xx=xx, if_version=if_version,
                write_concern=self._write_concern if write_concern is None else write_concern, layout=layout, metadata=metadata,
            )
        )  # fmt: skip

    def get(self, key: Key, default: Any = None) -> "Pipeline":
        """See ``NumPyRedis.get``."""
        return self._add(_calls.get(key, default))

    def take(self, key: Key, indices: Any, axis: int = 0) -> "Pipeline":
        """See ``NumPyRedis.take``."""
        return self._add(_calls.take(key, indices, axis))

    def delete(self, *keys: Key) -> "Pipeline":
        """See ``NumPyRedis.delete``."""
        return self._count_keys(b"NP.DEL", keys)

    def exists(self, *keys: Key) -> "Pipeline":
        """See ``NumPyRedis.exists``."""
        return self._count_keys(b"NP.EXISTS", keys)

    def _count_keys(self, name: bytes, keys: Tuple[Key, ...]) -> "Pipeline":
        if not keys:
            raise ValueError("pass at least one key")
        call = _calls.count_keys(name, [encode_key(key) for key in keys])
        _check_slots([call])
        return self._add(call)

    def meta(self, key: Key) -> "Pipeline":
        """See ``NumPyRedis.meta``."""
        return self._add(_calls.meta(key))

    def shape(self, key: Key) -> "Pipeline":
        """See ``NumPyRedis.shape``."""
        return self._add(_calls.shape(key))

    def dtype(self, key: Key) -> "Pipeline":
        """See ``NumPyRedis.dtype``."""
        return self._add(_calls.dtype(key))

    def verify(self, key: Key) -> "Pipeline":
        """See ``NumPyRedis.verify``."""
        return self._add(_calls.verify(key))

    def expire(self, key: Key, seconds: Seconds) -> "Pipeline":
        """See ``NumPyRedis.expire``."""
        return self._add(_calls.expire(key, seconds))

    def pexpire(self, key: Key, milliseconds: Seconds) -> "Pipeline":
        """See ``NumPyRedis.pexpire``."""
        return self._add(_calls.pexpire(key, milliseconds))

    def expireat(self, key: Key, when: UnixTime) -> "Pipeline":
        """See ``NumPyRedis.expireat``."""
        return self._add(_calls.expireat(key, when))

    def persist(self, key: Key) -> "Pipeline":
        """See ``NumPyRedis.persist``."""
        return self._add(_calls.persist(key))

    def ttl(self, key: Key) -> "Pipeline":
        """See ``NumPyRedis.ttl``."""
        return self._add(_calls.ttl(key))

    def pttl(self, key: Key) -> "Pipeline":
        """See ``NumPyRedis.pttl``."""
        return self._add(_calls.pttl(key))

    def memory_usage(self, key: Key) -> "Pipeline":
        """See ``NumPyRedis.memory_usage``."""
        return self._add(_calls.memory_usage(key))

    def _add(self, call: Call[Any]) -> "Pipeline":
        self._calls.append(call)
        return self


def _finished(call: Call[Any], reply: Any) -> Any:
    if isinstance(reply, Exception):
        return reply
    try:
        return call.finish(reply)
    except NdringError as exc:
        return exc


def _check_slots(calls: List[Call[Any]]) -> None:
    """Raises ValueError if the keys belong to different slots."""
    seen: Dict[int, bytes] = {}
    for call in calls:
        for key in call.keys:
            seen.setdefault(slot(key), key)
            if len(seen) > 1:
                one, other = seen.values()
                raise ValueError(f"keys {one!r} and {other!r} belong to different slots; give them the same {{tag}}")
