"""OpenAI's list of models, and the description of its routes."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from project.serving.artifact import Artifact
from project.serving.openai_reply import PREFIX, openai_error
from project.serving.request_error import RequestError, quoted

ROUTES = {"completions": "Text after a prompt", "chat/completions": "Answer in a conversation"}
FORMAT = "The format is that of OpenAI's API: https://platform.openai.com/docs/api-reference"


def add_openai(app: FastAPI, artifact: Artifact) -> None:
    """Add the routes of OpenAI's API; requests for text themselves are answered by `Service`."""
    described = _described(artifact.path)

    @app.get(f"{PREFIX}models", summary="The model, as OpenAI's API lists it")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [described]}

    @app.get(PREFIX + "models/{name:path}", summary="The model")
    async def model(name: str) -> Response:
        if name == described["id"]:
            return JSONResponse(described)
        status, body = openai_error(RequestError(404, f"model: there is no {quoted(name)}"))
        return Response(body, status, media_type="application/json")

    async def post() -> None:
        """The text is sent as one answer, or as server-sent events while it is written."""

    for route, summary in ROUTES.items():
        app.post(PREFIX + route, summary=summary, description=FORMAT)(post)


def _described(path: Path) -> dict[str, Any]:
    return {"id": path.stem, "object": "model", "created": int(path.stat().st_mtime), "owned_by": "hello-lightning"}
