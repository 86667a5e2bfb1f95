"""Creates a TLS context from redis-py's options."""
from __future__ import annotations

import ssl
from typing import Any, Dict, Mapping

TLS_OPTIONS = (
    "ssl_keyfile", "ssl_certfile", "ssl_password", "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_check_hostname",
    "ssl_min_version", "ssl_ciphers", "ssl_validate_ocsp", "ssl_validate_ocsp_stapled", "ssl_ocsp_context", "ssl_ocsp_expected_cert",
)  # fmt: skip
_REQUIREMENTS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def tls_options(options: Dict[str, Any]) -> Mapping[str, Any]:
    """Removes the TLS options from ``options`` and returns them. Raises ValueError for an invalid value."""
    found = {name: options.pop(name) for name in TLS_OPTIONS if name in options}
    for name in TLS_OPTIONS:
        if "ocsp" in name and found.pop(name, None):
            raise ValueError(f"ndring does not support redis-py's option {name}: it checks certificates without OCSP")
    wanted = found.get("ssl_cert_reqs")
    if isinstance(wanted, str) and wanted.lower() not in _REQUIREMENTS:
        raise ValueError(f"ssl_cert_reqs must be one of {sorted(_REQUIREMENTS)}, not {wanted!r}")
    if found.get("ssl_min_version") is not None:
        found["ssl_min_version"] = _version(found["ssl_min_version"])
    return found


def _version(value: Any) -> ssl.TLSVersion:
    """Returns a TLS version. In a URL it is a name: ``TLSv1_2`` or ``TLSv1.2``."""
    try:
        if not isinstance(value, str):
            return ssl.TLSVersion(value)
        return next(version for version in ssl.TLSVersion if version.name.lower() == value.lower().replace(".", "_"))
    except (StopIteration, ValueError):
        names = ", ".join(version.name for version in ssl.TLSVersion if version.name.startswith("TLS"))
        raise ValueError(f"ssl_min_version must be one of {names}, not {value!r}") from None


def tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Returns a context that checks certificate and host name unless the options say otherwise.
    Raises OSError for unreadable files."""
    wanted = options.get("ssl_cert_reqs", "required")
    context = ssl.create_default_context()
    if isinstance(wanted, str):
        wanted = _REQUIREMENTS[wanted.lower()]
    checked = options.get("ssl_check_hostname", True) and wanted not in (None, ssl.CERT_NONE)
    context.check_hostname = bool(checked)
    context.verify_mode = ssl.CERT_NONE if wanted is None else wanted
    if options.get("ssl_certfile") or options.get("ssl_keyfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    if options.get("ssl_ca_certs") or options.get("ssl_ca_path") or options.get("ssl_ca_data"):
        context.load_verify_locations(options.get("ssl_ca_certs"), options.get("ssl_ca_path"), options.get("ssl_ca_data"))
    if options.get("ssl_min_version") is not None:
        context.minimum_version = options["ssl_min_version"]
    if options.get("ssl_ciphers"):
        context.set_ciphers(options["ssl_ciphers"])
    return context
