"""``python -m ndring import``: copies arrays that were stored with ``np.save`` from Redis.

A value counts as an array if it is exactly one complete .npy file. Everything else stays where it
is and is reported. Nothing is ever unpickled.
"""
from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections import Counter
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
import redis

from ._client import NumPyRedis
from ._exceptions import (
    AuthenticationError, ClusterDownError, ConnectionError, EncodeError, NdringError, NoPermissionError, ServerError, TimeoutError, UncertainWrite,
)  # fmt: skip
from ._tools.connect import DEFAULT_URL, connect
from ._tools.npyfile import BROKEN, LOAD_OPTIONS
from ._tools.text import human_time

DESCRIPTION = (
    "Copies arrays that were stored as np.save bytes from Redis or a Redis Cluster into ndring, with their times to live. "
    "Reports values that are not arrays and does not copy them. Exit code: 0 if all arrays are in ndring, 1 if some could not be "
    "copied, 2 if a server cannot be reached or an option is invalid, 130 after Ctrl-C."
)
HELP = "copy arrays from a Redis"
_MAGIC = b"\x93NUMPY"
_PEEK = 16  # bytes at the start of a value that tell an array from anything else
_SHOWN = 20  # keys to list per reason
_BATCH_BYTES = 64 << 20  # bytes to fetch at once, unless a single value is larger
_RETRY = 10.0  # s, for writes to ndring
_TRIES = 4  # per read from the source
_LOST = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ClusterDownError, redis.exceptions.RedisClusterException)
_SOURCE_ERRORS = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)  # the second one is not a RedisError


