"""The application: the handler of each path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from pretrained_cnn._version import __version__
from pretrained_cnn.classifier import Classifier
from pretrained_cnn.errors import BundleError, ImageError, InvalidArgumentError
from pretrained_cnn.serve import documented
from pretrained_cnn.serve.batching import FullError
from pretrained_cnn.serve.gate import Gate
from pretrained_cnn.serve.metrics import Metrics
from pretrained_cnn.serve.model import Model, Upload
from pretrained_cnn.serve.page import page
from pretrained_cnn.serve.settings import Settings
from pretrained_cnn.serve.uploads import Uploads

__all__ = ["create_app"]

T = TypeVar("T")

Top = Annotated[int, Query(ge=1, le=1000, description="How many classes to name.")]
MinScore = Annotated[
    float | None, Query(ge=0, le=1, description='Best scores below have the status "uncertain" (default: none).')
]


def create_app(classifier: Classifier, settings: Settings, metrics: Metrics) -> FastAPI:
    """The application of one worker. It closes the classifier when it ends."""
    model, uploads = Model(classifier, settings, metrics), Uploads(settings)
    page_text, page_headers = page(classifier.spec.name)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        metrics.is_ready = True
        yield
        metrics.is_ready = False
        model.close()
        classifier.close()

    app = FastAPI(
        title=classifier.spec.name,
        description=documented.DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.is_ending = False
    app.add_middleware(Gate, metrics=metrics, api_key=settings.api_key)

    async def within_time(work: Awaitable[T], status: int, sentence: str) -> T:
        try:
            async with asyncio.timeout(settings.timeout):
                return await work
        except TimeoutError:
            headers = {"Retry-After": str(model.retry_after)} if status == 503 else {"Connection": "close"}
            raise HTTPException(status, f"{sentence} {settings.timeout:g} seconds", headers) from None

    async def read(request: Request, most: int = 1) -> list[Upload]:
        if model.room.taken >= model.room.size:  # before the body is read
            raise FullError
        found = await within_time(uploads.read(request, most), 408, "the request did not arrive within")
        request.state.logged = {"images": len(found)}
        return found

    async def answered(work: Awaitable[T]) -> T:
        return await within_time(work, 503, "there was no answer within")

    @app.post("/predict", **documented.PREDICT)
    async def predict(request: Request, top: Top = 5, min_score: MinScore = None) -> Response:
        """Name what is in one image."""
        (result,) = await answered(model.predict(await read(request), top=top, min_score=min_score))
        if result.error is not None:
            raise result.error
        return JSONResponse(result.to_dict())

    @app.post("/predict/batch", **documented.PREDICT_BATCH)
    async def predict_batch(request: Request, top: Top = 5, min_score: MinScore = None) -> Response:
        """Name what is in several images: a result for each, in the order given. A bad one has its error."""
        found = await read(request, min(settings.max_images, settings.max_waiting))
        results = await answered(model.predict(found, top=top, min_score=min_score))
        return JSONResponse([result.to_dict() for result in results])

    @app.post("/embed", **documented.EMBED)
    async def embed(request: Request) -> Response:
        """The embedding of one image, where the network gives one."""
        (result,) = await answered(model.embed(await read(request)))
        if result.embedding is None:
            raise result.error or RuntimeError("no embedding")
        return JSONResponse({"source": result.source, "embedding": result.embedding.tolist()})

    @app.post("/explain", **documented.EXPLAIN)
    async def explain(
        request: Request, target: Annotated[str | None, Query(description="Id or name of the class.")] = None
    ) -> Response:
        """Where in an image the network sees a class: a PNG with a heat map over the image."""
        (upload,) = await read(request)
        try:
            return Response(await answered(model.explain(upload, target)), media_type="image/png")
        except InvalidArgumentError as error:
            raise HTTPException(422, str(error)) from None

    @app.get("/", include_in_schema=False)
    async def try_it() -> Response:
        return HTMLResponse(page_text, headers=page_headers)

    @app.get("/health")
    async def health() -> Response:
        """Whether the process lives, for liveness probes: 503 if the network no longer answers."""
        spec = classifier.spec
        facts = {
            "status": "stuck" if model.is_stuck else "ok",
            "model": spec.name,
            "classes": len(spec.labels),
            "calibrated": classifier.calibration is not None,
            "heat_maps": model.explains and not spec.multi_label,  # of the best class
            "version": __version__,
        }
        return JSONResponse(facts, 503 if model.is_stuck else 200)

    @app.get("/ready")
    async def ready() -> Response:
        """Whether an image would be taken now, for readiness probes: 503 while too many wait."""
        full = model.room.taken >= model.room.size or model.is_stuck
        return JSONResponse({"status": "busy" if full else "ready"}, 503 if full else 200)

    @app.get("/metrics")
    async def all_metrics() -> Response:
        """Numbers of all workers, in Prometheus's text format."""
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.exception_handler(FullError)
    async def full(request: Request, error: FullError) -> Response:
        headers = {"Retry-After": str(model.retry_after)}
        return JSONResponse({"detail": "too many images wait; try again later"}, 503, headers)

    @app.exception_handler(ImageError)
    async def bad_image(request: Request, error: ImageError) -> Response:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(BundleError)
    async def not_there(request: Request, error: BundleError) -> Response:
        return JSONResponse({"detail": str(error)}, 501)

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def nothing_there(request: Request, error: HTTPException) -> Response:
        wrong = f"{request.method} {request.url.path} is not answered here; /openapi.json lists what is"
        return JSONResponse({"detail": wrong}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def bad_query(request: Request, error: RequestValidationError) -> Response:
        wrong = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        return JSONResponse({"detail": wrong}, 422)

    return app
