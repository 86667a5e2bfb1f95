"""``convert=True`` takes the arrays of other packages. They are stand-ins here, which behave as the packages do."""
from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from codec_helpers import roundtrip, same_memory, unpack
from fidelity import assert_identical, filled
from ndring import _codec
from ndring._exceptions import EncodeError

CPU, CUDA, PINNED, METAL = 1, 2, 3, 8


class Exporter:
    """Exports a NumPy array by DLPack, as torch.Tensor, jax.Array and cupy.ndarray do."""

    def __init__(self, array: Any, device: int = CPU) -> None:
        self.array = array
        self.device = device

    def __dlpack_device__(self) -> Any:
        return self.device, 0

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__()


class Offerer:
    """Offers a NumPy array by ``__array__``, as pandas' and xarray's classes do."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array if dtype is None else self.array.astype(dtype)


class Tensor(Exporter):
    """As torch.Tensor: DLPack and ``__array__``, each of which may fail. ``dtype``: as text."""

    def __init__(self, array: Any, dtype: str = "torch.float32", requires_grad: bool = False) -> None:
        super().__init__(array)
        self.dtype = dtype
        self.requires_grad = requires_grad

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad:
            raise RuntimeError("Can't export tensors that require gradient, use tensor.detach()")
        if self.dtype in ("torch.bool", "torch.bfloat16"):  # NumPy before 1.25 has no bool here either
            raise BufferError("Unsupported dtype in DLTensor.")
        return super().__dlpack__()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array

    def float(self) -> "Tensor":
        return Tensor(self.array, "torch.float32")

    def detach(self) -> "Tensor":
        return Tensor(self.array, self.dtype)


def taken(value: Any, **options: Any) -> Any:
    return unpack(_codec.encode(value, convert=True, **options))


ARRAYS = [filled((2, 3), "f4"), filled((2, 3), "i8").T, filled((4, 6), "f8")[::2, 1:], filled((), "f4"), np.empty((0, 3), "u1"), filled(3, "c8")]


@pytest.mark.parametrize("cls", [Exporter, Offerer, Tensor])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype} {array.shape}")
def test_arrays_of_other_packages(cls, array):
    assert_identical(taken(cls(array)), array)
    assert_identical(taken({"x": [cls(array)]})["x"][0], array)


def test_nothing_is_copied():
    array = filled((100, 100), "f8")
    assert same_memory(array, _codec.encode(Exporter(array), convert=True).data)
    assert any(same_memory(array, view) for view in _codec.encode([Offerer(array)], convert=True).more)


def test_they_come_back_writable():
    # DLPack's views are read-only, which says nothing about the tensor.
    assert not np.from_dlpack(Exporter(filled(3, "f4"))).flags.writeable or np.__version__ >= "2.1"
    frozen = filled((2, 3), "i4")
    frozen.setflags(write=False)
    for value in (Exporter(filled((2, 3), "i4")), Offerer(frozen)):
        assert _codec.encode(value, convert=True).attrs == b""
        assert taken(value).flags.writeable


def test_memory_that_the_processor_reads():
    assert taken(Exporter(filled(3, "f4"), PINNED)).tolist() == filled(3, "f4").tolist()


@pytest.mark.parametrize(("device", "name"), [(CUDA, "CUDA"), (METAL, "Metal"), (99, "number 99")])
def test_devices(device, name):
    class Both(Exporter, Offerer):
        """Also offers ``__array__``, which would copy or fail. Nothing is exported."""

        def __dlpack__(self, **options: Any) -> Any:
            raise AssertionError("exported")

    for value in (Exporter(filled(3, "f4"), device), Both(filled(3, "f4"), device)):
        with pytest.raises(EncodeError, match=rf"in the memory of a device \({name}.*store x.cpu\(\)"):
            _codec.encode(value, convert=True)


def test_array_is_the_second_choice():
    class Both(Exporter):
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise AssertionError("DLPack comes first")

    assert_identical(taken(Both(filled(3, "f4"))), filled(3, "f4"))
    assert taken(Tensor(np.array([True, False]), "torch.bool")).tolist() == [True, False]

    class OnlyDevice(Offerer):
        def __dlpack__(self) -> Any:
            raise AssertionError("without __dlpack_device__ the memory may be anywhere")

    assert taken(OnlyDevice(filled(3, "f4"))).dtype == "f4"


def test_bfloat16():
    value = Tensor(filled(3, "f4"), "torch.bfloat16")
    with pytest.raises(EncodeError, match=r"BFloat16; NumPy has no bfloat16: store x\.float\(\)"):
        _codec.encode(value, convert=True)
    assert_identical(taken(value.float()), filled(3, "f4"))


def test_gradients():
    value = Tensor(filled(3, "f4"), requires_grad=True)
    with pytest.raises(EncodeError, match=r"requires grad.*store x\.detach\(\)"):
        _codec.encode({"w": value}, convert=True)
    assert_identical(taken(value.detach()), filled(3, "f4"))


@pytest.mark.parametrize("error", [BufferError, RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError])
def test_packages_that_fail(error):
    class Failing(Exporter):
        def __dlpack__(self, **options: Any) -> Any:
            raise error("no such luck")

    with pytest.raises(EncodeError, match="NumPy cannot convert the .*Failing: .*no such luck; store an array of a dtype that NumPy has"):
        _codec.encode(Failing(filled(3, "f4")), convert=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError, MemoryError, ZeroDivisionError])
def test_exceptions_of_signal_handlers(error):
    class Interrupted(Offerer):
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise error()

    with pytest.raises(error):
        _codec.encode(Interrupted(None), convert=True)


def test_python_objects():
    value = Offerer(np.array(["a", None], object))
    with pytest.raises(EncodeError, match="never pickles; store np.asarray"):
        _codec.encode(value, convert=True)


def test_without_convert_the_error_names_it():
    for value in (Exporter(filled(3, "f4")), Offerer(filled(3, "f4")), {"a": Offerer(filled(3, "f4"))}):
        with pytest.raises(EncodeError, match="pass convert=True"):
            _codec.encode(value)
        assert taken(value) is not None
    with pytest.raises(EncodeError) as caught:
        _codec.encode([1, 2])
    assert "convert" not in str(caught.value)


class Array(np.ndarray):
    """A subclass of ndarray, such as a quantity with a unit."""


@pytest.mark.parametrize("value", [1, "a", None, [1, 2], (1.5,), {"a": 1}, {"a": [1]}, filled(3, "f4").view(Array), Exporter], ids=str)
def test_what_stays_refused(value):
    with pytest.raises(EncodeError, match="store "):
        _codec.encode(value, convert=True)


def test_numpy_values_are_not_touched():
    frozen = filled(3, "f4")
    frozen.setflags(write=False)
    for value in (frozen, np.float32(1), filled(3, "f4")[::-1], filled((2, 2), "f4").view(np.matrix)):
        assert_identical(taken(value), value)
        assert_identical(roundtrip(value, convert=True), value)
        assert_identical(taken([value])[0], value)


def test_it_says_what_it_took(caplog):
    with caplog.at_level(logging.INFO, "ndring"):
        _codec.encode({"a": Exporter(filled((2, 3), "f4")), "b": filled(3, "f4")}, convert=True)
    assert caplog.messages == [f"converted a {__name__}.Exporter to an array of float32, shape (2, 3)"]
