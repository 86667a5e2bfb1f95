"""Nodes with TLS: certificates that are wrong, missing or renewed, large arrays, limits of time, users."""
from __future__ import annotations

import pickle
import shutil
import socket
import ssl
import subprocess
import threading
import time

import ndring
import numpy as np
import pytest
import redis
from conftest import start_cluster, start_node, stop_node
from ndring import ConnectionError, NumPyRedis, TimeoutError, __main__
from ndring._core import retry as _retry
from redis.cluster import RedisCluster
from routing_helpers import A, wait_until
from signal_helpers import Once, signals
from test_client import npy
from tls_helpers import Authority, Proxy, server_context

LARGE = np.arange(8 << 20)  # 64 MiB


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A CA that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("node")


@pytest.fixture(scope="module")
def cluster(authority, pair, tmp_path_factory):
    """Three nodes that require client certificates."""
    started = start_cluster(
        3, tmp_path_factory.mktemp("cluster"), "--tls-cert", pair.cert, "--tls-key", pair.key, "--tls-ca", authority.cert, "--tls-client-auth", "require"
    )
    yield started
    started.close()


@pytest.fixture(scope="module")
def options(authority):
    mine = authority.issue("client")
    return {"ssl": True, "ssl_ca_certs": authority.cert, "ssl_certfile": mine.cert, "ssl_keyfile": mine.key}


@pytest.fixture
def client(cluster, options):
    with NumPyRedis(*cluster.addresses[0], **options) as c:
        yield c


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(_retry.Attempts, "next_pause", lambda self: pytest.fail("a retry cannot help here"))


# Arrays


def test_keys_of_all_nodes(cluster, client):
    values = {f"tls{i}": np.full(100, i) for i in range(300)}
    assert client.mset(values) and [got[0] for got in client.mget(list(values))] == list(range(300))
    assert len({str(node) for node in client.nodes()}) == 3
    with client.pipeline() as p:
        for key in values:
            p.get(key).expire(key, 60)
        assert all(np.array_equal(got, value) for got, value in zip(p.execute()[::2], values.values()))
    assert set(values) <= {key.decode() for key in client.scan_iter("tls*")} and client.delete(*values) == 300


def test_large_arrays_both_ways(client):
    assert client.set("large", LARGE) and client.verify("large")
    assert np.array_equal(client.get("large"), LARGE)
    out = np.empty_like(LARGE)
    assert client.get("large", out=out) is out and np.array_equal(out, LARGE)
    assert np.array_equal(client.view("large")[1000:2000], LARGE[1000:2000]) and client.take("large", [5, -1]).tolist() == [5, LARGE[-1]]
    fortran = np.asfortranarray(LARGE.reshape(4096, -1))
    client.mset({"large": fortran, "{x}1": A})
    assert client.get("large").flags.f_contiguous and client.verify("large")
    client.delete("large")


@pytest.mark.blocking
def test_the_crc_of_a_large_array_is_checked(client, monkeypatch):
    """As where the processor has an instruction for it."""
    from ndring._core import commands, resp

    if resp.crc32c is None:
        pytest.fail("the tests need the package crc32c")
    monkeypatch.setattr(resp, "MAX_SUMMED", 1 << 40)
    monkeypatch.setattr(commands, "MAX_SUMMED", 1 << 40)
    value = LARGE[: 1 << 18]
    assert client.set("summed", value) and np.array_equal(client.get("summed"), value) and client.delete("summed") == 1


@pytest.mark.blocking
def test_the_near_cache(cluster, options, client):
    with NumPyRedis(*cluster.addresses[1], near_cache="1mb", **options) as near:
        client.set("near", A)
        wait_until(lambda: near.get("near") is not None and near.near_cache.hits)
        client.set("near", A + 1)
        wait_until(lambda: near.get("near")[0, 0] == A[0, 0] + 1)
        wait_until(lambda: near.get("near") is near.get("near"))


# Certificates


