"""Pipeline: collects commands and sends them together."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, List

from ._core import calls
from ._core.calls import Call, Defaults
from ._core.operations import execute
from ._core.pipeline import PipelineCommands, collecting
from ._sync.driver import run

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")


def _command(make: Callable[Concatenate[Defaults, P], Call[Any]]) -> Callable[Concatenate[Any, P], Pipeline]:
    method: Callable[Concatenate[Any, P], Pipeline] = collecting(make)
    return method


class Pipeline(PipelineCommands):
    """Commands that are sent together, one batch per node. Created by ``NumPyRedis.pipeline()``.

    Each method takes the arguments of the client's method of that name and returns the pipeline,
    except that ``get`` has no ``out``, and the keys of one ``delete`` or ``exists`` must belong to
    one slot. ``execute`` sends the commands and returns their results in order. Arrays are not
    copied, so do not modify them until ``execute`` returns.

    With ``transaction=True`` the node executes all commands atomically, or none if it rejects one
    of them beforehand. All keys must then belong to one slot; keys with the same ``{tag}`` do.
    """

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *exc: object) -> None:
        self.reset()

    def execute(self, raise_on_error: bool = True) -> List[Any]:
        """Sends the commands, discards them, and returns their results.

        If a command failed, this raises its error after all others have been executed; with
        ``raise_on_error=False`` the exception takes the place of its result. A transaction that may
        have been executed is not repeated: a lost reply raises UncertainWrite.
        """
        return run(execute(self._core, self._taken(), self._transaction, raise_on_error))

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
