"""TLS: the options, the context made of them, and what its errors mean."""
from __future__ import annotations

import errno
import os
import ssl
from typing import Any, Dict, Mapping, NoReturn, Optional, Tuple

from .._exception_origin import is_tls_setup_error
from .._exceptions import ConnectionError, TimeoutError
from .slots import Address

TLS_OPTIONS = (
    "ssl_keyfile", "ssl_certfile", "ssl_password", "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_check_hostname",
    "ssl_min_version", "ssl_ciphers", "ssl_validate_ocsp", "ssl_validate_ocsp_stapled", "ssl_ocsp_context", "ssl_ocsp_expected_cert", "ssl_context",
)  # fmt: skip
_FILES = ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_path")
_REQUIREMENTS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class TlsOptions(Dict[str, Any]):
    """redis-py's options by name. All connections of a client share one context, which is made
    again when a file has changed: then new connections have the new certificate."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._made: Optional[Tuple[object, ssl.SSLContext]] = None

    def context(self) -> ssl.SSLContext:
        """Returns a context that checks certificate and host name unless the options say otherwise.
        Raises OSError or ValueError for unusable files."""
        given: Optional[ssl.SSLContext] = self.get("ssl_context")
        if given is not None:
            return given
        made = self._made
        try:
            found = tuple(_identity(self[name]) for name in _FILES if self.get(name))
            if made is None or made[0] != found:
                made = self._made = found, _context(self)
        except (OSError, ValueError) as exc:
            if made is None or not is_tls_setup_error(exc):
                raise
            # The files are being replaced, and do not match: the next connection tries again.
        return made[1]


def tls_options(options: Dict[str, Any]) -> TlsOptions:
    """Removes the TLS options from ``options`` and returns them. Raises TypeError or ValueError for
    an invalid value."""
    found = {name: options.pop(name) for name in TLS_OPTIONS if name in options}
    for name in TLS_OPTIONS:
        if "ocsp" in name and found.pop(name, None):
            raise ValueError(f"ndring does not support redis-py's option {name}: it checks certificates without OCSP")
    if found.get("ssl_context") is None:
        found.pop("ssl_context", None)
    elif not isinstance(found["ssl_context"], ssl.SSLContext):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, not {found['ssl_context']!r}")
    elif len(found) > 1:
        raise ValueError(f"ssl_context excludes {', '.join(sorted(found.keys() - {'ssl_context'}))}: set them in the context")
    wanted = found.get("ssl_cert_reqs")
    if isinstance(wanted, str) and wanted.lower() not in _REQUIREMENTS:
        raise ValueError(f"ssl_cert_reqs must be one of {sorted(_REQUIREMENTS)}, not {wanted!r}")
    if found.get("ssl_min_version") is not None:
        found["ssl_min_version"] = _version(found["ssl_min_version"])
    if found.get("ssl_keyfile") and not found.get("ssl_certfile"):
        raise ValueError("ssl_keyfile requires ssl_certfile, the certificate of this key")
    return TlsOptions(found)


def _version(value: Any) -> ssl.TLSVersion:
    """Returns a TLS version. In a URL it is a name: ``TLSv1_2`` or ``TLSv1.2``."""
    try:
        if not isinstance(value, str):
            return ssl.TLSVersion(value)
        return next(version for version in ssl.TLSVersion if version.name.lower() == value.lower().replace(".", "_"))
    except (StopIteration, ValueError):
        names = ", ".join(version.name for version in ssl.TLSVersion if version.name.startswith("TLS"))
        raise ValueError(f"ssl_min_version must be one of {names}, not {value!r}") from None


def _identity(path: Any) -> Tuple[int, ...]:
    """Returns what changes when a file is replaced or written."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _context(options: Mapping[str, Any]) -> ssl.SSLContext:
    # With a CA of its own a client trusts no other, so the system's are loaded only without one.
    context = ssl.create_default_context(
        cafile=options.get("ssl_ca_certs") or None, capath=options.get("ssl_ca_path") or None, cadata=options.get("ssl_ca_data") or None
    )
    wanted = options.get("ssl_cert_reqs", "required")
    if isinstance(wanted, str):
        wanted = _REQUIREMENTS[wanted.lower()]
    checked = options.get("ssl_check_hostname")
    context.check_hostname = (checked is None or bool(checked)) and wanted not in (None, ssl.CERT_NONE)
    context.verify_mode = ssl.CERT_NONE if wanted is None else wanted
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password") or _no_password)
    if options.get("ssl_min_version") is not None:
        context.minimum_version = options["ssl_min_version"]
    if options.get("ssl_ciphers"):
        context.set_ciphers(options["ssl_ciphers"])
    return context


