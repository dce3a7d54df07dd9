"""A service as one writes it by hand with FastAPI: what ``serve.py`` compares ``pretrained-cnn serve`` with.

Run::

    BUNDLE=my.bundle uvicorn --app-dir benchmarks serve_fastapi:app --port 8000
    curl -F image=@photo.jpg 'http://127.0.0.1:8000/classify?top=3'
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, UploadFile

from pretrained_cnn import Classifier, ImageError, ImagePolicy

MAX_BYTES = 10 * 2**20
"""Of a request; what comes beyond is not read."""

STRANGERS = ImagePolicy(max_pixels=50_000_000)
"""For images from people whom we do not know: a few kilobytes can unfold into gigapixels."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the bundle once, before the first request; a broken one ends the program."""
    app.state.classifier = Classifier.load(os.environ["BUNDLE"], image_policy=STRANGERS)
    yield


app = FastAPI(title="What is in this image?", lifespan=lifespan)


@app.get("/health")
def health(request: Request) -> dict[str, Any]:
    """Says that the service is up, and with which classifier."""
    spec = request.app.state.classifier.spec
    return {"status": "ok", "model": spec.name, "classes": len(spec.labels)}


# Not async: FastAPI calls it in a thread, and one classifier serves them all.
@app.post("/classify", max_body_size=MAX_BYTES)
def classify(request: Request, image: UploadFile, top: Annotated[int, Query(ge=1, le=1000)] = 5) -> dict[str, Any]:
    """The best classes of one image, which comes as the field ``image`` of a form."""
    classifier: Classifier = request.app.state.classifier
    try:
        result = classifier.predict(image.file, top=top)
    except ImageError as error:
        raise HTTPException(422, error.reason) from error
    return {**result.to_dict(), "source": image.filename}
