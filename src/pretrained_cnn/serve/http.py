"""How connections begin and end: what uvicorn leaves open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connection", "Server"]

GRACE = 1.0
"""Seconds at most for a request that a client sends before it can know that the service ends."""


class Connection(H11Protocol):
    """Sends answers at once, and closes itself if no request comes: a slow sender would keep it for ever."""

    def __init__(self, *, timeout: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._timeout = timeout

    @override
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # asyncio leaves this out for the sockets of a listener that it did not make. Without it the system holds back
        # the end of each answer until the client acknowledges its beginning, which takes 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.loop.call_later(self._timeout, self._close_unused)

    def _close_unused(self) -> None:
        if self.cycle is None:
            self.transport.close()


class Server(uvicorn.Server):
    """Answers what clients have sent before it ends, and tells them by ``Connection: close`` that it does."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.is_ending = True
        for listener in sockets or []:
            await self._take_waiting(listener)
        for server in self.servers:
            server.close()
        until = time.monotonic() + GRACE
        while self.server_state.connections and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    async def _take_waiting(self, listener: socket.socket) -> None:
        """Accept what waits at a listener: closing it would reset these connections, after their requests were sent."""
        loop = asyncio.get_running_loop()
        connection: Any = self.config.http_protocol_class
        protocol = partial(
            connection,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=loop,
        )
        with contextlib.suppress(OSError):  # nothing waits, or no more can be opened
            while True:
                connected, _ = listener.accept()
                connected.setblocking(False)
                await loop.connect_accepted_socket(protocol, connected)