def _no_password() -> NoReturn:
    """Without it OpenSSL would ask for the password on the terminal."""
    raise ValueError("the private key is encrypted: pass ssl_password")


# What errors mean

_UNTRUSTED = frozenset({2, 18, 19, 20, 21, 27})  # X509_V_ERR_...: no chain to a trusted CA
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
_NO_CERTIFICATE = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_NO_CERTIFICATE", "SSLV3_ALERT_HANDSHAKE_FAILURE"})
_BAD_CERTIFICATE = frozenset({
    "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_CERTIFICATE_REVOKED", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "TLSV1_ALERT_ACCESS_DENIED",
})  # fmt: skip
_NO_COMMON_VERSION = frozenset({
    "TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "TLSV1_ALERT_INSUFFICIENT_SECURITY", "NO_CIPHERS_AVAILABLE",
})  # fmt: skip
#: Errors of sending that mean that the node has closed the connection.
CLOSED = frozenset({errno.EPIPE, errno.ECONNRESET})


def is_closed(exc: OSError) -> bool:
    """Whether an error of sending means that the node has closed the connection. What it sent before may still be read."""
    return exc.errno in CLOSED and not isinstance(exc, ssl.SSLError) or isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError))


def explain_alert(error: ConnectionError, cause: ssl.SSLError) -> None:
    """Says in an error what is wrong if the node has refused a client's certificate. In TLS 1.3 it
    does so after the handshake."""
    reason = cause.reason or ""
    if reason in _NO_CERTIFICATE:
        error.args = (f"a client certificate is required: pass ssl_certfile= and ssl_keyfile= ({reason})",)
    elif reason in _BAD_CERTIFICATE:
        error.args = (f"the node does not accept the client certificate of ssl_certfile=, or requires one ({reason})",)
    elif reason in _NO_COMMON_VERSION:
        error.args = (f"the node and this client have no TLS version and cipher in common ({reason})",)
    else:
        return
    error.hopeless = True


def explain_handshake(error: ConnectionError, address: Address) -> None:
    """Says in the error of a handshake what is wrong."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        error.hopeless = True
        hint = "; ssl_ca_certs= names the CA to trust" if cause.verify_code in _UNTRUSTED else ""
        error.args = (f"the certificate of {address} is not valid: {(cause.verify_message or str(error)).rstrip('.')}{hint}",)
    elif isinstance(cause, ssl.SSLError) and cause.reason in _NOT_TLS:
        error.hopeless = True
        error.args = (f"{address} does not speak TLS: use redis:// instead of rediss:// ({error})",)
    elif isinstance(cause, OSError) and (is_closed(cause) or "EOF" in str(getattr(cause, "reason", ""))):
        error.args = (f"{address} closed the connection during the TLS handshake: does this port speak TLS? ({error})",)


def explain_silence(error: TimeoutError) -> None:
    """Says in the error of a handshake that took too long where it happened."""
    error.args = (f"{error} during the TLS handshake: does this port speak TLS?",)


def options_error(exc: Exception) -> ConnectionError:
    error = ConnectionError(f"invalid ssl_* options: {exc}")
    error.hopeless = True
    return error
