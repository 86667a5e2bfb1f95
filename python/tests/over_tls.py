"""The suite over TLS: NDRING_TLS=1 gives the nodes and stubs certificates, and every client that does
not say otherwise trusts their CA."""
import os
import socket
import ssl
import tempfile

import ndring._core.client as _client
from tls_helpers import Authority, server_context

ON = bool(os.environ.get("NDRING_TLS"))
#: Flags of each node.
NODE_ARGUMENTS = ()
#: Options of redis-py's clients; with a URL of this scheme, which says ssl=True itself.
REDIS, IN_URLS, SCHEME = {}, {}, "redis"
_context = None

if ON:
    _folder = tempfile.TemporaryDirectory(prefix="ndring-tls-")
    AUTHORITY = Authority(_folder.name)
    _pair = AUTHORITY.issue("node")
    _context = server_context(_pair)
    NODE_ARGUMENTS = ("--tls-cert", _pair.cert, "--tls-key", _pair.key)
    IN_URLS = {"ssl_ca_certs": AUTHORITY.cert, "ssl_check_hostname": True}
    REDIS, SCHEME = {"ssl": True, **IN_URLS}, "rediss"
    _parse = _client.parse_settings

    def _parse_settings(options, version):
        if options.get("path") is None and "ssl" not in options:
            options = {**options, "ssl": True, "ssl_ca_certs": AUTHORITY.cert}
        return _parse(options, version)

    _client.parse_settings = _parse_settings


def secured(connection):
    """Returns a stub's connection with TLS if the suite runs over it. Raises OSError if the client
    does not speak it."""
    if _context is None or not hasattr(connection, "family") or connection.family.name == "AF_UNIX":
        return connection
    try:
        return _context.wrap_socket(connection, server_side=True)
    except (ssl.SSLError, OSError) as exc:
        connection.close()
        raise ConnectionError(f"no handshake: {exc}") from None


def connected(address):
    """Returns a plain socket that is connected to a node, or one with TLS if the suite runs over it."""
    plain = socket.create_connection(address)
    return ssl.create_default_context(cafile=AUTHORITY.cert).wrap_socket(plain, server_hostname=address[0]) if ON else plain
