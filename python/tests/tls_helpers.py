"""Certificates that openssl makes, and a proxy that speaks TLS in front of a node."""
from __future__ import annotations

import pathlib
import socket
import ssl
import subprocess
import threading
from typing import NamedTuple

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
HERE = ("IP:127.0.0.1", "DNS:localhost")


class Pair(NamedTuple):
    """Files of a certificate and its key."""

    cert: str
    key: str


def _openssl(*words):
    found = subprocess.run(["openssl", *words], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


class Authority:
    """A CA and the certificates that it has signed, in a folder. ``cert``: the file of its own."""

    def __init__(self, folder, name="ca"):
        self.folder = pathlib.Path(folder)
        self.name = name
        self.cert = str(self.folder / f"{name}.crt")
        self._key = str(self.folder / f"{name}.key")
        _openssl(
            "req", "-x509", *_KEY, "-keyout", self._key, "-out", self.cert, "-subj", f"/CN={name}", "-days", "3",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-addext", "basicConstraints=critical,CA:TRUE",
        )  # fmt: skip

    def issue(self, name, names=HERE, days=2, folder=None):
        """Returns the files of a new certificate for nodes and clients. ``days``: negative for one
        that has expired."""
        base = (pathlib.Path(folder) if folder else self.folder) / f"{self.name}-{name}"
        pair = Pair(f"{base}.crt", f"{base}.key")
        extensions = pathlib.Path(f"{base}.ext")
        extensions.write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
            f"subjectAltName={','.join(names)}\n"
        )
        _openssl("req", "-new", *_KEY, "-keyout", pair.key, "-out", f"{base}.csr", "-subj", f"/CN={name}")
        if days < 0:
            self._issue_expired(base, extensions)
            return pair
        _openssl(
            "x509", "-req", "-in", f"{base}.csr", "-CA", self.cert, "-CAkey", self._key, "-set_serial", f"0x{abs(hash(str(base))):x}",
            "-days", str(days), "-extfile", str(extensions), "-out", pair.cert,
        )  # fmt: skip
        return pair

    def _issue_expired(self, base, extensions):
        """Signs with `openssl ca`: `openssl x509` takes no dates before version 3.4, and no negative days since."""
        folder = pathlib.Path(f"{base}.ca")
        folder.mkdir()
        (folder / "index").touch()
        config = folder / "config"
        config.write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={folder}/index\nnew_certs_dir={folder}\nrand_serial=yes\ndefault_md=sha256\npolicy=names\n"
            "[names]\ncommonName=supplied\n"
        )
        _openssl(
            "ca", "-batch", "-notext", "-config", str(config), "-in", f"{base}.csr", "-cert", self.cert, "-keyfile", self._key,
            "-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-extfile", str(extensions), "-out", f"{base}.crt",
        )  # fmt: skip


def server_context(pair, clients_of=None, version=None):
    """Returns the context of a server. ``clients_of``: the CA of the clients, who must have a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients_of)
    if version is not None:
        context.maximum_version = version
    return context


class Proxy:
    """Terminates TLS and forwards everything to a node. ``context``: for the connections to come;
    ``handshakes``: how many succeeded."""

    def __init__(self, context, node):
        self.context = context
        self.handshakes = 0
        self._node = node
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = self._server.getsockname()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                plain, _ = self._server.accept()
            except OSError:
                return
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._threads.append(threading.Thread(target=self._serve, args=(plain,)))
            self._threads[-1].start()

    def _serve(self, plain):
        with plain:
            try:
                client = self.context.wrap_socket(plain, server_side=True)
            except (ssl.SSLError, OSError):
                return
            self.handshakes += 1
            with client, socket.create_connection(self._node) as node:
                client.settimeout(0.002)
                node.settimeout(0.002)
                try:
                    while _pump(client, node) and _pump(node, client):
                        pass
                except OSError:
                    pass

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


def _pump(one, other):
    try:
        data = one.recv(1 << 18)
    except (socket.timeout, ssl.SSLWantReadError):
        return True
    if data:
        other.settimeout(30)
        other.sendall(data)
        other.settimeout(0.002)
    return bool(data)
