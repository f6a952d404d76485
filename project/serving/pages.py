"""The routes of a server other than predictions: page, OpenAPI description, health, metadata and metrics."""

from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse

from project.serving.artifact import Artifact
from project.serving.description import example_rows, request_body, responses
from project.serving.limits import Limits
from project.serving.metadata import Metadata
from project.serving.metrics import Counters

# The page needs no other site, and is not allowed to load from one.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _page() -> str:
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def public_metadata(metadata: Metadata) -> dict[str, Any]:
    """Return the metadata without the configuration and without the folder of the run.

    They hold paths, and perhaps addresses with keys, of the machine that trained the model.
    """
    example = {"example": example_rows(metadata)[0]} if metadata.get("fields") else {}
    return {key: value for key, value in metadata.items() if key != "config"} | {
        **example,
        "run": PureWindowsPath(metadata["run"]).name,  # of both systems' paths
    }


def pages(artifact: Artifact, limits: Limits, counters: Counters) -> FastAPI:
    """Create the application that answers all routes but `POST /predict`, which it describes."""
    metadata, published = artifact.metadata, public_metadata(artifact.metadata)
    app = FastAPI(
        title=f"{metadata['net']}: {', '.join(metadata['target_names'])}",
        version=metadata["version"],
        docs_url=None,  # FastAPI's own pages load scripts from other sites
        redoc_url=None,
        redirect_slashes=False,
    )

    @app.get("/docs", include_in_schema=False)  # the usual address of FastAPI's page
    @app.get("/", response_class=HTMLResponse, summary="A page to try the model")
    async def index() -> HTMLResponse:
        return HTMLResponse(_page(), headers={"content-security-policy": POLICY})

    @app.get("/health", summary="Whether the server answers, and with which model")
    async def health() -> dict[str, str]:
        return {"status": "ok", "artifact": artifact.path.name, "run": published["run"]}

    @app.get("/metadata", summary="Metadata of the model")
    async def describe() -> dict[str, Any]:
        return published

    @app.get("/metrics", response_class=PlainTextResponse, summary="Metrics for Prometheus")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(counters.text(), media_type="text/plain; version=0.0.4")

    @app.post(
        "/predict",
        summary="Predictions for rows",
        openapi_extra={"requestBody": request_body(metadata, limits)},
        responses=responses(metadata),
    )
    async def predict() -> None:  # only for the description and other methods: `Service` answers the requests
        """One row or thousands; the answer has the content type of the body."""

    return app
