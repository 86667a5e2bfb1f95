"""Registered dtypes: with ml_dtypes if it is installed, and with a stand-in of void types with its names."""
from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest
from codec_helpers import roundtrip, unpack
from fidelity import assert_identical, filled
from ndring import _codec
from ndring._codec import registered as _registered
from ndring._exceptions import DecodeError, EncodeError

NAMES = sorted(_registered.ALLOWED["ml_dtypes"])

try:
    import ml_dtypes as real
except ImportError:
    real = None


def stand_in() -> types.ModuleType:
    """A module named ml_dtypes whose scalar types derive from void, because numpy registers new
    dtypes only from C."""
    module = types.ModuleType("ml_dtypes")
    for name, size in _registered.ALLOWED["ml_dtypes"].items():
        scalar = type(name, (np.void,), {"__module__": "ml_dtypes"})
        scalar.dtype = np.dtype((scalar, f"V{size}"))
        setattr(module, name, scalar)
    return module


@pytest.fixture(params=["stand-in", "real"] if real else ["stand-in"])
def package(request, monkeypatch):
    """The package; the real one only if it is installed."""
    module = stand_in() if request.param == "stand-in" else real
    monkeypatch.setitem(sys.modules, "ml_dtypes", module)
    return module


def dtype_of(package, name):
    if not hasattr(package, name):
        pytest.skip(f"this ml_dtypes has no {name}")
    return np.dtype(getattr(package, name))


@pytest.mark.parametrize("name", NAMES)
def test_arrays(package, name):
    dtype = dtype_of(package, name)
    bits = {1: "u1", 2: "<u2", 4: "<u4"}[dtype.itemsize]
    for array in (filled(6, dtype), filled((2, 3), dtype).T, filled((), dtype), filled((2, 3, 2), dtype)[::-1, ::2],
                  np.empty((0, 2), dtype), np.broadcast_to(filled(3, dtype), (2, 3))):  # fmt: skip
        encoded = _codec.encode(array)
        header = _codec.parse_header(encoded.header)
        assert header.dtype == np.dtype(bits) and header.shape == array.shape
        assert json.loads(encoded.attrs)["py"]["dtype"]["ext"] == f"ml_dtypes.{name}"
        assert_identical(roundtrip(array), array)


@pytest.mark.parametrize("name", ["bfloat16", "int4"])
def test_in_structs_masks_and_scalars(package, name):
    dtype = dtype_of(package, name)
    struct = filled(3, np.dtype([("a", "u1"), ("b", dtype), ("c", dtype, (2,))]))
    assert_identical(roundtrip(struct), struct)
    assert _codec.parse_header(_codec.encode(struct).header).itemsize == struct.itemsize
    scalar = filled(2, dtype)[1]
    assert_identical(roundtrip(scalar), scalar)
    masked = np.ma.MaskedArray(filled(3, dtype), [1, 0, 1])
    assert_identical(roundtrip(masked), masked)


def test_type_characters_that_numpy_also_uses(package):
    # ml_dtypes' float8_e4m3b11fnuz has the type character of numpy's uint64.
    array = filled(3, dtype_of(package, "float8_e4m3b11fnuz"))
    assert_identical(roundtrip(filled(3, "L")), filled(3, "L"))
    assert_identical(roundtrip(array), array)


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", stand_in())
    encoded = _codec.encode(filled(3, sys.modules["ml_dtypes"].bfloat16))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(DecodeError, match="install the package ml_dtypes"):
        unpack(encoded)


def test_package_that_does_not_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", stand_in())
    encoded = _codec.encode(filled(3, sys.modules["ml_dtypes"].bfloat16))
    header = _codec.parse_header(encoded.header)

    class Broken(types.ModuleType):
        def __getattr__(self, name):
            raise RuntimeError("compiled for another numpy")

    monkeypatch.setitem(sys.modules, "ml_dtypes", Broken("ml_dtypes"))
    with pytest.raises(DecodeError):
        unpack(encoded)
    with pytest.raises(DecodeError):
        _codec.check_out(np.zeros(3, "u2"), header, encoded.attrs)


def test_package_too_old(monkeypatch):
    module = stand_in()
    monkeypatch.setitem(sys.modules, "ml_dtypes", module)
    encoded = _codec.encode(filled(3, module.int2))
    del module.int2
    with pytest.raises(DecodeError, match="lacks"):
        unpack(encoded)


@pytest.mark.parametrize("name", ["os.system", "ml_dtypes.finfo", "ml_dtypes.__name__", "numpy.float32", "ml_dtypes.", "", "ml_dtypes.x.y"])
def test_names_that_are_not_allowed(package, name):
    encoded = _codec.encode(filled(3, "u2"))
    encoded.attrs = json.dumps({"v": 1, "py": {"dtype": {"ext": name, "order": "<"}}}).encode()
    with pytest.raises(DecodeError, match="ndring cannot restore the dtype"):
        unpack(encoded)


def test_unknown_types_are_refused():
    scalar = type("decimal", (np.void,), {"__module__": "elsewhere"})
    with pytest.raises(EncodeError, match="elsewhere"):
        _codec.encode(filled(3, np.dtype((scalar, "V8"))))


def test_other_byte_order(package):
    encoded = _codec.encode(filled(3, dtype_of(package, "bfloat16")))
    other = {"little": b'">"', "big": b'"<"'}[sys.byteorder]
    encoded.attrs = encoded.attrs.replace(b'"<"' if sys.byteorder == "little" else b'">"', other)
    with pytest.raises(DecodeError, match="byte order"):
        unpack(encoded)


if real:

    def test_swapped_registered_dtype():
        with pytest.raises(EncodeError):
            _codec.encode(filled(3, np.dtype(real.bfloat16).newbyteorder()))