class _Stop(Exception):
    """Ends the import; its text is for the user."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="URL", help="the Redis server: redis://[user:password@]host:port[/db], rediss:// or unix://")
    parser.add_argument("--to", metavar="URL", help=f"ndring, any node of the cluster (default: --url, NDRING_URL or {DEFAULT_URL})")
    parser.add_argument("--match", metavar="PATTERN", help="only keys that match, such as 'features:*'")
    parser.add_argument("--count", metavar="N", type=int, default=500, help="keys per round trip (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace arrays that already exist in ndring")
    parser.add_argument("--dry-run", action="store_true", help="copy nothing, only report")
    parser.add_argument("--max-array-bytes", metavar="N", type=int, default=512 << 20, help="skip larger arrays (default: %(default)s)")
    parser.add_argument("--report", metavar="FILE", help="write the keys that were not copied to FILE, one line of JSON per key")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


class Report:
    """Counts what happened to the keys."""

    def __init__(self, file: Optional[IO[str]]) -> None:
        self.counts: Counter[str] = Counter()
        self.bytes = 0
        self.failed = 0
        self._reasons: Dict[str, List[str]] = {}
        self._file = file

    def skipped(self, key: bytes, kind: str, size: Optional[int], reason: str, detail: str = "", failed: bool = False) -> None:
        """Records a key that was not copied. Keys are grouped by reason; ``detail`` holds what
        differs between them."""
        self.failed += failed
        self.counts["left"] += 1
        keys = self._reasons.setdefault(reason, [])
        self.counts["because " + reason] += 1
        if len(keys) < _SHOWN:
            about = kind if size is None else f"{kind}, {_human(size)}"
            keys.append(f"{_short(key, 100)}  ({about}{': ' + detail if detail else ''})")
        if self._file:
            # repr(), because decoding the key's bytes could produce the text of another key.
            line = {"key": _short(key, 1000), "type": kind, "bytes": size, "reason": reason, "detail": detail, "failed": failed}
            try:
                self._file.write(json.dumps(line) + "\n")
            except OSError as exc:
                raise _Stop(f"cannot write the report: {exc}") from exc

    def write(self, out: IO[str], dry: bool) -> None:
        counts = self.counts
        verb = "would be copied" if dry else "copied"
        out.write(
            f"{counts['scanned']} keys: {counts['copied']} arrays {verb} ({_human(self.bytes)}), {counts['there']} already there, "
            f"{counts['gone']} expired meanwhile, {counts['left']} not copied"
            f"{f', {self.failed} of them failed' if self.failed else ''}\n"
        )
        for reason, keys in sorted(self._reasons.items()):
            number = counts["because " + reason]
            out.write(f"\n{number} x {reason}:\n")
            for key in keys:
                out.write(f"    {key}\n")
            if number > len(keys):
                out.write(f"    ... and {number - len(keys)} more\n")


class _Progress:
    """A progress bar on a terminal, otherwise a line every few seconds."""

    def __init__(self, out: IO[str], total: int, quiet: bool) -> None:
        self._out = out
        self._total = total
        self._quiet = quiet
        self._terminal = out.isatty()
        self._pause = 0.1 if self._terminal else 5.0  # s
        self._began = time.monotonic()
        self._next = self._began + (0 if self._terminal else self._pause)

    def show(self, report: Report, last: bool = False) -> None:
        if self._quiet or (time.monotonic() < self._next and not last):
            return
        self._next = time.monotonic() + self._pause
        done = report.counts["scanned"]
        part = min(1.0, done / self._total) if self._total and not last else 1.0
        text = f"{done} of {max(done, self._total)} keys, {report.counts['copied']} arrays, {_human(report.bytes)}"
        text += self._speed(report.bytes, part, last)
        self._write(self._with_bar(part, text) + ("\n" if last else "") if self._terminal else text + "\n")

    def stop(self, report: Report) -> None:
        """Leaves what was reached on the terminal, for an import that ends early."""
        if self._terminal and not self._quiet:
            self._next = 0.0
            self.show(report)
            self._write("\n")

    def _speed(self, size: int, part: float, last: bool) -> str:
        """Returns the rate, and the time left if all keys are alike, once there is something to measure."""
        took = time.monotonic() - self._began
        if took < 1:
            return ""
        left = "" if last or not part else f", {human_time(round(took / part - took))} left"
        return f", {_human(size / took)}/s{left}"

    def _with_bar(self, part: float, text: str) -> str:
        """Returns a line that fits the terminal, because a line that wraps cannot be overwritten."""
        room = _columns(self._out) - len(text) - 4
        if room < 10:
            return f"\r{text[: room + len(text) + 3]}\x1b[K"
        bar = min(30, room)
        return f"\r[{('#' * round(bar * part)).ljust(bar)}] {text}\x1b[K"

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _columns(out: IO[str]) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns or 80
    except (OSError, ValueError):  # without a descriptor
        return 80


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
    target: Optional[NumPyRedis] = None
    try:
        try:
            source, total, options.exact = _connect(options.source)
            if options.to:
                options.url = options.to
            target = connect(options, retry=_RETRY)
            target.ping()
        except (NdringError, ValueError, TypeError, *_SOURCE_ERRORS) as exc:
            print(f"ndring: cannot connect: {' '.join(str(exc).split())}", file=sys.stderr)
            return 2
        progress = _Progress(sys.stderr, total, options.quiet)
        try:
            for keys in _batches(source, options):
                _copy(source, target, keys, options, report, progress)
        except _Stop as exc:
            progress.stop(report)
            print(f"ndring: {exc}", file=sys.stderr)
            code = 1
        else:
            progress.show(report, last=True)
    except KeyboardInterrupt:
        code = 130
        print(file=sys.stderr)  # ends the line with the bar and the terminal's ^C
    finally:
        if target is not None:
            target.close()
        try:
            if file:
                file.close()
        except OSError as exc:
            print(f"ndring: cannot write the report: {exc}", file=sys.stderr)
            code = code or 1
    if sys.stdout is not None:
        report.write(sys.stdout, options.dry_run)
    return code or (1 if report.failed else 0)


def _connect(url: str) -> Tuple[Any, int, bool]:
    """Returns a client for the source, approximately how many keys it has, and whether it supports
    PEXPIRETIME."""
    patience = {"socket_timeout": 30} if url.startswith("unix:") else {"socket_timeout": 30, "socket_connect_timeout": 5}
    source: Any = redis.Redis.from_url(url, **patience)
    total = int(source.dbsize())
    # Tested here, because redis-py's cluster client raises from the whole pipeline if a server does
    # not know a command.
    exact = True
    try:
        source.execute_command("PEXPIRETIME", "k")
    except (redis.exceptions.MovedError, redis.exceptions.ClusterDownError):
        pass  # the server knows the command, but does not serve this key
    except redis.ResponseError:
        exact = False
    info = source.info()
    if "ndring_version" in info:
        raise ValueError("the source is ndring itself, not Redis")
    if info.get("cluster_enabled"):
        source.close()
        try:
            source = redis.RedisCluster.from_url(url, **patience)
        except IndexError as exc:  # raised by redis-py if no server has slots
            raise redis.exceptions.ClusterDownError("the source is a cluster without slots") from exc
        total = sum(int(node.dbsize()) for node in _nodes(source))
    return source, total, exact


def _nodes(source: Any) -> List[Any]:
    """Returns a client for each server that holds keys."""
    if isinstance(source, redis.RedisCluster):
        return [source.get_redis_connection(node) for node in source.get_primaries()]
    return [source]


def _retry(call: Callable[[], Any]) -> Any:
    """Returns the result of a read from the source. Retries after a lost connection."""
    left = _TRIES
    while True:
        try:
            return call()
        except _SOURCE_ERRORS as exc:
            left -= 1
            if not left or not isinstance(exc, _LOST):
                raise _Stop(f"the source fails: {' '.join(str(exc).split())}") from exc
            time.sleep(0.5)


def _batches(source: Any, options: argparse.Namespace) -> Iterator[List[bytes]]:
    """Yields the keys in batches. SCAN may return a key twice; the second time the array already
    exists in ndring."""
    for node in _nodes(source):
        cursor = 0
        while True:
            # Not scan_iter: a cursor survives a lost connection, a generator that raised does not.
            cursor, keys = _retry(lambda: node.scan(cursor, match=options.match, count=options.count))
            for start in range(0, len(keys), options.count):
                yield keys[start : start + options.count]
            if cursor == 0:
                break


def _pipelined(source: Any, *commands: Tuple[Any, ...]) -> List[Any]:
    def call() -> Any:
        with source.pipeline() if isinstance(source, redis.RedisCluster) else source.pipeline(transaction=False) as p:
            for command in commands:
                p.execute_command(*command)
            return p.execute(raise_on_error=False)

    return list(_retry(call)) if commands else []


def _copy(
    source: Any, target: NumPyRedis, keys: List[bytes], options: argparse.Namespace, report: Report, progress: _Progress
) -> None:
    kinds = _pipelined(source, *(("TYPE", key) for key in keys))
    strings = [key for key, kind in zip(keys, kinds) if kind in (b"string", "string")]
    others = [(key, kind) for key, kind in zip(keys, kinds) if kind not in (b"string", "string")]
    # The memory usage of the other values is only informative: some servers do not support the command.
    usage = _pipelined(source, *(("MEMORY USAGE", key) for key, _ in others))
    for (key, kind), size in zip(others, usage):
        report.counts["scanned"] += 1
        name = kind.decode() if isinstance(kind, bytes) else str(kind)
        if isinstance(kind, Exception):
            _record_refusal(report, key, kind)
        elif name == "none":
            report.counts["gone"] += 1
        else:
            report.skipped(key, name, size if isinstance(size, int) else None, f"a {name}, not a string")
    looks = _pipelined(source, *(c for key in strings for c in (("STRLEN", key), ("GETRANGE", key, 0, _PEEK - 1), ("EXISTS", key))))
    wanted: List[bytes] = []
    waiting = 0
    for key, size, start, there in zip(strings, looks[::3], looks[1::3], looks[2::3]):
        error = next((x for x in (size, start) if isinstance(x, Exception)), None)
        reason = None if error else _skip_reason(start, size, options.max_array_bytes)
        if error or reason:
            report.counts["scanned"] += 1
            if error:
                _record_refusal(report, key, error)
            elif size == 0 and there == 0:
                report.counts["gone"] += 1
            else:
                report.skipped(key, "string", size, str(reason))
            continue
        if wanted and waiting + size > _BATCH_BYTES:
            _fetch(source, target, wanted, options, report, progress)
            wanted, waiting = [], 0
        wanted.append(key)
        waiting += size
    _fetch(source, target, wanted, options, report, progress)
    progress.show(report)


def _record_refusal(report: Report, key: bytes, error: Exception) -> None:
    """Records a key that the source does not return. It may be an array, so this counts as a failure."""
    if str(error).startswith("WRONGTYPE"):
        report.skipped(key, "unknown", None, "changed its type during the import")
    else:
        report.skipped(key, "unknown", None, f"the source does not return it: {error}", failed=True)


def _skip_reason(start: bytes, size: int, limit: int) -> Optional[str]:
    """Returns why a value is not an array to copy, or None if it may be one."""
    if not start.startswith(_MAGIC):
        if not start:
            return "an empty string"
        if start.startswith(b"PK\x03\x04"):
            return "a zip file as written by np.savez; save its arrays one by one"
        if start[:1] == b"\x80" and len(start) > 1 and start[1] <= 5:
            return "a pickle, which is never loaded"
        return "not a .npy file"
    return f"larger than --max-array-bytes {limit}" if size > limit else None


def _fetch(
    source: Any, target: NumPyRedis, keys: List[bytes], options: argparse.Namespace, report: Report, progress: _Progress
) -> None:
    # PTTL counts from when the source replies, so a slow network makes the expiry slightly late;
    # PEXPIRETIME (Redis 7.0) avoids that.
    expiry = "PEXPIRETIME" if options.exact else "PTTL"
    found = _pipelined(source, *(c for key in keys for c in (("GET", key), (expiry, key))))
    asked = round(1000 * time.time())
    for key, value, at in zip(keys, found[::2], found[1::2]):
        report.counts["scanned"] += 1
        error = next((x for x in (value, at) if isinstance(x, Exception)), None)
        if error:
            _record_refusal(report, key, error)
            continue
        if at >= 0 and not options.exact:
            at += asked
        if value is None or at == -2 or 0 <= at <= 1000 * time.time():
            report.counts["gone"] += 1
            continue
        reason = _skip_reason(value[:_PEEK], len(value), options.max_array_bytes)  # again, since the value may have changed
        if reason:
            report.skipped(key, "string", len(value), reason)
        else:
            _store(target, key, value, None if at == -1 else at, options, report)
        progress.show(report)


def _store(target: NumPyRedis, key: bytes, value: bytes, at: Optional[int], options: argparse.Namespace, report: Report) -> None:
    stream = io.BytesIO(value)
    try:
        array = np.load(stream, allow_pickle=False, **LOAD_OPTIONS)
    except BROKEN as exc:
        pickled = "allow_pickle" in str(exc)
        report.skipped(key, "string", len(value), "an array of objects, which is a pickle" if pickled else "a broken .npy file")
        return
    if stream.read(1):
        report.skipped(key, "string", len(value), "a .npy file followed by other bytes")
        return
    try:
        if options.dry_run:
            stored = options.overwrite or not target.exists(key)
        else:
            stored = target.set(key, array, pxat=at, nx=not options.overwrite)
    except NoPermissionError as exc:  # perhaps of this key only
        report.skipped(key, "string", len(value), "the user may not store it", str(exc), failed=True)
    except (ConnectionError, TimeoutError, AuthenticationError, ClusterDownError, UncertainWrite) as exc:
        # The next keys would fail too, each only after seconds of retrying.
        report.skipped(key, "string", len(value), "the connection to ndring was lost", str(exc), failed=True)
        raise _Stop(f"ndring fails: {exc}") from exc
    except EncodeError as exc:
        report.skipped(key, "string", len(value), "ndring cannot store it", str(exc), failed=True)
    except NdringError as exc:
        answer = exc.prefix if isinstance(exc, ServerError) else type(exc).__name__
        report.skipped(key, "string", len(value), f"ndring refused it: {answer}", str(exc), failed=True)
    else:
        report.counts["copied" if stored else "there"] += 1
        report.bytes += array.nbytes if stored else 0


def _human(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _short(key: bytes, limit: int) -> str:
    shown = repr(key)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
