"""The README as a newcomer uses it: its program runs as it is written, and every `make` target that it names is there."""
from __future__ import annotations

import pathlib
import re

import ndring
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "bench/README.md", "python/README.md"]


def programs(page: str) -> list:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize(("page", "number"), [(page, n) for page in PAGES for n in range(len(programs(page)))])
def test_programs_run_as_they_are_written(page, number, node, monkeypatch):
    # The suite's node has another port than 7379: the name, as the program imports it, leads to it.
    client = ndring.NumPyRedis
    monkeypatch.setattr(ndring, "NumPyRedis", lambda: client(*node))
    names: dict = {"array": np.arange(3)} if page == "python/README.md" else {}
    exec(programs(page)[number], names)
    if "retrieved" in names:
        retrieved = names["retrieved"]
        assert retrieved.dtype == np.float32 and retrieved.tolist() == [[1, 2, 3], [4, 5, 6]]
        assert retrieved.flags.f_contiguous and not retrieved.flags.c_contiguous and not retrieved.flags.writeable
    names["client"].close()


def test_the_readme_has_its_program():
    assert len(programs("README.md")) == 1 and "retrieved" in programs("README.md")[0]


@pytest.mark.parametrize("page", PAGES)
def test_targets_exist(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / page).read_text()
    named = set(re.findall(r"`make ([a-z0-9-]+)[^`]*`", text)) | set(re.findall(r"^make ([a-z0-9-]+)", text, re.MULTILINE))
    assert named or page == "python/README.md"
    assert named <= targets, f"{page} names {named - targets}"
