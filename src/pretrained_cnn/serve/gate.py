"""The middleware of each request: the key, the log line, the metrics, and one form for all errors."""

from __future__ import annotations

import hmac
import json
import logging
import re
import sys
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pretrained_cnn.serve.metrics import Metrics

__all__ = ["Gate"]

log = logging.getLogger(__name__)

OPEN = ("/", "/health", "/ready", "/openapi.json")
"""Paths that need no key: probes have none, and the page asks for it."""


class Gate:
    """ASGI middleware around the whole application.

    A request without the key is refused before its body is read. Each is counted, and one line of JSON on stderr says
    what it was and what became of it; addresses' queries, headers and bodies are not in it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, api_key: str | None) -> None:
        self._app, self._metrics = app, metrics
        self._expected = None if api_key is None else f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.monotonic()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        id_ = given if re.fullmatch(r"[\w.:-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
        status = 499  # until something is sent: the client went away

        async def send_with_id(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # Counted before the answer is sent: then another worker that is asked next knows of the request.
                self._metrics.count_request(scope["path"], status, seconds=time.monotonic() - start)
                added = [(b"x-request-id", id_.encode())]
                if scope["app"].state.is_ending:  # the client opens no other request over this connection
                    added.append((b"connection", b"close"))
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            if scope["path"] in OPEN or self._is_allowed(headers):
                await self._app(scope, receive, send_with_id)
            else:
                refused = JSONResponse(
                    {"detail": "send the key of this service as Authorization: Bearer"},
                    401,
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await refused(scope, receive, send_with_id)
        except ClientDisconnect:
            pass
        except Exception:  # ours: the client learns that, and the log more
            log.exception("request %s failed", id_)
            if status == 499:
                await JSONResponse({"detail": f"the service failed; its log says more of {id_}"}, 500)(
                    scope, receive, send_with_id
                )
        finally:
            client = scope.get("client")
            _write(
                {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "id": id_,
                    "client": client[0] if client else None,
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "status": status,
                    "ms": round(1000 * (time.monotonic() - start), 1),
                    **scope.get("state", {}).get("logged", {}),
                }
            )

    def _is_allowed(self, headers: Headers) -> bool:
        if self._expected is None:
            return True
        given = headers.get("authorization", "").encode("latin-1")
        return hmac.compare_digest(given, self._expected)


def _write(line: dict[str, Any]) -> None:
    """One line, in one piece: other workers also write."""
    try:
        sys.stderr.write(json.dumps(line) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # a log that cannot be written is no reason not to answer
        pass
