"""The package as its users see it."""
from __future__ import annotations

import inspect
import pathlib
import subprocess
import sys

import ndring
import ndring.asyncio
import pytest
import redis
from ndring import _exceptions


def test_all_lists_what_is_public():
    public = {name for name, value in vars(ndring).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public == set(ndring.__all__), public ^ set(ndring.__all__)
    assert ndring.__all__ == sorted(ndring.__all__)


def test_every_exception_is_public_and_in_the_tree():
    tree = _exceptions.__doc__
    for name, value in vars(_exceptions).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert name in ndring.__all__ and issubclass(value, ndring.NdringError) and issubclass(value, redis.RedisError)
            assert f" {name} " in tree or f" {name}\n" in tree, f"{name} is not in the tree of the module's documentation"
    assert issubclass(ndring.ConnectionError, redis.ConnectionError) and issubclass(ndring.TimeoutError, redis.TimeoutError)
    assert issubclass(ndring.EncodeError, TypeError) and issubclass(ndring.DecodeError, ValueError)


PUBLIC = ("asyncio.py", "contrib")


def test_modules_are_private_and_short():
    folder = pathlib.Path(ndring.__file__).parent
    assert (folder / "py.typed").exists()
    for module in folder.rglob("*.py"):
        assert any(part.startswith("_") or part in PUBLIC for part in module.relative_to(folder).parts), module
        assert len(module.read_text().splitlines()) <= 500, module


def test_adapters_are_optional():
    """``import ndring`` imports no adapter, each names what is public in it, and has an extra of its name."""
    run = subprocess.run(
        [sys.executable, "-c", "import ndring, sys; assert not [m for m in sys.modules if m.startswith('ndring.contrib')]"],
        capture_output=True, text=True, cwd=pathlib.Path(ndring.__file__).parents[1],
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    modules = [module for module in (pathlib.Path(ndring.__file__).parent / "contrib").glob("*.py") if module.name != "__init__.py"]
    assert len(modules) == 4
    project = (pathlib.Path(__file__).resolve().parents[1] / "pyproject.toml").read_text()
    for module in modules:
        assert "\n__all__ = [" in module.read_text() and f"\n{module.stem} = [" in project, module


def test_every_method_is_documented():
    for owner in (ndring.NumPyRedis, ndring.Pipeline, ndring.ArrayView, *(getattr(ndring.asyncio, name) for name in ndring.asyncio.__all__)):
        for base in owner.__mro__[:-1]:
            for name, value in vars(base).items():
                if not name.startswith("_") and not isinstance(value, property):
                    assert (value.__func__ if isinstance(value, classmethod) else value).__doc__, (owner, name)


def test_both_clients_have_the_same_methods():
    def signatures(client):
        public = {name: getattr(client, name) for name in dir(client) if not name.startswith("_")}
        return {name: str(inspect.signature(value)) for name, value in public.items() if callable(value)}

    blocking, aio = signatures(ndring.NumPyRedis), signatures(ndring.asyncio.NumPyRedis)
    for name in ("view", "pipeline", "scan_iter", "memoize"):  # which return other classes
        blocking[name], aio[name] = (text[name].rpartition("->")[0] for text in (blocking, aio))
    assert aio.pop("aclose") and blocking == aio
    assert signatures(ndring.Pipeline) == signatures(ndring.asyncio.Pipeline)
    assert inspect.iscoroutinefunction(ndring.asyncio.NumPyRedis.get) and inspect.iscoroutinefunction(ndring.asyncio.NumPyRedis.mget)


def test_the_license_is_the_repositorys():
    here = pathlib.Path(__file__).resolve().parents[1]
    if not (here.parent / "LICENSE").exists():
        pytest.skip("the folder python/ stands alone, as when the suite runs with another NumPy")
    assert (here / "LICENSE").read_bytes() == (here.parent / "LICENSE").read_bytes()


def test_a_system_without_sendmsg():
    # As on Windows, where socket.socket has no sendmsg.
    program = """
import redis, socket, ssl
class Socket: pass
socket.socket = Socket
import ndring
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=pathlib.Path(ndring.__file__).parents[1])
    assert run.returncode == 1 and "ImportError: ndring sends arrays" in run.stderr and "WSL" in run.stderr, run.stderr
