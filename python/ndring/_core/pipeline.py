"""What the pipelines of both clients are, apart from how they are executed."""
from __future__ import annotations

from typing import Any, Callable, List, Tuple, TypeVar

from . import calls
from .calls import Call
from .client import present
from .operations import Core, check_slots
from .options import Key, encode_key

L = TypeVar("L", bound="PipelineCommands")


def collecting(make: Callable[..., Call[Any]]) -> Any:
    """Returns a method that collects a command."""

    def method(self: PipelineCommands, /, *args: Any, **kwargs: Any) -> PipelineCommands:
        self._calls.append(make(self._core.defaults, *args, **kwargs))
        return self

    present(method, make, "Pipeline")
    method.__doc__ = f"See ``NumPyRedis.{method.__name__}``."
    return method


class PipelineCommands:
    """The commands that a pipeline collects."""

    def __init__(self, core: Core, transaction: bool) -> None:
        self._core = core
        self._transaction = transaction
        self._calls: List[Call[Any]] = []

    def __len__(self) -> int:
        return len(self._calls)

    def reset(self) -> None:
        """Discards the collected commands."""
        self._calls = []

    def _taken(self) -> List[Call[Any]]:
        """Returns the collected commands, and discards them."""
        taken, self._calls = self._calls, []
        return taken

    def delete(self: L, *keys: Key) -> L:
        """See ``NumPyRedis.delete``."""
        return self._count_keys(b"NP.DEL", keys)

    def exists(self: L, *keys: Key) -> L:
        """See ``NumPyRedis.exists``."""
        return self._count_keys(b"NP.EXISTS", keys)

    def _count_keys(self: L, name: bytes, keys: Tuple[Key, ...]) -> L:
        if not keys:
            raise ValueError("pass at least one key")
        call = calls.count_keys(name, [encode_key(key) for key in keys])
        check_slots([call])
        self._calls.append(call)
        return self
