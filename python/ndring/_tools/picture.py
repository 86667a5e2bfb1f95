"""Pictures of small 1-d and 2-d arrays as text. Nothing here talks to a node or to a terminal.

A 1-d array becomes a column chart, one character per element. A 2-d array becomes a block of
shades, two characters per element, which makes an element approximately square. In both, ``?`` is
NaN or NaT, ``^`` infinity and ``v`` negative infinity.
"""
from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

ROWS = 4  # lines of a column chart
MAX_LINES = 20  # rows of a block of shades
MAX_WIDTH = 200  # characters, however wide the terminal is


class Style(NamedTuple):
    """The characters of a picture. ``columns``: from an empty cell to a full one. ``shades``: from
    the least value to the greatest. ``frame``: corners from top left to bottom right, then a
    horizontal and a vertical line."""

    columns: str
    shades: str
    frame: str


UNICODE = Style(" ▁▂▃▄▅▆▇█", " ░▒▓█", "┌┐└┘─│")
ASCII = Style(" .:#", " .:-=+*#%@", "++++-|")


class Picture(NamedTuple):
    """``lines``: of the picture. ``low``, ``high``: the least and the greatest finite element, None
    if there is none."""

    lines: List[str]
    low: Any
    high: Any


def style_for(encoding: Optional[str]) -> Style:
    """Returns the style that an output with this encoding can show."""
    try:
        "".join(UNICODE).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def is_drawable(dtype: np.dtype[Any]) -> bool:
    """Returns whether elements of this dtype have a size that a picture can show."""
    if dtype.kind in "biufcmM":
        return True
    # Registered dtypes, such as bfloat16, are of kind V as well.
    return dtype.kind == "V" and dtype.names is None and dtype.type is not np.void


def steps(shape: Tuple[int, ...], width: int) -> Tuple[int, ...]:
    """Returns the step along each axis at which a 1-d or 2-d array fits into a picture."""
    width = min(width, MAX_WIDTH)
    limits = (width,) if len(shape) == 1 else (MAX_LINES, (width - 2) // 2)
    return tuple(max(1, -(-length // max(1, limit))) for length, limit in zip(shape, limits))


def draw(array: np.ndarray[Any, Any], style: Style) -> Picture:
    """Draws a 1-d or 2-d array that is not empty and has a dtype for which ``is_drawable``. Masked
    elements are blank."""
    mask = np.ma.getmaskarray(array)
    plain = np.ma.getdata(array)
    values = _as_floats(plain)
    finite = np.isfinite(values) & ~mask
    levels, low, high = _levels(values, finite)
    marks = np.where(mask, " ", np.where(np.isnan(values), "?", np.where(values > 0, "^", "v")))
    lines = _columns(levels, finite, marks, style) if array.ndim == 1 else _shades(levels, finite, marks, style)
    if low is None:
        return Picture(lines, None, None)
    shown = np.abs(plain) if plain.dtype.kind == "c" else plain
    return Picture(lines, shown[low], shown[high])


def _as_floats(plain: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns the elements as float64, NaT as NaN and complex numbers as their absolute values."""
    if plain.dtype.kind in "mM":
        return np.where(np.isnat(plain), np.nan, plain.astype(np.int64).astype(np.float64))
    with np.errstate(over="ignore", invalid="ignore"):  # a longdouble beyond float64 becomes infinity
        return np.asarray((np.abs(plain) if plain.dtype.kind == "c" else plain).astype(np.float64))


def _levels(values: np.ndarray[Any, Any], finite: np.ndarray[Any, Any]) -> Tuple[np.ndarray[Any, Any], Any, Any]:
    """Returns each element as a number from 0 for the least finite one to 1 for the greatest, and
    the places of these two; 0.5 for all if they are equal."""
    if not finite.any():
        return np.zeros(values.shape), None, None
    low = np.unravel_index(np.where(finite, values, np.inf).argmin(), values.shape)
    high = np.unravel_index(np.where(finite, values, -np.inf).argmax(), values.shape)
    base, top = values[low], values[high]
    if base == top:
        return np.full(values.shape, 0.5), low, high
    known = np.where(finite, values, base)
    if top / 2 - base / 2 > np.finfo(np.float64).max / 2:  # the range does not fit into a float64
        known, base, top = known / 2, base / 2, top / 2
    return (known - base) / (top - base), low, high


def _columns(levels: np.ndarray[Any, Any], finite: np.ndarray[Any, Any], marks: np.ndarray[Any, Any], style: Style) -> List[str]:
    full = len(style.columns) - 1
    # The least element has the height 1, because a column without a height looks like no element.
    heights = np.where(finite, 1 + np.rint(levels * (ROWS * full - 1)).astype(int), 0)
    lines = []
    for row in range(ROWS - 1, -1, -1):
        cells = np.clip(heights - row * full, 0, full)
        place = {"^": ROWS - 1}
        line = (
            style.columns[cell] if drawn else mark if row == place.get(mark, 0) else " "
            for cell, drawn, mark in zip(cells.tolist(), finite.tolist(), marks.tolist())
        )  # fmt: skip
        lines.append("".join(line).rstrip())
    return lines


def _shades(levels: np.ndarray[Any, Any], finite: np.ndarray[Any, Any], marks: np.ndarray[Any, Any], style: Style) -> List[str]:
    count = len(style.shades)
    shades = np.minimum((levels * count).astype(int), count - 1)
    top_left, top_right, bottom_left, bottom_right, horizontal, vertical = list(style.frame)
    edge = horizontal * (2 * levels.shape[1])
    lines = [top_left + edge + top_right]
    for row in zip(shades.tolist(), finite.tolist(), marks.tolist()):
        cells = "".join(2 * (style.shades[shade] if drawn else mark) for shade, drawn, mark in zip(*row))
        lines.append(vertical + cells + vertical)
    lines.append(bottom_left + edge + bottom_right)
    return lines