def failing(address, text, **options):
    with NumPyRedis(*address, **options) as c, pytest.raises(ConnectionError, match=text) as caught:
        c.get("k")
    assert f"{address[0]}:{address[1]}" in str(caught.value) and caught.value.hopeless
    with NumPyRedis(*address, on_error="miss", **options) as c, pytest.raises(ConnectionError, match=text):
        c.set("k", A)  # a wrong setting is not an outage


def test_a_client_without_a_certificate(cluster, options, authority, at_once):
    failing(cluster.addresses[0], "a client certificate is required: pass ssl_certfile=", ssl=True, ssl_ca_certs=authority.cert)
    for value in (LARGE, np.zeros(0)):  # it reaches the node while the node refuses the certificate
        with NumPyRedis(*cluster.addresses[0], ssl=True, ssl_ca_certs=authority.cert, lib_name=None, lib_version=None) as c:
            with pytest.raises(ConnectionError, match="a client certificate is required"):
                c.set("k", value)


def test_a_client_certificate_that_the_node_does_not_trust(cluster, authority, other, at_once):
    for name, ca, days in ("stranger", other, 2), ("expired", authority, -1):
        mine = ca.issue(name, days=days)
        failing(
            cluster.addresses[0], "does not accept the client certificate", ssl=True, ssl_ca_certs=authority.cert,
            ssl_certfile=mine.cert, ssl_keyfile=mine.key,
        )  # fmt: skip


def test_a_node_that_the_client_does_not_trust(cluster, options, other, at_once):
    failing(cluster.addresses[0], "the certificate of .* is not valid: .*issuer.*ssl_ca_certs= names the CA", **{**options, "ssl_ca_certs": other.cert})
    failing(cluster.addresses[0], "the certificate of .* is not valid", **{**options, "ssl_ca_certs": None})


