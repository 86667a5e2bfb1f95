"""Receives a stored array into memory of the caller."""
from __future__ import annotations

from typing import Any, Optional

import numpy as np

from .. import _codec
from .._codec.npy import Header
from .._exceptions import DecodeError, NdringError
from .cluster import Cluster
from .commands import Meta, check_crc, meta_request
from .driver import Work
from .request import Request
from .resp import Reading, ReplyReader, Stored, pack


def get_into(cluster: Cluster, name: bytes, out: np.ndarray[Any, Any], default: Any) -> Work[Any]:
    """Returns ``out`` with the stored data, or ``default`` for a missing key. See ``NumPyRedis.get``."""
    written = False
    meta: Optional[Meta]

    def read(reader: ReplyReader) -> Reading[Optional[Stored]]:
        def choose_buffer(header: Header) -> Optional[memoryview]:
            nonlocal written
            if meta is not None and _same_header(header, meta.header):
                written = True
                return target
            return None  # the array has been replaced since NP.META

        return (yield from reader.stored(choose_buffer))

    for attempt in range(3):
        try:
            # Two replicas may have different arrays for a moment, so later attempts ask the primary.
            request, spread = meta_request(name), attempt == 0
            request.spread = spread
            meta = yield from cluster.one(request)
            if meta is None:
                return default
            target = _codec.check_out(out, meta.header, meta.attrs, meta.parts)
            stored: Optional[Stored] = yield from cluster.one(Request(pack(b"NP.GET", name, b"WITHATTRS"), read, key=name, spread=spread))
            if stored is None:
                return default
            if stored.data is None and stored.attrs == meta.attrs:
                check_crc(stored)
                return out
        except NdringError as exc:
            if written:  # in this round, or in an earlier one before the array was replaced
                exc.args = (f"{exc}; the content of out is undefined",)
            raise
    raise DecodeError("the array was replaced during each of 3 attempts to read it; the content of out is undefined")


def _same_header(a: Header, b: Header) -> bool:
    return a.shape == b.shape and a.fortran == b.fortran and a.nbytes == b.nbytes and repr(a.descr) == repr(b.descr)
