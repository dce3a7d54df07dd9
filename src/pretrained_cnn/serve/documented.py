"""Parts of ``/openapi.json`` that FastAPI does not generate: bodies, answers, and examples."""

from __future__ import annotations

from typing import Any

__all__ = ["DESCRIPTION", "EMBED", "EXPLAIN", "PREDICT", "PREDICT_BATCH"]

DESCRIPTION = 'Classifies images. Errors are `{"detail": "..."}`, a sentence that says what to do.'

CLOCK = {"id": "n02708093", "label": "analog_clock", "score": 0.87, "index": 409}
RESULT = {"source": "photo.jpg", "predictions": [CLOCK], "status": "ok", "label_set": None, "error": None}
BROKEN: dict[str, Any] = {
    "source": "note.txt",
    "predictions": [],
    "status": "failed",
    "label_set": None,
    "error": "note.txt: this is not an image in a format that can be read; it begins with b'hello'",
}
BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""

PREDICTION = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "label": {"type": "string"},
        "score": {"type": "number", "nullable": True},
        "index": {"type": "integer", "nullable": True},
    },
}
ANSWER = {
    "type": "object",
    "properties": {
        "source": {"type": "string", "description": "Name of the file, or address of the image."},
        "predictions": {"type": "array", "items": PREDICTION, "description": "Best first; empty if the image failed."},
        "status": {"enum": ["ok", "uncertain", "unknown", "failed"]},
        "label_set": {"type": "array", "items": PREDICTION, "nullable": True},
        "error": {"type": "string", "nullable": True},
    },
}
BINARY = {"schema": {"type": "string", "format": "binary"}}


def _body(one: Any, several: bool = False) -> dict[str, Any]:
    """How a request's body may look."""
    file: Any = {"type": "string", "format": "binary"}
    fields = {"images": {"type": "array", "items": file}} if several else {"image": file}
    form = {"schema": {"type": "object", "properties": fields}}
    content: dict[str, Any] = {
        "multipart/form-data": form,
        "application/json": {"schema": {"type": "object"}, "examples": one},
    }
    return {"required": True, "content": content if several else {**content, "image/*": BINARY}}


def _operation(body: dict[str, Any], kind: str, answer: dict[str, Any]) -> dict[str, Any]:
    refusals = {
        400: "The body cannot be read.",
        401: "The key of the service is missing or wrong.",
        403: "The service opens no addresses.",
        408: "The request did not arrive in time.",
        413: "The request is too large.",
        415: "A body of this type is not read.",
        422: "The image, or an argument, cannot be used.",
        503: "Too many images wait; `Retry-After` says for how many seconds.",
    }
    error = {"application/json": {"example": {"detail": BROKEN["error"]}}}
    return {
        "openapi_extra": {"requestBody": body},
        "responses": {
            200: {"description": "The answer.", "content": {kind: answer}},
            **{status: {"description": text, "content": error} for status, text in refusals.items()},
        },
    }


ONE = {
    "base64": {"value": {"image": BASE64, "name": "photo.png"}},
    "url": {"value": {"url": "https://example.org/photo.jpg"}, "summary": "With --allow-urls only."},
}
SEVERAL = {"base64": {"value": {"images": [BASE64, {"image": BASE64, "name": "photo.png"}]}}}

PREDICT = _operation(_body(ONE), "application/json", {"schema": ANSWER, "example": RESULT})
PREDICT_BATCH = _operation(
    _body(SEVERAL, several=True),
    "application/json",
    {"schema": {"type": "array", "items": ANSWER}, "example": [RESULT, BROKEN]},
)
EMBED = _operation(
    _body(ONE),
    "application/json",
    {"schema": {"type": "object"}, "example": {"source": "photo.jpg", "embedding": [0.1]}},
)
EXPLAIN = _operation(_body(ONE), "image/png", BINARY)
