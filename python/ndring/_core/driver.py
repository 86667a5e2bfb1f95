"""What the core needs to have done for it: the only way in which it sleeps, waits, or talks to a node.

The core is written as generators, called work. Work yields what a method of its driver returned
and gets the result back. A driver that blocks has done it by then, and its ``run`` sends the result
back as it is; one for asyncio returns awaitables, and its ``run`` awaits them. So both clients make
the same decisions.
"""
from __future__ import annotations

from typing import Any, Callable, Generator, List, Optional, Protocol, Sequence, TypeVar

from .exchange import Node
from .request import Request
from .settings import Settings
from .slots import Address

T = TypeVar("T")
Work = Generator[Any, Any, T]
#: Called while a node is silent, with the key of the command and the time by which the call must be
#: over. Raises if waiting for the node is useless.
SilenceCheck = Callable[[Optional[bytes], float], Work[None]]


class Transport(Node):
    """The connections to one node. ``end``: time by which a call must be over."""

    def close(self) -> Any:
        """Closes all connections, also those in use."""
        raise NotImplementedError

    def retire(self) -> None:
        """Closes idle connections now and the others when they are released. Commands under way continue."""
        raise NotImplementedError

    def one(self, request: Request, end: Optional[float] = None) -> Any:
        """Gives the reply to one command, or a Failure if it may be retried. Raises final errors."""
        raise NotImplementedError

    def with_timeout(self, request: Request, seconds: float, end: Optional[float] = None) -> Any:
        """Gives the reply to one command within ``seconds``. Raises any error."""
        raise NotImplementedError

    def transaction(self, requests: Sequence[Request], end: Optional[float] = None) -> Any:
        """Gives the replies to commands that are executed atomically, with the exception in place
        of a failed one. Raises what prevented the execution, or UncertainWrite."""
        raise NotImplementedError

    def listen(self, listener: Any) -> Any:
        """Runs a listener of the near cache on a connection of its own, in RESP3, until it ends."""
        raise NotImplementedError

    def attempt(self, requests: Sequence[Request], pending: Sequence[int], results: List[Any], end: Optional[float] = None) -> Any:
        """Sends the pending commands on one connection and stores in ``results`` a reply, a final
        exception, or a Failure for each."""
        raise NotImplementedError


class Event(Protocol):
    def set(self) -> Any: ...

    def is_set(self) -> bool: ...


class Driver(Protocol):
    """Everything but ``transport``, ``event`` and ``spawn`` is to be yielded."""

    def transport(self, settings: Settings, address: Address, silence_check: Optional[SilenceCheck]) -> Transport:
        """Returns the connections to a node, none of which is open yet."""

    def sleep(self, seconds: float) -> Any:
        """Waits."""

    def parallel(self, parts: Sequence[Work[None]]) -> Any:
        """Runs several pieces of work at the same time. Raises the first exception that one of them raised."""

    def event(self) -> Event:
        """Returns something to wait for."""

    def wait(self, event: Any, seconds: float) -> Any:
        """Waits for an event, and gives whether it came within ``seconds``."""

    def spawn(self, work: Work[None], name: str) -> bool:
        """Starts work in the background. Returns False if that is not possible any more."""

    def call(self, function: Callable[[], Any]) -> Any:
        """Gives what a function of the caller's returns."""
