"""docs/python-api.md is made from the docstrings. NDRING_UPDATE=1 writes it."""
from __future__ import annotations

import inspect
import os
import pathlib
import re

import ndring
import ndring.asyncio
from ndring import _exceptions

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python-api.md"


def markdown(docstring: str) -> str:
    """Returns a docstring as Markdown: ``code`` as `code`, and what follows ``::`` as a block of code."""
    lines, code = [], False
    for line in inspect.cleandoc(docstring).split("\n"):
        if code and line and not line.startswith("    "):
            while lines[-1] == "":
                lines.pop()
            lines += ["```", ""]
            code = False
        elif not code and line.startswith("    ") and (not lines or lines[-1] == ""):
            lines.append("```python")
            code = True
        lines.append(line[4:] if code else re.sub(r"``(.+?)``", r"`\1`", re.sub(r" ?::$", ":", line)))
    return "\n".join(lines + ["```"] if code else lines)


def signature(name: str, value: object) -> str:
    if isinstance(value, property):
        return name
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(value)))  # annotations are text
    return name + re.sub(r"\((self|cls)(, |(?=\)))", "(", text, count=1)


def members(cls: type) -> list:
    """Returns the public members of a class and its bases that have documentation, by name."""
    found: dict = {}
    for base in cls.__mro__:
        if base.__module__.startswith("ndring"):
            for name, value in vars(base).items():
                if not name.startswith("_"):
                    found.setdefault(name, getattr(cls, name) if isinstance(value, classmethod) else value)
    return sorted((name, value) for name, value in found.items() if getattr(value, "__doc__", None) and (callable(value) or isinstance(value, property)))


def describe(cls: type, with_constructor: bool = False) -> list:
    package = "ndring.asyncio" if cls.__module__.startswith("ndring._aio.") else "ndring"
    lines = [f"### {package}.{cls.__name__}", "", markdown(cls.__doc__), ""]
    if with_constructor:
        lines += [f"`{signature(cls.__name__, cls.__init__)}`", ""]
    for name, value in members(cls):
        lines += [f"#### `{signature(name, value)}`", "", markdown(value.__doc__), ""]
    return lines


def page() -> str:
    lines = [
        "# API of the Python client", "",
        "Made from the docstrings by `NDRING_UPDATE=1 scripts/test-python -k api_page`. [python.md](python.md) is the guide.", "",
        "## Blocking", "", *describe(ndring.NumPyRedis, True), *describe(ndring.Pipeline), *describe(ndring.ArrayView), "## asyncio", "",
        markdown(ndring.asyncio.NumPyRedis.__doc__), "",
        "`ndring.asyncio.NumPyRedis` has the methods of `ndring.NumPyRedis` above, and `aclose`, which is `close`.", "",
        *describe(ndring.asyncio.ArrayView), "## Results", "",
    ]  # fmt: skip
    for name in ("Meta", "NearCacheStats", "Unanswered"):
        lines += describe(getattr(ndring, name))
    lines += ["## Exceptions", "", markdown(_exceptions.__doc__), ""]
    for name in ndring.__all__:
        value = getattr(ndring, name)
        if isinstance(value, type) and issubclass(value, Exception):
            lines += [f"- `{name}`: {' '.join(markdown(value.__doc__).split())}"]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"


def test_the_page_is_made_from_the_docstrings():
    if os.environ.get("NDRING_UPDATE"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "NDRING_UPDATE=1 scripts/test-python -k api_page makes the page"


def test_every_name_is_on_the_page():
    text = PAGE.read_text()
    for name in ndring.__all__:
        assert re.search(rf"\b{name}\b", text), name
    for cls in (ndring.NumPyRedis, ndring.Pipeline, ndring.ArrayView):
        for name, _ in members(cls):
            assert f"#### `{name}" in text, (cls, name)
