"""Every row of the table of what ndring keeps, each with arrays that have the property."""
from __future__ import annotations

import pytest
from codec_helpers import roundtrip
from fidelity import assert_identical, awkward_arrays

AWKWARD = list(awkward_arrays())


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in AWKWARD])
def test_comes_back_identical(value):
    assert_identical(roundtrip(value), value)


def test_names_are_unique():
    assert len({name for name, _ in AWKWARD}) == len(AWKWARD)
