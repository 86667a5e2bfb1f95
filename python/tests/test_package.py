"""The package as others see it."""
from __future__ import annotations

import pathlib

import ndring
import redis
from ndring import _exceptions


def test_all_is_what_is_public():
    public = {name for name in vars(ndring) if not name.startswith("_")}
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


def test_modules_are_private_and_short():
    folder = pathlib.Path(ndring.__file__).parent
    assert (folder / "py.typed").exists()
    for module in folder.glob("*.py"):
        assert module.name.startswith("_"), module
        assert len(module.read_text().splitlines()) <= 500, module


def test_every_method_is_documented():
    for name, value in vars(ndring.NumPyRedis).items():
        if not name.startswith("_"):
            assert (value.__func__ if isinstance(value, classmethod) else value).__doc__, name