@pytest.mark.parametrize("name, issued, text", [
    ("late", {"days": -1}, "certificate has expired"),
    ("elsewhere", {"names": ("DNS:elsewhere", "IP:127.0.0.9")}, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
])  # fmt: skip
def test_a_node_whose_certificate_is_wrong(node_at, authority, name, issued, text, at_once):
    proxy = node_at(server_context(authority.issue(name, **issued)))
    failing(proxy.address, f"is not valid: {text}", ssl=True, ssl_ca_certs=authority.cert)
    with NumPyRedis(*proxy.address, ssl=True, ssl_ca_certs=authority.cert, ssl_cert_reqs="none") as c:
        assert c.ping()


@pytest.fixture
def node_at(stub):
    """Returns a function that starts a proxy with TLS in front of a stub."""
    proxies = []

    def start(context):
        proxies.append(Proxy(context, stub(*[b"+PONG\r\n"] * 9).address))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


def test_old_versions_of_tls(node_at, pair, authority, options, at_once):
    proxy = node_at(server_context(pair, authority.cert, ssl.TLSVersion.TLSv1_2))
    with NumPyRedis(*proxy.address, **options) as c:
        assert c.ping()
    failing(proxy.address, "does not accept the client certificate.*or requires one|a client certificate is required", ssl=True, ssl_ca_certs=authority.cert)
    failing(proxy.address, "no TLS version and cipher in common", **options, ssl_min_version="TLSv1_3")


def test_a_port_without_tls_and_a_client_without_it(cluster, options, node, at_once):
    failing(node, "does not speak TLS: use redis://", **options)
    for more in ({}, {"lib_name": None, "lib_version": None}, {"protocol": 3}, {"password": "x"}):
        failing(cluster.addresses[0], r"speaks TLS: use from_url\('rediss://", **more)


def test_a_context_of_the_caller(cluster, authority, options):
    context = ssl.create_default_context(cafile=authority.cert)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as by default since Python 3.13
    context.load_cert_chain(options["ssl_certfile"], options["ssl_keyfile"])
    with NumPyRedis(*cluster.addresses[0], ssl=True, ssl_context=context) as c:
        assert c.set("context", A) and c.delete("context") == 1
    both = {**options, "ssl_context": context}
    for wrong, error in (({"ssl": True, "ssl_context": "x"}, TypeError), ({"ssl_context": context}, TypeError), (both, ValueError)):
        with pytest.raises(error, match="ssl_context"):
            NumPyRedis(**wrong)
    with pytest.raises(ValueError, match="ssl_keyfile requires ssl_certfile"):
        NumPyRedis(ssl=True, ssl_keyfile=options["ssl_keyfile"])


def test_an_encrypted_key_without_its_password(cluster, options, tmp_path, at_once):
    encrypted = tmp_path / "key"
    subprocess.run(["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", options["ssl_keyfile"], "-out", encrypted], check=True, capture_output=True)
    with NumPyRedis(*cluster.addresses[0], **{**options, "ssl_keyfile": str(encrypted)}, ssl_password="secret") as c:
        assert c.ping()
    with NumPyRedis(*cluster.addresses[0], **{**options, "ssl_keyfile": str(encrypted)}) as c:
        with pytest.raises(ConnectionError, match="the private key is encrypted: pass ssl_password"):
            c.ping()


def test_a_ca_as_text_and_by_url(cluster, options, authority):
    with open(authority.cert) as file:
        text = file.read()
    with NumPyRedis(*cluster.addresses[0], **{**options, "ssl_ca_certs": None}, ssl_ca_data=text) as c:
        assert c.ping()
    host, port = cluster.addresses[2]
    query = f"ssl_ca_certs={authority.cert}&ssl_certfile={options['ssl_certfile']}&ssl_keyfile={options['ssl_keyfile']}"
    with NumPyRedis.from_url(f"rediss://{host}:{port},{host}:{cluster.addresses[1][1]}?{query}&ssl_min_version=TLSv1.3") as c:
        assert c.ping() and c.set("url", A)
    with NumPyRedis.from_url(f"redis://{host}:{port}?ssl=yes&{query}") as c:
        assert c.ping()
    with pytest.raises(TypeError, match="requires TLS"):
        NumPyRedis.from_url(f"redis://{host}:{port}?ssl=no&{query}")


@pytest.mark.blocking
def test_a_pickled_client(cluster, options):
    with NumPyRedis(*cluster.addresses[0], **options) as c, pickle.loads(pickle.dumps(c)) as other:
        assert other.set("pickled", A) and c.delete("pickled") == 1


def test_a_new_certificate_of_the_client(cluster, options, authority, tmp_path, at_once):
    """New connections have it, and one that is half written is not used."""
    mine = authority.issue("renewed", folder=tmp_path)
    with NumPyRedis(*cluster.addresses[0], **{**options, "ssl_certfile": mine.cert, "ssl_keyfile": mine.key}) as c:
        assert c.ping()
        for content in (b"", b"garbage"):
            with open(mine.key, "wb") as file:
                file.write(content)
            c.close()
            assert c.ping()
        later = authority.issue("later", folder=tmp_path)
        shutil.copy(later.cert, mine.cert)
        c.close()
        assert c.ping()  # with the former pair: the key is not that of the new certificate
        shutil.copy(later.key, mine.key)
        c.close()
        assert c.ping()


def test_certificates_are_renewed_under_traffic(cluster, client, options, authority, pair):
    errors, calls, stop = [], [0], threading.Event()

    def work(number):
        try:
            with NumPyRedis(*cluster.addresses[0], **options) as c:
                while not stop.is_set():
                    c.set(f"renew{number}", A)
                    assert np.array_equal(c.get(f"renew{number}"), A)
                    calls[0] += 1
                    if not calls[0] % 7:
                        c.close()
        except Exception as exc:
            errors.append(exc)

    def serial(address):
        context = ssl.create_default_context(cafile=authority.cert)
        context.load_cert_chain(options["ssl_certfile"], options["ssl_keyfile"])
        with context.wrap_socket(socket.create_connection(address), server_hostname=address[0]) as s:
            return s.getpeercert()["serialNumber"]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        before = serial(cluster.addresses[0])
        new = authority.issue("new")
        shutil.copy(new.key, pair.key)
        shutil.copy(new.cert, pair.cert)
        wait_until(lambda: errors or all(serial(address) != before for address in cluster.addresses))
        seen = calls[0]
        wait_until(lambda: errors or calls[0] > seen + 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors, errors[0]


@pytest.mark.blocking
def test_the_command_line(cluster, options, node, monkeypatch, capfd):
    url = "rediss://%s:%d" % cluster.addresses[0]
    files = ["--cacert", options["ssl_ca_certs"], "--cert", options["ssl_certfile"], "--key", options["ssl_keyfile"]]
    assert __main__.main(["ping", "--url", url, *files]) == 0 and capfd.readouterr().out.count(" ms\n") == 3
    for name, option in (("CA", "ssl_ca_certs"), ("CERT", "ssl_certfile"), ("KEY", "ssl_keyfile")):
        assert __main__.main(["ping", "--url", url, "--timeout", "2"]) == 1 and capfd.readouterr().err.startswith("ndring: ")
        monkeypatch.setenv(f"NDRING_TLS_{name}", options[option])
    assert __main__.main(["ping", "--url", url]) == 0
    assert __main__.main(["ping", "--url", "redis://%s:%d" % node]) == 0  # the files are for TLS only
    capfd.readouterr()
    assert __main__.main(["ping", "--url", "redis://%s:%d" % node, *files]) == 2 and "--cacert needs TLS" in capfd.readouterr().err
    assert __main__.main(["ping", "--url", f"{url}?ssl_ca_certs=/nowhere"]) == 1 and "invalid ssl_" in capfd.readouterr().err


# Limits of time, signals


def test_a_deadline_ends_a_transfer(client):
    client.set("slow", LARGE)
    ends = []
    for deadline in (0.02, 0.05, 0.1):
        for call in (lambda c: c.get("slow"), lambda c: c.set("slow", LARGE)):
            began = time.monotonic()
            try:
                call(client.with_options(deadline=deadline))
            except (TimeoutError, ndring.NodeDownError):
                ends.append(time.monotonic() - began)
    assert ends and max(ends) < 5
    assert client.set("slow", A) and np.array_equal(client.get("slow"), A)


@pytest.mark.blocking
@pytest.mark.parametrize("after", [0.003, 0.02, 0.05])
def test_signals_during_a_transfer(client, after):
    class Stop(Exception):
        pass

    client.set("signals", LARGE)
    handled = [0]

    def count():
        handled[0] += 1

    with signals(count, every=0.002, after=0.002):  # a handler that returns delays a call at most
        assert client.set("signals", LARGE) and np.array_equal(client.get("signals"), LARGE)
    assert handled[0]
    for call in (lambda: client.get("signals"), lambda: client.set("signals", LARGE)):
        once = Once(Stop())
        try:
            with signals(once, every=10, after=after):
                call()
                wait_until(lambda: once.raised)
        except Stop:
            pass
        assert client.verify("signals") and np.array_equal(client.get("signals"), LARGE)


# redis-py's clients, users


@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts:DeprecationWarning")
def test_redis_py(cluster, options):
    secure = {**options, "ssl_check_hostname": True}
    host, port = cluster.addresses[0]
    with redis.Redis(host, port, **secure) as r:
        assert r.ping() and r.info("server")
    with RedisCluster(host=host, port=port, **secure) as r:
        for i in range(50):
            assert r.execute_command("NP.SET", f"redis{i}", npy(A)) in (b"OK", True)
            assert r.execute_command("NP.GET", f"redis{i}") == npy(A)
    with redis.Redis(host, port, ssl=True, ssl_ca_certs=options["ssl_ca_certs"], ssl_check_hostname=True) as r:
        with pytest.raises((redis.ConnectionError, ssl.SSLError, OSError)):
            r.ping()


def test_a_password_over_tls(pair, authority):
    process, address = start_node("--tls-cert", pair.cert, "--tls-key", pair.key, "--requirepass", "se:cret")
    try:
        url = f"rediss://default:se%3Acret@{address[0]}:{address[1]}?ssl_ca_certs={authority.cert}"
        with NumPyRedis.from_url(url) as c:
            assert c.set("k", A)
        with NumPyRedis.from_url(url, password="wrong") as c, pytest.raises(ndring.AuthenticationError):
            c.get("k")
    finally:
        stop_node(process)
