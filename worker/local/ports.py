import random
import socket

# Below the ephemeral range of Linux (32768-60999) and of macOS (49152-65535): a client socket never sits there.
LOWEST, HIGHEST = 20_000, 32_000


def free_port() -> int:
    """A port of this machine that nobody listens on, chosen at random so that stacks starting at once rarely meet."""
    for port in random.SystemRandom().sample(range(LOWEST, HIGHEST), k=200):
        if is_free(port):
            return port
    raise OSError(f"200 ports between {LOWEST} and {HIGHEST} are all taken")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port whose old connections linger is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
