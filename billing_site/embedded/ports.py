"""Ports on 127.0.0.1: one that is free, and the same one again after a restart."""

import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # Connections of a server that has just stopped linger in TIME_WAIT and hinder nobody.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def find_free() -> int:
    """A port that the kernel says is free."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def remembered(file: Path) -> int:
    """The port written in ``file`` if it is still free, else a new one, which is written there."""
    if file.exists():
        port = int(file.read_text(encoding="ascii"))
        if is_free(port):
            return port
    port = find_free()
    file.write_text(f"{port}\n", encoding="ascii")
    return port


def accepts(port: int) -> bool:
    """Whether something listens on the port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
