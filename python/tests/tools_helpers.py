"""Runs the commands of ``python -m ndring`` in processes of their own."""
from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

PYTHON = Path(__file__).resolve().parents[1]
# Buffered, as at a user's: what is written last may fail after the command has ended.
_CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("NDRING_") and k != "PYTHONUNBUFFERED"}
ENVIRONMENT = {**_CLEAN, "PYTHONPATH": str(PYTHON), "PYTHONIOENCODING": "utf-8"}
COMMAND = [sys.executable, "-W", "error", "-m", "ndring"]


def spawn(*words, env=None, **options):
    return subprocess.run([*COMMAND, *words], stderr=subprocess.PIPE, timeout=60, env={**ENVIRONMENT, **(env or {})}, **options)


def on_a_terminal(*words, columns=60):
    """Runs a command whose standard output is a terminal and returns what it shows."""
    main, other = pty.openpty()
    env = {**ENVIRONMENT, "NDRING_URL": os.environ["NDRING_URL"], "COLUMNS": str(columns)}
    with subprocess.Popen([*COMMAND, *words], stdout=other, stderr=subprocess.PIPE, env=env) as process:
        os.close(other)
        shown = b""
        while select.select([main], [], [], 60)[0]:
            try:
                part = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            shown += part
        os.close(main)
        assert process.stderr.read() == b"" and process.wait(60) == 0
    return shown.decode().replace("\r\n", "\n")
