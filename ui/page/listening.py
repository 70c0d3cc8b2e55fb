"""Where the page listens: a socket of its own, so that a port in use is said before anything is loaded."""

import errno
import socket

from rrm.errors import ConfigurationError


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises ConfigurationError if the port is taken or the host is not one of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        # From here on a connection waits for the application instead of being refused.
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"Port {port} is in use, perhaps by this command already; name another with --port, or --port 0."
            ) from error
        raise ConfigurationError(f"Cannot listen on {host}:{port} ({error.strerror}); check --host.") from error
    return bound
