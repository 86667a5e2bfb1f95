"""What ndring needs of the system, asked for when it is imported."""
from __future__ import annotations

import socket
import sys

if not hasattr(socket.socket, "sendmsg"):
    raise ImportError(
        f"ndring sends arrays from where they are with socket.sendmsg, which Python has not on this system ({sys.platform}). "
        "It runs on Linux, macOS and other Unix systems; on Windows use it within WSL"
    )
