"""Any array that numpy can create comes back unchanged."""
from __future__ import annotations

import numpy as np
import strategies
from codec_helpers import roundtrip, unpack
from fidelity import assert_identical, assert_same_collection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ndring import _codec
from ndring._codec import dtypes as _dtypes
from ndring._exceptions import EncodeError

SLOW = settings(deadline=None, max_examples=300, database=None, suppress_health_check=list(HealthCheck))


def spans(array: np.ndarray) -> int:
    """Returns the bytes between the first and the last one that an array touches."""
    low, high = np.lib.array_utils.byte_bounds(array) if hasattr(np.lib, "array_utils") else np.byte_bounds(array)
    return int(high - low)


@SLOW
@given(strategies.arrays())
def test_exact_keeps_everything(array):
    assert_identical(roundtrip(array, layout="exact"), array)


@SLOW
@given(strategies.arrays())
def test_auto_keeps_everything_but_absurd_strides(array):
    kept = spans(array) <= 8 * max(array.nbytes, array.size)
    assert_identical(roundtrip(array), array, layout=kept, flags=kept)
    if not kept:
        back = roundtrip(array)
        assert back.flags.c_contiguous and back.flags.writeable == array.flags.writeable


@SLOW
@given(strategies.arrays())
def test_packed_keeps_the_bytes(array):
    back = roundtrip(array, layout="packed")
    assert_identical(back, array, layout=False, flags=False)
    assert back.flags.c_contiguous or back.flags.f_contiguous


@SLOW
@given(strategies.dtypes(), st.sampled_from([(), (3,), (2, 3), (0, 2), (1, 4)]), st.sampled_from("CF"))
def test_new_arrays_need_attrs_only_for_their_dtype(dtype, shape, order):
    array = np.empty(shape, dtype, order)
    encoded = _codec.encode(array)
    _, node = _dtypes.header_descr(dtype, False)
    assert bool(encoded.attrs) == (node is not None)
    assert encoded.attrs == b"" or b'"py":{"dtype":' in encoded.attrs
    assert array.nbytes == 0 or np.shares_memory(array, np.frombuffer(encoded.data, np.uint8))


@SLOW
@given(strategies.arrays(strategies.leaf_dtypes()), st.sampled_from(["exact", "auto"]))
def test_masked_arrays(array, layout):
    mask = np.random.default_rng(array.size).integers(0, 2, array.shape).astype(bool)
    masked = np.ma.MaskedArray(array, mask, copy=False, hard_mask=array.size % 2 == 0)
    kept = layout == "exact" or spans(array) <= 8 * max(array.nbytes, array.size)
    assert_identical(roundtrip(masked, layout=layout), masked, layout=kept, flags=kept)


@settings(SLOW, max_examples=150)
@given(strategies.values())
def test_what_can_be_stored_comes_back(value):
    try:
        encoded = _codec.encode(value, layout="exact")
    except EncodeError:
        return
    assert_identical(unpack(encoded), value)
    # In the same test, because NumPy 1.24 corrupts its memory now and then when it makes such values.
    assert_same_collection(unpack(_codec.encode([value], layout="exact")), [value])


@SLOW
@given(strategies.arrays(strategies.struct_dtypes(strategies.leaf_dtypes())))
def test_scalars(array):
    if array.size and array.dtype.names:
        scalar = array.ravel()[0]
        if isinstance(scalar, np.void):
            assert_identical(roundtrip(scalar), scalar)
