"""``python -m ndring get`` and ``set``."""
from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from . import npyfile
from .connect import add_key, connect, key_of, no_such_key, positive_int
from .output import FAILED, OK, Failure, Output, complain

GET_HELP = "write an array to a .npy file, or show it"
GET_DESCRIPTION = (
    "Writes an array to FILE, which becomes a .npy file, or a .npz file if its name ends so. FILE appears complete or not at all, and an existing FILE is "
    "replaced. Without -o, a terminal gets the array as NumPy prints it, shortened, and a pipe or a redirected file gets the bytes of a .npy file."
)
SET_HELP = "store the array of a .npy file"
SET_DESCRIPTION = "Stores the array of a .npy file, or an array of a .npz file. Never unpickles. Exit code: 1 if --nx or --xx prevented it."


def add_get_arguments(parser: argparse.ArgumentParser) -> None:
    add_key(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write; - for standard output")


def get(options: argparse.Namespace, out: Output) -> int:
    key = key_of(options)
    with connect(options) as client:
        value = client.get(key)
    if value is None:
        raise Failure(no_such_key(out, key))
    if options.output is None and out.is_terminal:
        out.line(_printed(value))
        return OK
    if options.output in (None, "-"):
        array, lost = npyfile.as_array(value, False)
        npyfile.write_npy(out, array)
        out.flush()
    else:
        lost = npyfile.save(options.output, value)
    if lost:
        complain(f"note: the file does not keep {' and '.join(lost)}")
    return OK


def _printed(value: Any) -> str:
    with np.printoptions(threshold=1000, edgeitems=3):
        return str(value)


def add_set_arguments(parser: argparse.ArgumentParser) -> None:
    add_key(parser)
    parser.add_argument("file", metavar="FILE", help="the .npy or .npz file; - for standard input")
    parser.add_argument("--entry", metavar="NAME", help="which array of a .npz file")
    ttl = parser.add_mutually_exclusive_group()
    ttl.add_argument("--ex", metavar="SECONDS", type=positive_int, help="time to live")
    ttl.add_argument("--px", metavar="MILLISECONDS", type=positive_int, help="time to live")
    condition = parser.add_mutually_exclusive_group()
    condition.add_argument("--nx", action="store_true", help="only if KEY does not exist")
    condition.add_argument("--xx", action="store_true", help="only if KEY exists")


def set_(options: argparse.Namespace, out: Output) -> int:
    key = key_of(options)
    with connect(options) as client:
        array = npyfile.read_array(options.file, options.entry)
        if client.set(key, array, ex=options.ex, px=options.px, nx=options.nx, xx=options.xx):
            return OK
    complain(f"not stored: {out.key(key)} {'exists already' if options.nx else 'does not exist'}")
    return FAILED
