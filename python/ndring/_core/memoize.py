"""memoize: the key under which the result of a call is stored."""
from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Dict, Iterable, Optional, Tuple

from .digest import digest
from .options import Seconds

_PREFIX = "ndring:memo:"


class Options:
    """The options of one ``memoize``. ``ex``, ``px``, ``wait_for``, ``lease``, ``on_error``: as for
    ``get_or_set``. ``version``: part of every key. ``ignore``: parameters that are not."""

    def __init__(
        self, ex: Optional[Seconds], px: Optional[Seconds], version: Any, ignore: Iterable[str], wait_for: float, lease: float,
        on_error: Optional[str],
    ) -> None:  # fmt: skip
        if callable(ex):
            raise TypeError("memoize takes options: write @client.memoize() or @client.memoize(ex=60)")
        if isinstance(ignore, str):
            raise TypeError(f"ignore must be several names, such as [{ignore!r}]")
        self.version = str(version)
        self.ignore = frozenset(ignore)
        self.get_or_set: Dict[str, Any] = {"ex": ex, "px": px, "wait_for": wait_for, "lease": lease, "on_error": on_error}


class Memoized:
    """A function whose results are stored; the base of both clients' ones.

    ``key(*args, **kwargs)`` is the key of the call with these arguments.
    """

    def __init__(self, function: Callable[..., Any], options: Options) -> None:
        name = getattr(function, "__qualname__", repr(function))
        if not options.version and ("<lambda>" in name or "<locals>" in name):
            raise TypeError(f"several functions may have the name {name}: pass version=, or memoize a function of the module or of a class")
        try:
            self._signature = inspect.signature(function)
        except ValueError:
            raise TypeError(f"the parameters of {name} are unknown: memoize a function in Python that calls it") from None
        functools.update_wrapper(self, function)
        self._function = function
        self._options = options
        unknown = options.ignore - self._signature.parameters.keys()
        if unknown:
            raise TypeError(f"{function.__qualname__} has no parameter {', '.join(sorted(unknown))}, which ignore names")
        self._name = f"{_PREFIX}{function.__module__}.{function.__qualname__}:{options.version}:"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else _Method(self, instance)

    def __reduce__(self) -> str:
        return self.__qualname__  # type: ignore[attr-defined]  # of the function, as for any function

    def __repr__(self) -> str:
        return f"<memoized {self._function!r}>"

    def key(self, *args: Any, **kwargs: Any) -> str:
        """Returns the key of a call: the function's module and qualified name, the version, and a
        digest of the arguments."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        counted: Tuple[Any, ...] = tuple((name, value) for name, value in bound.arguments.items() if name not in self._options.ignore)
        try:
            return self._name + digest(counted)
        except TypeError as exc:
            raise TypeError(f"{self._function.__qualname__}: {exc}") from None


class _Method:
    """A memoized method of an instance."""

    def __init__(self, memoized: Any, instance: Any) -> None:
        self._memoized = memoized
        self._instance = instance
        self.__doc__ = memoized.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._memoized(self._instance, *args, **kwargs)

    def key(self, *args: Any, **kwargs: Any) -> str:
        found: str = self._memoized.key(self._instance, *args, **kwargs)
        return found

    def invalidate(self, *args: Any, **kwargs: Any) -> Any:
        return self._memoized.invalidate(self._instance, *args, **kwargs)
