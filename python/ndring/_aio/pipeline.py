"""Pipeline: collects commands and sends them together."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, List

from .._core import calls
from .._core.calls import Call, Defaults
from .._core.operations import execute
from .._core.pipeline import PipelineCommands, collecting
from .work import run

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")


def _command(make: Callable[Concatenate[Defaults, P], Call[Any]]) -> Callable[Concatenate[Any, P], Pipeline]:
    method: Callable[Concatenate[Any, P], Pipeline] = collecting(make)
    return method


class Pipeline(PipelineCommands):
    """Commands that are sent together, one batch per node; see ``ndring.Pipeline``. Only
    ``execute`` is awaited. ::

        async with client.pipeline() as p:
            stored, b = await p.set("a", array).get("b").execute()
    """

    async def __aenter__(self) -> "Pipeline":
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.reset()

    async def execute(self, raise_on_error: bool = True) -> List[Any]:
        """See ``ndring.Pipeline.execute``."""
        return await run(execute(self._core, self._taken(), self._transaction, raise_on_error))

    set = _command(calls.set_)
    get = _command(calls.get)
    take = _command(calls.take)
    meta = _command(calls.meta)
    shape = _command(calls.shape)
    dtype = _command(calls.dtype)
    verify = _command(calls.verify)
    expire = _command(calls.expire)
    pexpire = _command(calls.pexpire)
    expireat = _command(calls.expireat)
    persist = _command(calls.persist)
    ttl = _command(calls.ttl)
    pttl = _command(calls.pttl)
    memory_usage = _command(calls.memory_usage)
