"""Stored arrays are unchanged after the node was killed, and after it was stopped."""
import time

import numpy as np
import pytest
from conftest import kill_node as kill
from conftest import start_node, stop_node
from fidelity import assert_identical, awkward_arrays
from ndring import NumPyRedis


def test_arrays_survive_a_kill_and_a_stop(tmp_path):
    values = dict(awkward_arrays())
    values["large"] = np.random.default_rng(5).standard_normal((3, 1 << 17))[:, ::2]
    process, address = start_node(folder=tmp_path)
    versions = {}
    with NumPyRedis(*address) as client:
        for key, value in values.items():
            assert client.set(key, value)
        client.set("expires", np.arange(3), ex=1000)
        client.set("expired", np.arange(3), px=1)
        client.set("deleted", np.arange(3))
        client.delete("deleted")
        versions = {key: client.meta(key).version for key in values}
    for end in (kill, stop_node, kill, stop_node):
        end(process)
        process, address = start_node(folder=tmp_path)
        with NumPyRedis(*address) as client:
            for key, value in values.items():
                assert_identical(client.get(key), value)
                assert client.meta(key).version == versions[key]
            assert client.get("expired") is None
            assert client.get("deleted") is None
            assert 900_000 < client.pttl("expires") <= 1_000_000
            assert client.info("persistence")["disk_damage_found"] == 0
            client.set("new", np.arange(4))
            assert int(client.meta("new").version.split("-")[0]) > int(versions["large"].split("-")[0])
    stop_node(process)


def test_a_client_continues_after_a_restart(tmp_path):
    process, address = start_node(folder=tmp_path)
    with NumPyRedis(*address) as client:
        client.set("k", np.arange(1000))
        kill(process)
        process, again = start_node("--port", str(address[1]), "--bus-port", "0", "--gossip-port", "0", folder=tmp_path)
        assert again == address
        assert_identical(client.get("k"), np.arange(1000))
        assert client.set("k", np.arange(2))
    stop_node(process)


def test_get_or_set_finds_what_is_on_disk(tmp_path):
    process, address = start_node(folder=tmp_path)
    with NumPyRedis(*address) as client:
        client.get_or_set("made", lambda: np.arange(5), ex=100)
    kill(process)
    process, address = start_node(folder=tmp_path)
    with NumPyRedis(*address) as client:
        assert_identical(client.get_or_set("made", lambda: pytest.fail("it was made again"), ex=100), np.arange(5))
    stop_node(process)


def test_times_to_live_run_while_the_node_is_down(tmp_path):
    process, address = start_node(folder=tmp_path)
    with NumPyRedis(*address) as client:
        deadline = time.time() + 1
        client.set("k", np.arange(5), pxat=int(deadline * 1000))
    kill(process)
    while time.time() < deadline:
        time.sleep(0.01)
    process, address = start_node(folder=tmp_path)
    with NumPyRedis(*address) as client:
        assert client.get("k") is None
    stop_node(process)
