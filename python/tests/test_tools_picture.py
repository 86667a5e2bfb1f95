"""Pictures of arrays, character by character."""
from __future__ import annotations

import numpy as np
import pytest
from ndring._tools import picture
from ndring._tools.picture import ASCII, UNICODE, draw


def lines(values, style=UNICODE):
    return draw(np.asanyarray(values), style).lines


def test_a_ramp():
    assert lines(np.arange(32)) == [
        "                        ▁▂▃▄▅▆▇█",
        "                ▁▂▃▄▅▆▇█████████",
        "        ▁▂▃▄▅▆▇█████████████████",
        "▁▂▃▄▅▆▇█████████████████████████",
    ]
    assert lines(np.arange(12), ASCII) == [
        "         .:#",
        "      .:####",
        "   .:#######",
        ".:##########",
    ]


def test_special_values():
    array = np.array([np.nan, 0, 1, np.inf, -np.inf, 0.5])
    assert lines(array) == ["  █^", "  █  ▁", "  █  █", "?▁█ v█"]
    found = draw(array, UNICODE)
    assert (found.low, found.high) == (0, 1)
    assert lines([[np.nan, 0, 1], [np.inf, -np.inf, 0.5]]) == ["┌──────┐", "│??  ██│", "│^^vv▒▒│", "└──────┘"]


def test_shades():
    assert lines(np.arange(10).reshape(2, 5)) == ["┌──────────┐", "│    ░░░░▒▒│", "│▒▒▓▓▓▓████│", "└──────────┘"]
    assert lines(np.arange(10).reshape(1, 10), ASCII) == ["+--------------------+", "|  ..::--==++**##%%@@|", "+--------------------+"]


@pytest.mark.parametrize("value", [7, -3.5, True, 1e308, np.uint64(2**64 - 1), np.datetime64("2026-01-01"), np.complex64(3 + 4j)])
def test_constant_arrays_are_half_full(value):
    array = np.full(3, value)
    assert lines(array) == ["", "▁▁▁", "███", "███"]
    found = draw(array, UNICODE)
    assert found.low == found.high == np.abs(array[0]) if array.dtype.kind == "c" else array[0]
    assert lines(np.full((1, 2), value)) == ["┌────┐", "│▒▒▒▒│", "└────┘"]


def test_nothing_finite():
    found = draw(np.array([np.nan, np.inf]), UNICODE)
    assert found == ([" ^", "", "", "?"], None, None)
    assert draw(np.array(["NaT"], "M8[s]"), UNICODE) == (["", "", "", "?"], None, None)
    assert draw(np.array([[np.nan]]), UNICODE) == (["┌──┐", "│??│", "└──┘"], None, None)


@pytest.mark.parametrize(
    "array",
    [
        np.array([False, True]),
        np.array([-128, 127], "i1"),
        np.array([0, 2**64 - 1], "u8"),
        np.array([-(2**63), 2**63 - 1], ">i8"),
        np.array([-65504, 65504], "f2"),
        np.array([-1.7976931348623157e308, 1.7976931348623157e308]),
        np.array([0, 5e-324]),
        np.array([1j, -2 - 2j], ">c8"),
        np.array(["1970-01-01", "2026-01-01"], "M8[D]"),
        np.array([-5, 5], "m8[ns]"),
        np.array([0, 1], "g"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_dtypes(array):
    """The least element is at the bottom and the greatest at the top, without a warning."""
    assert picture.is_drawable(array.dtype)
    assert lines(array) == [" █", " █", " █", "▁█"]
    found = draw(array, UNICODE)
    shown = np.abs(array) if array.dtype.kind == "c" else array
    assert (found.low, found.high) == (shown[0], shown[1])


def test_masked_elements_are_blank():
    array = np.ma.array([1.0, 99, 3], mask=[0, 1, 0])
    assert lines(array) == ["  █", "  █", "  █", "▁ █"]
    assert draw(array, UNICODE).high == 3
    assert draw(np.ma.masked_all(2), UNICODE) == ([""] * 4, None, None)


@pytest.mark.parametrize("dtype", ["U3", "S2", "V4", "i4,f8", "O"])
def test_dtypes_without_a_picture(dtype):
    assert not picture.is_drawable(np.dtype(dtype))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 20, 80, 1000])
@pytest.mark.parametrize("shape", [(1,), (79,), (80,), (81,), (10**12,), (1, 1), (20, 39), (21, 40), (3, 10**9), (10**9, 3)])
def test_pictures_fit(shape, width):
    """Whatever the shape, the picture has bounded size and is as wide as allowed at most."""
    steps = picture.steps(shape, width)
    sampled = tuple(-(-length // step) for length, step in zip(shape, steps))
    limit = min(width, picture.MAX_WIDTH)
    if len(shape) == 1:
        assert sampled[0] <= limit and (steps[0] == 1 or sampled[0] > limit / 2)
    else:
        assert sampled[0] <= picture.MAX_LINES and sampled[1] <= max(1, (limit - 2) // 2)
        drawn = lines(np.zeros(sampled))
        assert len(drawn) == sampled[0] + 2 and {len(line) for line in drawn} == {2 * sampled[1] + 2}
    assert all(step == 1 for step, length, most in zip(steps, shape, (20, (limit - 2) // 2)) if length <= most)


@pytest.mark.parametrize(("encoding", "style"), [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII), ("unknown", ASCII)])
def test_the_output_decides_about_the_characters(encoding, style):
    assert picture.style_for(encoding) == style
