"""Checks, on import, that the system has what ndring needs."""
from __future__ import annotations

import socket
import sys

if not hasattr(socket.socket, "sendmsg"):
    raise ImportError(
        f"ndring sends arrays without copying them, with socket.sendmsg, which Python lacks on this system ({sys.platform}). "
        "It runs on Linux, macOS and other Unix systems; on Windows use it within WSL"
    )
