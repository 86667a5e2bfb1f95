"""``python -m ndring import``: copies arrays that were stored with ``np.save`` out of a Redis.

A value is an array when it is one whole .npy file and no more. Everything else is left where it is and reported; nothing is ever
unpickled.
"""
from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections import Counter
from typing import IO, Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import redis

from ._client import NumPyRedis
from ._exceptions import EncodeError, NdringError
from ._literal import LiteralError

DESCRIPTION = (
    "Copies arrays that were stored as the bytes of np.save out of a Redis, or a Redis Cluster, into ndring. Times to live are "
    "kept. What is no array is reported and not copied. Exit code: 0 if all arrays are in ndring, 1 if some could not be copied, "
    "2 if a server cannot be reached."
)
_MAGIC = b"\x93NUMPY"
_PEEK = 16  # bytes that tell an array from anything else
_SHOWN = 20  # keys of each reason in the report
_BATCH_BYTES = 64 << 20  # that are fetched at once, unless one value alone has more
_LOAD: Dict[str, Any] = {"max_header_size": 1 << 20}  # bytes, as many as ndring takes; apart since numpy 1.24's types lack it
_TRIES = 3  # of a read from a source that is lost


class _Stop(Exception):
    """A reason to end, for the user."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="URL", help="the Redis: redis://[user:password@]host:port[/db], rediss:// or unix://")
    parser.add_argument("--to", metavar="URL", default="redis://localhost:7379", help="a node of ndring (default: %(default)s)")
    parser.add_argument("--match", metavar="PATTERN", help="only keys that match, such as 'features:*'")
    parser.add_argument("--count", metavar="N", type=int, default=500, help="keys a round trip (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace what ndring has under a key already")
    parser.add_argument("--dry-run", action="store_true", help="copy nothing, only report")
    parser.add_argument("--max-array-bytes", metavar="N", type=int, default=512 << 20, help="leave larger values out (default: %(default)s)")
    parser.add_argument("--report", metavar="FILE", help="write what was not copied to FILE, a line of JSON a key")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


class Report:
    """What became of the keys."""

    def __init__(self, file: Optional[IO[str]]) -> None:
        self.counts: Counter[str] = Counter()
        self.bytes = 0
        self.failed = 0
        self._reasons: Dict[str, List[bytes]] = {}
        self._file = file

    def left(self, key: bytes, kind: str, size: Optional[int], reason: str, failed: bool = False) -> None:
        """Notes a key that was not copied."""
        self.failed += failed
        self.counts["left"] += 1
        keys = self._reasons.setdefault(reason, [])
        self.counts["because " + reason] += 1
        if len(keys) < _SHOWN:
            keys.append(key)
        if self._file:
            line = {"key": key.decode("utf8", "backslashreplace"), "type": kind, "bytes": size, "reason": reason, "failed": failed}
            self._file.write(json.dumps(line) + "\n")

    def write(self, out: IO[str], dry: bool) -> None:
        counts = self.counts
        verb = "would be copied" if dry else "copied"
        out.write(
            f"{counts['scanned']} keys: {counts['copied']} arrays {verb} ({_human(self.bytes)}), {counts['there']} were there already, "
            f"{counts['gone']} expired meanwhile, {counts['left']} not copied\n"
        )
        for reason, keys in sorted(self._reasons.items()):
            number = counts["because " + reason]
            out.write(f"\n{number} x {reason}:\n")
            for key in keys:
                shown = repr(key)
                out.write(f"    {shown if len(shown) <= 100 else shown[:97] + '...'}\n")
            if number > len(keys):
                out.write(f"    ... and {number - len(keys)} more\n")


class _Progress:
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self, out: IO[str], total: int, quiet: bool) -> None:
        self._out = out
        self._total = total
        self._quiet = quiet
        self._terminal = out.isatty()
        self._pause = 0.1 if self._terminal else 5.0  # s
        self._next = time.monotonic() + (0 if self._terminal else self._pause)

    def show(self, report: Report, last: bool = False) -> None:
        if self._quiet or (time.monotonic() < self._next and not last):
            return
        self._next = time.monotonic() + self._pause
        done = report.counts["scanned"]
        part = min(1.0, done / self._total) if self._total and not last else 1.0
        text = f"{done} of {max(done, self._total)} keys, {report.counts['copied']} arrays, {_human(report.bytes)}"
        if self._terminal:
            bar = ("#" * round(30 * part)).ljust(30)
            self._out.write(f"\r[{bar}] {text}\x1b[K" + ("\n" if last else ""))
        else:
            self._out.write(text + "\n")
        self._out.flush()


def run(options: argparse.Namespace) -> int:
    if options.count < 1 or options.max_array_bytes < 1:
        print("ndring: --count and --max-array-bytes must be positive", file=sys.stderr)
        return 2
    try:
        file = open(options.report, "w", encoding="utf8") if options.report else None
    except OSError as exc:
        print(f"ndring: cannot write the report: {exc}", file=sys.stderr)
        return 2
    report = Report(file)
    code = 0
    try:
        try:
            source, total = _connect(options.source)
            target = NumPyRedis.from_url(options.to)
            target.ping()
        except (NdringError, redis.RedisError, OSError, ValueError, TypeError) as exc:
            print(f"ndring: cannot connect: {exc}", file=sys.stderr)
            return 2
        progress = _Progress(sys.stderr, total, options.quiet)
        try:
            for keys in _batches(source, options):
                _copy(source, target, keys, options, report, progress)
        except _Stop as exc:
            print(f"ndring: {exc}", file=sys.stderr)
            code = 1
        except KeyboardInterrupt:
            code = 130
        progress.show(report, last=True)
        target.close()
    finally:
        if file:
            file.close()
    report.write(sys.stdout, options.dry_run)
    return code or (1 if report.failed else 0)


def _connect(url: str) -> Tuple[Any, int]:
    """Returns a client of the source and about how many keys there are."""
    source: Any = redis.Redis.from_url(url, socket_timeout=30, socket_connect_timeout=5)
    total = int(source.dbsize())
    if source.info("cluster").get("cluster_enabled"):
        source.close()
        source = redis.RedisCluster.from_url(url, socket_timeout=30, socket_connect_timeout=5)
        sizes = source.dbsize(target_nodes=redis.RedisCluster.PRIMARIES)
        total = sum(sizes.values()) if isinstance(sizes, dict) else int(sizes)
    return source, total


def _again(call: Any) -> Any:
    """Returns what a read from the source returns, and tries it again when the connection is lost."""
    for left in reversed(range(_TRIES)):
        try:
            return call()
        except redis.RedisError as exc:
            if not left or not isinstance(exc, (redis.ConnectionError, redis.TimeoutError)):
                raise _Stop(f"the source fails: {exc}") from exc
            time.sleep(0.5)


def _batches(source: Any, options: argparse.Namespace) -> Iterator[List[bytes]]:
    """Yields the keys in batches. One that SCAN returns twice comes twice; it is there already then."""
    batch: List[bytes] = []
    scan = source.scan_iter(match=options.match, count=options.count)
    while True:
        try:
            key = next(scan, None)
        except redis.RedisError as exc:
            raise _Stop(f"the source fails: {exc}") from exc
        if key is not None:
            batch.append(key)
        if batch and (key is None or len(batch) == options.count):
            yield batch
            batch = []
        if key is None:
            return


def _pipelined(source: Any, *commands: Tuple[Any, ...]) -> List[Any]:
    def call() -> Any:
        with source.pipeline() if isinstance(source, redis.RedisCluster) else source.pipeline(transaction=False) as p:
            for command in commands:
                p.execute_command(*command)
            return p.execute(raise_on_error=False)

    return list(_again(call)) if commands else []


def _copy(
    source: Any, target: NumPyRedis, keys: List[bytes], options: argparse.Namespace, report: Report, progress: _Progress
) -> None:
    kinds = [kind.decode() if isinstance(kind, bytes) else str(kind) for kind in _pipelined(source, *(("TYPE", key) for key in keys))]
    strings = [key for key, kind in zip(keys, kinds) if kind == "string"]
    for key, kind in zip(keys, kinds):
        if kind == "none":
            report.counts["gone"] += 1
        elif kind != "string":
            report.left(key, kind, None, f"a {kind}, no string")
    report.counts["scanned"] += len(keys) - len(strings)
    sizes = _pipelined(source, *(("STRLEN", key) for key in strings))
    starts = _pipelined(source, *(("GETRANGE", key, 0, _PEEK - 1) for key in strings))
    wanted: List[bytes] = []
    waiting = 0
    for key, size, start in zip(strings, sizes, starts):
        reason = _what(start, size, options.max_array_bytes) if isinstance(start, bytes) and isinstance(size, int) else "changed while it was read"
        if reason:
            report.counts["scanned"] += 1
            report.left(key, "string", size if isinstance(size, int) else None, reason)
            continue
        if wanted and waiting + size > _BATCH_BYTES:
            _fetch(source, target, wanted, options, report, progress)
            wanted, waiting = [], 0
        wanted.append(key)
        waiting += size
    _fetch(source, target, wanted, options, report, progress)
    progress.show(report)


def _what(start: bytes, size: int, limit: int) -> Optional[str]:
    """Returns why a value is no array that is copied, None if it may be one."""
    if not start.startswith(_MAGIC):
        if not start:
            return "an empty string"
        if start.startswith(b"PK\x03\x04"):
            return "a zip file, as np.savez writes; save its arrays one by one"
        if start[:1] == b"\x80" and len(start) > 1 and start[1] <= 5:
            return "a pickle, which is never loaded"
        return "no .npy file"
    return f"larger than --max-array-bytes {limit}" if size > limit else None


def _fetch(
    source: Any, target: NumPyRedis, keys: List[bytes], options: argparse.Namespace, report: Report, progress: _Progress
) -> None:
    values = _pipelined(source, *(("GET", key) for key in keys))
    asked = time.monotonic()
    times = _pipelined(source, *(("PTTL", key) for key in keys))
    for key, value, ttl in zip(keys, values, times):
        report.counts["scanned"] += 1
        if value is None or not isinstance(ttl, int) or ttl == -2:
            report.counts["gone"] += 1
        elif isinstance(value, Exception):
            report.left(key, "string", None, f"changed while it was read: {value}", failed=True)
        else:
            left = None if ttl == -1 else ttl - round(1000 * (time.monotonic() - asked))
            if left is not None and left <= 0:
                report.counts["gone"] += 1
            else:
                _store(target, key, value, left, options, report)
        progress.show(report)


def _store(target: NumPyRedis, key: bytes, value: bytes, ttl: Optional[int], options: argparse.Namespace, report: Report) -> None:
    stream = io.BytesIO(value)
    try:
        array = np.load(stream, allow_pickle=False, **_LOAD)
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, KeyError, OverflowError, MemoryError, RecursionError, LiteralError) as exc:
        pickled = "allow_pickle" in str(exc)
        report.left(key, "string", len(value), "an array of objects, which is a pickle" if pickled else "a broken .npy file")
        return
    if stream.read(1):
        report.left(key, "string", len(value), "a .npy file with something behind it")
        return
    try:
        if options.dry_run:
            stored = options.overwrite or not target.exists(key)
        else:
            stored = target.set(key, array, px=ttl, nx=not options.overwrite)
    except EncodeError as exc:
        report.left(key, "string", len(value), f"ndring cannot store it: {exc}", failed=True)
    except NdringError as exc:
        report.left(key, "string", len(value), f"ndring refused it: {exc}", failed=True)
    else:
        report.counts["copied" if stored else "there"] += 1
        report.bytes += array.nbytes if stored else 0


def _human(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
