"""Reads and writes files with arrays. Nothing is ever unpickled."""
from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
import warnings
import zipfile
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from .._codec.literal import LiteralError
from .output import Failure, UsageError, reason
from .text import dtype_text, escape_key

#: A dict because numpy 1.24's type stubs lack this argument. In bytes, ndring's limit.
LOAD_OPTIONS: Dict[str, Any] = {"max_header_size": 1 << 20}
#: What numpy raises for bytes that are not an array.
BROKEN = (
    LiteralError, LookupError, ArithmeticError, ValueError, EOFError, OSError, SyntaxError, TypeError, MemoryError, RecursionError,
)  # fmt: skip
_MAGIC = b"\x93NUMPY"
_ZIP = b"PK\x03\x04"
_MAPPED = 1 << 20  # bytes; larger files are mapped into memory rather than read


def name_of(path: str) -> str:
    """Returns a path as it is shown in messages."""
    return escape_key(os.fsencode(path))


def read_array(path: str, entry: Optional[str]) -> np.ndarray[Any, Any]:
    """Returns the array in a file, or on standard input for ``-``. ``entry``: its name in a .npz
    file. Raises Failure."""
    if path == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("standard input is a terminal or closed: redirect it from a .npy file, or name the file")
        return _from_stream(sys.stdin.buffer, "standard input", entry)
    shown = name_of(path)
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size <= _MAPPED:
                return _from_stream(file, shown, entry)
            if entry is None and file.read(len(_MAGIC)) == _MAGIC:
                return _mapped(path, found.st_size, shown)
            file.seek(0)
            return _from_stream(file, shown, entry)
    except OSError as exc:
        raise Failure(f"cannot read {shown}: {reason(exc)}") from exc


def _mapped(path: str, size: int, shown: str) -> np.ndarray[Any, Any]:
    # Copy on write, because an array that is read-only would be stored as such.
    array = _loaded(lambda: np.load(path, mmap_mode="c", allow_pickle=False, **LOAD_OPTIONS), shown)
    end = array.offset + array.nbytes if isinstance(array, np.memmap) else size
    _refuse_rest(size - end, shown)
    plain = array.view(np.ndarray)
    return plain if plain.flags.aligned else plain.copy("K")


def _from_stream(stream: Any, shown: str, entry: Optional[str]) -> np.ndarray[Any, Any]:
    start = stream.read(len(_MAGIC))
    if start.startswith(_ZIP):
        return _from_zip(start + stream.read(), shown, entry)
    if entry is not None:
        raise UsageError(f"--entry is for .npz files, and {shown} is not one")
    if start != _MAGIC:
        raise Failure(f"{shown} is not a .npy file: " + ("it is empty" if not start else "write one with np.save"))
    rest = _Prefixed(start, stream)
    array = _loaded(lambda: np.lib.format.read_array(rest, allow_pickle=False, **LOAD_OPTIONS), shown)
    _refuse_rest(len(rest.read(1)), shown)
    return _with_strides(array)


