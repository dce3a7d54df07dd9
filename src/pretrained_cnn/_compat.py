"""Each private or undocumented part of another package that this library stands on, as one function.

``tests/test_compat.py`` checks each against the installed version and says what broke. Nothing is imported from the
other package until a function is called.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

__all__ = ["connect_through"]


def connect_through(kind: Callable[..., Any], connect: Callable[..., socket.socket]) -> Callable[..., Any]:
    """A maker of ``http.client`` connections of one kind whose sockets ``connect`` makes.

    Stands on ``HTTPConnection._create_connection``: without it, nothing can be checked between the look-up of a name
    and the connection to its address.
    """

    def make(*args: Any, **kwargs: Any) -> Any:
        connection = kind(*args, **kwargs)
        if not hasattr(connection, "_create_connection"):
            raise NotImplementedError("this Python's http.client has no _create_connection, so no address is checked")
        connection._create_connection = connect
        return connection

    return make
