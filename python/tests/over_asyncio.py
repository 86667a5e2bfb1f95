"""The client for asyncio, with blocking methods: so that the tests of the blocking client try it too.

NDRING_CLIENT=asyncio puts it in the place of ``ndring.NumPyRedis``; NDRING_CLIENT=uvloop also takes
uvloop's event loop. Its loop runs in a thread.
"""
import asyncio
import inspect
import socket
import threading

import ndring.asyncio

_LONGEST = 120  # s that a test waits for a call


class _Loop:
    def __init__(self, new_loop):
        self.loop = new_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True, name="event loop").start()

    def result(self, awaitable):
        async def wait():
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(_LONGEST)


def uvloop_loop():
    """Returns uvloop's event loop. It resolves names as Python does, which tests replace."""
    import uvloop

    class Loop(uvloop.Loop):
        async def getaddrinfo(self, host, port, *, family=0, type=0, proto=0, flags=0):
            return await self.run_in_executor(None, socket.getaddrinfo, host, port, family, type, proto, flags)

    return Loop()


def blocking_client(new_loop):
    """Returns the class that takes the place of ``ndring.NumPyRedis``."""
    loop = _Loop(new_loop)

    class Blocking:
        """Blocks where the object inside is awaited."""

        def __init__(self, inner):
            self._inner = inner

        def __getattr__(self, name):
            value = getattr(self._inner, name)
            if inspect.iscoroutine(value):
                return loop.result(value)
            if not callable(value) or name.startswith("_"):
                return value

            def method(*args, **kwargs):
                return self._wrapped(value(*args, **kwargs))

            return method

        def _wrapped(self, result):
            if inspect.iscoroutine(result):
                result = loop.result(result)
            if isinstance(result, ndring.asyncio.Pipeline):
                return self if result is self._inner else _Pipeline(result)
            if isinstance(result, ndring.asyncio.ArrayView):
                return _View(result)
            return result

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            loop.result(self._inner.__aexit__(*exc))

    class _Pipeline(Blocking):
        def __len__(self):
            return len(self._inner)

    class _View(Blocking):
        def __getitem__(self, index):
            return loop.result(self._inner[index])

        def __array__(self, dtype=None, copy=None):
            if copy is False:
                raise ValueError
            return loop.result(self._inner.array(dtype))

        def __len__(self):
            if not self.shape:
                raise TypeError
            return self.shape[0]

        def __repr__(self):
            return repr(self._inner)

        ndim = property(lambda self: len(self.shape))
        size = property(lambda self: int(self.array().size))
        nbytes = property(lambda self: int(self.array().nbytes))

    class NumPyRedis(Blocking):
        __doc__ = ndring.asyncio.NumPyRedis.__doc__

        def __init__(self, *args, **kwargs):
            super().__init__(ndring.asyncio.NumPyRedis(*args, **kwargs))

        @classmethod
        def from_url(cls, url, **options):
            return cls._of(ndring.asyncio.NumPyRedis.from_url(url, **options))

        @classmethod
        def _of(cls, inner):
            made = object.__new__(cls)
            made._inner = inner
            return made

        def with_options(self, **changed):
            return self._of(self._inner.with_options(**changed))

        def get_or_set(self, key, make, **options):
            def in_a_thread():  # since make may block, and may call this client
                return asyncio.get_running_loop().run_in_executor(None, make)

            return loop.result(self._inner.get_or_set(key, in_a_thread if callable(make) else make, **options))

        def scan_iter(self, *args, **kwargs):
            found = self._inner.scan_iter(*args, **kwargs)

            def keys():
                while True:
                    try:
                        yield loop.result(found.__anext__())
                    except StopAsyncIteration:
                        return

            return keys()

        def do(self, work):
            return loop.result(ndring._aio.work.run(work))

        def __repr__(self):
            return repr(self._inner)

        def __copy__(self):
            return self._of(self._inner.__copy__())

        def __reduce__(self):
            return (NumPyRedis._of, (self._inner,))

    return NumPyRedis
