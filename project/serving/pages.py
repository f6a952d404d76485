"""The routes of a server other than predictions: page, OpenAPI description, health, metadata and metrics."""

from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse

from project.serving import text_description
from project.serving.artifact import Artifact
from project.serving.description import example_rows, request_body, responses
from project.serving.limits import Limits
from project.serving.metadata import LANGUAGE, Metadata
from project.serving.metrics import Counters
from project.serving.openai_pages import add_openai
from project.serving.text_artifact import TextArtifact

# The page needs no other site, and is not allowed to load from one.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _page(name: str) -> str:
    html = Path(__file__).with_name(name).read_text(encoding="utf-8")
    for shared in ("page.css", "page.js"):
        html = html.replace(f"/* {shared} */\n", Path(__file__).with_name(shared).read_text(encoding="utf-8"))
    return html


def public_metadata(metadata: Metadata) -> dict[str, Any]:
    """Return the metadata without the configuration and without the folder of the run.

    They hold paths of the machine that trained the model, and perhaps addresses with keys.
    """
    is_table = metadata.get("fields") and metadata["task"] != LANGUAGE
    example = {"example": example_rows(metadata)[0]} if is_table else {}
    hidden = ("config",) if metadata["task"] != LANGUAGE else ("config", "fields")  # a tokenizer is long
    return {key: value for key, value in metadata.items() if key not in hidden} | {
        **example,
        "run": PureWindowsPath(metadata["run"]).name,  # splits paths of Windows and of POSIX
    }


def pages(artifact: Artifact, limits: Limits, counters: Counters) -> FastAPI:
    """Create the application that answers all routes but `POST /predict` or `/generate`, which it describes."""
    is_text = artifact.metadata["task"] == LANGUAGE
    is_chat = isinstance(artifact, TextArtifact) and artifact.tokenizer.chat_template is not None
    page = "chat.html" if is_chat else "text.html" if is_text else "page.html"
    metadata, published = artifact.metadata, public_metadata(artifact.metadata)
    app = FastAPI(
        title=f"{metadata['net']}: {', '.join(metadata['target_names'])}",
        version=metadata["version"],
        docs_url=None,  # FastAPI's own pages load scripts from other sites
        redoc_url=None,
        redirect_slashes=False,
    )

    @app.get("/docs", include_in_schema=False)  # the usual address of FastAPI's page
    @app.get("/", response_class=HTMLResponse, summary="Page to try the model")
    async def index() -> HTMLResponse:
        return HTMLResponse(_page(page), headers={"content-security-policy": POLICY})

    @app.get("/health", summary="Whether the server answers, and with which model")
    async def health() -> dict[str, str]:
        return {"status": "ok", "artifact": artifact.path.name, "run": published["run"]}

    @app.get("/metadata", summary="Metadata of the model")
    async def describe() -> dict[str, Any]:
        return published

    @app.get("/metrics", response_class=PlainTextResponse, summary="Metrics for Prometheus")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(counters.text(), media_type="text/plain; version=0.0.4")

    if is_text:
        _add_generate(app, limits)
        add_openai(app, artifact)
    else:
        _add_predict(app, metadata, limits)
    return app


def _add_predict(app: FastAPI, metadata: Metadata, limits: Limits) -> None:
    """Describe `POST /predict`, which `Service` answers."""
    extra = {"requestBody": request_body(metadata, limits)}

    @app.post("/predict", summary="Predictions for rows", openapi_extra=extra, responses=responses(metadata))
    async def predict() -> None:
        """Send one row or thousands; the answer has the content type of the body."""


def _add_generate(app: FastAPI, limits: Limits) -> None:
    """Describe `POST /generate`, which `Service` answers."""
    extra = {"requestBody": text_description.request_body(limits)}

    @app.post("/generate", summary="Text", openapi_extra=extra, responses=text_description.responses())
    async def generate() -> None:
        """The text is sent as one answer, or as server-sent events while it is written."""
