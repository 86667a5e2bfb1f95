"""``python -m ndring info``."""
from __future__ import annotations

import argparse
import json
import shutil
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from .. import BoundsError, DecodeError, Meta, NumPyRedis
from . import picture
from .connect import add_key, connect, key_of, no_such_key, positive_int
from .output import OK, Failure, Output, reason
from .text import dtype_json, dtype_text, escape_key, human_size, human_time, one_line, seconds_left, shape_text

HELP = "describe an array and draw it"
DESCRIPTION = (
    "Describes an array: dtype, shape, size, time to live, version and checksum. Draws 1-d and 2-d arrays of numbers, for which it reads only as many "
    "elements as the picture shows. In a picture ? is NaN, ^ is infinity and v is negative infinity."
)
_SMALL = 4096  # bytes; so small an array is read whole, masked ones too
_ATTRS = 60  # characters of attrs to show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_key(parser)
    parser.add_argument("--json", action="store_true", help="write a JSON object, without the picture")
    parser.add_argument("--no-picture", action="store_true", help="do not draw")
    parser.add_argument("--width", metavar="N", type=positive_int, help="characters per line of the picture (default: the terminal's)")


def run(options: argparse.Namespace, out: Output) -> int:
    key = key_of(options)
    with connect(options) as client:
        meta = client.meta(key)
        if meta is None:
            raise Failure(no_such_key(out, key))
        memory = client.memory_usage(key)
        if options.json:
            out.line(json.dumps(_as_json(out.key(key), meta, memory)))
            return OK
        for name, text in _facts(out.key(key), meta, memory):
            out.line(f"{name + ':':<9} {text}")
        if not options.no_picture:
            width = options.width or shutil.get_terminal_size((80, 24)).columns
            for line in _picture(client, key, meta, width, picture.style_for(out.encoding)):
                out.line(line)
    return OK


def _facts(key: str, meta: Meta, memory: Optional[int]) -> List[Tuple[str, str]]:
    seconds = seconds_left(meta.pttl)
    facts = [
        ("key", key),
        ("dtype", dtype_text(meta.dtype)),
        ("shape", shape_text(meta.shape)),
        ("order", "Fortran" if meta.fortran_order else "C"),
        ("bytes", _size(meta.nbytes)),
        ("memory", "unknown" if memory is None else _size(memory)),
        ("ttl", "none" if seconds is None else f"{seconds} s" + (f" ({human_time(seconds)})" if seconds >= 60 else "")),
        ("version", one_line(meta.version)),
        ("crc32c", f"{meta.crc32c:08x}"),
    ]
    if meta.attrs:
        facts.append(("attrs", f"{len(meta.attrs)} bytes: {_attrs_summary(meta.attrs)}"))
    if meta.parts:
        facts.append(("parts", ", ".join(f"{one_line(name)} {_size(size)}" for name, size in meta.parts.items())))
    return facts


def _size(size: int) -> str:
    return f"{size}" if size < 1024 else f"{size} ({human_size(size)})"


def _attrs_summary(attrs: bytes) -> str:
    text = escape_key(attrs)
    return text if len(text) <= _ATTRS else text[: _ATTRS - 3] + "..."


def _as_json(key: str, meta: Meta, memory: Optional[int]) -> Dict[str, Any]:
    attrs: Any = None
    if meta.attrs:
        try:
            attrs = json.loads(meta.attrs)
        except (ValueError, RecursionError):  # stored by another program
            attrs = escape_key(meta.attrs)
    return {
        "key": key, "dtype": dtype_json(meta.dtype), "shape": list(meta.shape), "order": "F" if meta.fortran_order else "C",
        "itemsize": meta.itemsize, "size": meta.size, "bytes": meta.nbytes, "npy_bytes": meta.npy_bytes, "memory_bytes": memory,
        "ttl_ms": None if meta.pttl < 0 else meta.pttl, "version": meta.version, "crc32c": meta.crc32c, "attrs": attrs, "parts": dict(meta.parts),
    }  # fmt: skip


def _picture(client: NumPyRedis, key: bytes, meta: Meta, width: int, style: picture.Style) -> List[str]:
    """Returns the lines after the facts. Reads a part of the array whose size does not depend on the
    array's."""
    if not meta.size or len(meta.shape) > 2:
        return ["", "no picture: the array is empty" if not meta.size else "no picture: the array has more than two axes"]
    if meta.shape and not picture.is_drawable(meta.dtype):
        return ["", f"no picture of dtype {dtype_text(meta.dtype)}"]
    if not meta.shape and meta.itemsize > _SMALL:
        return ["", f"no picture: the element has {meta.itemsize} bytes"]
    steps = picture.steps(meta.shape, width)
    try:
        sample = _sample(client, key, meta, steps)
    except (KeyError, BoundsError):
        return ["", "no picture: the array was deleted or replaced meanwhile"]
    except DecodeError as exc:
        return ["", f"no picture: {one_line(reason(exc))}"]
    if not meta.shape:
        return [f"{'value:':<9} {one_line(str(sample))}"]
    try:
        drawn = picture.draw(sample, style)
    except (TypeError, ValueError):  # a registered dtype that does not convert to float
        return ["", f"no picture of dtype {dtype_text(meta.dtype)}"]
    return ["", *drawn.lines, _legend(meta, steps, drawn)]


def _sample(client: NumPyRedis, key: bytes, meta: Meta, steps: Tuple[int, ...]) -> Any:
    if meta.nbytes + sum(meta.parts.values()) + len(meta.attrs or b"") <= _SMALL:
        value = client.get(key)
        if value is None or np.shape(value) != meta.shape:
            raise KeyError(key)
        sample = value[tuple(slice(None, None, step) for step in steps)] if steps else value
        return np.ma.asarray(sample) if isinstance(sample, np.ma.MaskedArray) else np.asarray(sample) if steps else sample
    sample = client.view(key)[tuple(slice(None, None, step) for step in steps)]
    if sample.ndim != len(steps) or sample.size > picture.MAX_LINES * picture.MAX_WIDTH or not picture.is_drawable(sample.dtype):
        raise KeyError(key)
    return sample


def _legend(meta: Meta, steps: Tuple[int, ...], drawn: picture.Picture) -> str:
    """Returns the line below the picture: the range of the values, and which elements it shows."""
    what = "absolute values " if meta.dtype.kind == "c" else ""
    if drawn.low is None:
        spread = "no finite values"
    elif drawn.low == drawn.high:
        spread = f"{what}all {_value(drawn.low)}"
    else:
        spread = f"{what}{_value(drawn.low)} to {_value(drawn.high)}"
    if all(step == 1 for step in steps):
        return spread
    if len(steps) == 1:
        return f"{spread}, in every {_ordinal(steps[0])} element"
    names = [f"every {'' if step == 1 else _ordinal(step) + ' '}{axis}" for step, axis in zip(steps, ("row", "column"))]
    return f"{spread}, in {' and '.join(names)}"


def _value(value: Any) -> str:
    return one_line(f"{value:.6g}" if value.dtype.kind in "fc" else str(value))


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
