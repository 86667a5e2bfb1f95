"""Short runs of storm.py and service.py, which are programs of their own: they send signals to
themselves, and count what is open."""
from __future__ import annotations

import pathlib
import random
import subprocess
import sys

import service
import storm

HERE = pathlib.Path(__file__).parent


def run(*arguments):
    done = subprocess.run([sys.executable, "-W", "error", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100)
    print(done.stdout)  # with the seed
    assert done.returncode == 0, done.stdout[-3000:]
    for trouble in "never awaited", "never retrieved", "destroyed but", "Exception ignored":
        assert trouble not in done.stdout
    return done.stdout


def test_storm():
    out = run(HERE / "storm.py", "--calls", 6000, "--every", 100_000, "--restart", 2)
    assert "ok" in out and all(f"{mode}: " in out for mode in storm.STORMS)


def test_service():
    seed = random.randrange(1 << 31)
    print("seed", seed)
    seconds = service.run(8, 2, 4, seed, pause=1.0).seconds
    rates = [second.hits / max(1, second.requests) for second in seconds]
    assert rates[0] == 1 and sum(second.hits for second in seconds[-2:]) >= 0.95 * sum(second.requests for second in seconds[-2:]), rates
