"""Everything but predictions: the page, the description, the health and the figures of a server."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse

from project.serving.artifact import Artifact
from project.serving.description import request_body, responses
from project.serving.limits import Limits
from project.serving.metrics import Counters

PAGE = Path(__file__).with_name("page.html")
# The page needs nothing from elsewhere, and is allowed nothing.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def pages(artifact: Artifact, limits: Limits, counters: Counters) -> FastAPI:
    """The application behind `/predict`, which describes that as well.

    Args:
        artifact: What is served.
        limits: What a request may ask for.
        counters: What `/metrics` shows.
    """
    metadata, page = artifact.metadata, PAGE.read_text(encoding="utf-8")
    app = FastAPI(
        title=f"{metadata['net']}: {', '.join(metadata['target_names'])}",
        version=metadata["version"],
        docs_url=None,  # FastAPI's own load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )

    @app.get("/docs", include_in_schema=False)  # where FastAPI has its own; this page has examples and /openapi.json
    @app.get("/", response_class=HTMLResponse, summary="A page to try the model on")
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": POLICY})

    @app.get("/health", summary="Whether predictions are made, and by what")
    async def health() -> dict[str, str]:
        return {"status": "ok", "artifact": str(artifact.path), "run": metadata["run"]}

    @app.get("/metadata", summary="What the artifact says of itself")
    async def describe() -> dict[str, Any]:
        return dict(metadata)

    @app.get("/metrics", response_class=PlainTextResponse, summary="Figures for Prometheus")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(counters.text(), media_type="text/plain; version=0.0.4")

    @app.post(
        "/predict",
        summary="Predictions for rows",
        openapi_extra={"requestBody": request_body(metadata, limits)},
        responses=responses(metadata),
    )
    async def predict() -> None:
        """One row or thousands; the answer is of the body's type."""
        raise AssertionError("answered by the Service in front; here for the description and for other methods")

    return app