def _with_strides(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns an array with the usual strides: those that numpy gives empty arrays from files are
    unusual, and would be stored."""
    return array if array.size else np.empty(array.shape, array.dtype)


def _from_zip(data: bytes, shown: str, entry: Optional[str]) -> np.ndarray[Any, Any]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False, **LOAD_OPTIONS) as archive:
            names = archive.files
            if entry in names:
                label = f"{escape_key(os.fsencode(str(entry)))} in {shown}"
                array = _loaded(lambda: archive[entry], label)
                if not isinstance(array, np.ndarray):  # numpy returns the bytes of anything else
                    raise Failure(f"{label} is not a .npy file")
                return _with_strides(array)
    except (zipfile.BadZipFile, *BROKEN) as exc:
        raise Failure(f"{shown} cannot be read as a .npz file: {reason(exc)}") from exc
    listed = ", ".join(escape_key(name.encode("utf-8", "surrogateescape")) for name in names[:20]) + (", ..." if len(names) > 20 else "")
    problem = f"{shown} is a .npz file: name the array with --entry" if entry is None else f"{shown} has no entry {escape_key(os.fsencode(entry))}"
    raise UsageError(f"{problem}; its entries are {listed or 'none'}")


def _loaded(load: Callable[[], Any], shown: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's advice about headers that Python 2 wrote
            return load()
    except BROKEN as exc:
        if "allow_pickle" in str(exc) or "Object arrays" in str(exc):
            raise Failure(f"{shown} has an array of objects, which is a pickle and is never loaded") from exc
        raise Failure(f"{shown} is not a complete .npy file: {reason(exc)}") from exc


def _refuse_rest(size: int, shown: str) -> None:
    if size:
        raise Failure(f"{shown} has further bytes after the array: only files with exactly one array can be stored")


class _Prefixed:
    """A stream of which the first bytes have been read already."""

    def __init__(self, start: bytes, stream: Any) -> None:
        self._start = start
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not self._start:
            return bytes(self._stream.read(size))
        start, self._start = (self._start, b"") if size < 0 else (self._start[:size], self._start[size:])
        return start + self._stream.read(-1 if size < 0 else size - len(start)) if size != len(start) else start


def as_array(value: Any, to_zip: bool) -> Tuple[np.ndarray[Any, Any], List[str]]:
    """Returns what a .npy file can keep of a stored value, and what it cannot keep although all
    elements are in it. Raises Failure where elements would be lost or changed."""
    if isinstance(value, np.ma.MaskedArray) and not to_zip:
        raise Failure("the array is masked, which a .npy file cannot express: write a .npz file with -o FILE.npz")
    array = np.ma.getdata(value)
    plain = np.asarray(array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about dtype.metadata, for which there is a note below
        try:
            descr = np.lib.format.dtype_to_descr(plain.dtype)
            again = np.lib.format.descr_to_dtype(descr)
            # Registered dtypes come back as void, which may even compare equal; records are structs with another class.
            kept = descr != "|O" and again == plain.dtype and (again.type is plain.dtype.type or plain.dtype.names is not None)
        except (TypeError, ValueError):
            kept = False
    if not kept:
        raise Failure(f"a .npy file cannot express the dtype {dtype_text(plain.dtype)}: read the array in Python, with NumPyRedis.get")
    lost = []
    if type(array) is not np.ndarray and not isinstance(array, np.generic):
        lost.append(f"the class {type(array).__name__}")
    if _has_metadata(plain.dtype):
        lost.append("the dtype's metadata")
    return plain, lost


def _has_metadata(dtype: np.dtype[Any]) -> bool:
    if dtype.metadata or dtype.subdtype is not None and _has_metadata(dtype.subdtype[0]):
        return True
    return any(_has_metadata(dtype.fields[name][0]) for name in dtype.names or () if dtype.fields)


def write_npy(file: Any, array: np.ndarray[Any, Any]) -> None:
    """Writes a .npy file to anything that has ``write``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers that old versions of numpy cannot read, and about metadata
        np.lib.format.write_array(_Writer(file), array, allow_pickle=False)


class _Writer:
    """Hides from numpy that a file is one: numpy's own way of writing to files loses the reason of an error."""

    def __init__(self, file: Any) -> None:
        self.write = file.write


def _write_npz(file: Any, value: Any, array: np.ndarray[Any, Any]) -> None:
    entries = {"data": array}
    if isinstance(value, np.ma.MaskedArray):
        entries.update(mask=np.ma.getmaskarray(value), fill_value=np.asarray(value.fill_value))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, entry in entries.items():
            with archive.open(name + ".npy", "w", force_zip64=True) as part:
                write_npy(part, entry)


def save(path: str, value: Any) -> List[str]:
    """Writes a stored value to a file and returns what the file does not keep. A name that ends in
    .npz makes an archive with the entries ``data`` and, for a masked array, ``mask`` and
    ``fill_value``; any other name a .npy file.

    The file appears complete or not at all: it is written under a temporary name beside ``path`` and
    then renamed. Replaces an existing file and keeps its permissions. Devices and pipes are written
    directly. Raises Failure.
    """
    to_zip = path.endswith(".npz")
    array, lost = as_array(value, to_zip)
    target = os.path.realpath(path)  # a link keeps pointing at its file
    try:
        mode = os.stat(target).st_mode if os.path.exists(target) else None
        if mode is not None and not stat.S_ISREG(mode):
            if stat.S_ISDIR(mode):
                raise Failure(f"{name_of(path)} is a directory: name a file in it")
            with open(target, "wb") as file:
                _write(file, value, array, to_zip)
            return lost
        handle, temporary = tempfile.mkstemp(prefix=".ndring-", suffix=".tmp", dir=os.path.dirname(target))
        try:
            with open(handle, "wb") as file:
                _write(file, value, array, to_zip)
            os.chmod(temporary, _default_mode() if mode is None else stat.S_IMODE(mode))
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as exc:
        raise Failure(f"cannot write {name_of(path)}: {reason(exc)}") from exc
    return lost


def _write(file: Any, value: Any, array: np.ndarray[Any, Any], to_zip: bool) -> None:
    if to_zip:
        _write_npz(file, value, array)
    else:
        write_npy(file, array)


def _default_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
