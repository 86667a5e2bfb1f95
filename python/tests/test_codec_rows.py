"""Every row of the table of properties that ndring keeps, with arrays that have the property."""
from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from codec_helpers import roundtrip
from fidelity import assert_identical, awkward_arrays

AWKWARD = list(awkward_arrays())


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in AWKWARD])
def test_comes_back_identical(value):
    assert_identical(roundtrip(value), value)


OPERATIONS = {
    "repr": repr, "pickle": lambda x: repr(pickle.loads(pickle.dumps(x))), "copy": lambda x: repr(x.copy()),
    "mean": lambda x: repr(x.mean(axis=0)), "first": lambda x: repr(x[0]), "transpose": lambda x: repr(x.T), "view": lambda x: repr(x.view(type(x))),
}  # fmt: skip


def outcome(operation, value):
    """Returns the result of an operation or the exception it raises, which must be the same after
    the round trip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return operation(value)
        except Exception as exc:
            return type(exc), str(exc)


@pytest.mark.parametrize(
    "value", [pytest.param(value, id=name) for name, value in AWKWARD if type(value) is not np.ndarray and isinstance(value, np.ndarray)]
)
def test_instances_of_numpys_classes_behave_as_before(value):
    back = roundtrip(value)
    for name, operation in OPERATIONS.items():
        assert outcome(operation, back) == outcome(operation, value), name


def test_names_are_unique():
    assert len({name for name, _ in AWKWARD}) == len(AWKWARD)
