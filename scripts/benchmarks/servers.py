"""Other servers of the same linear model: `python -m benchmarks.servers NAME PORT ARTIFACT`."""

import sys
from pathlib import Path
from typing import Any, NoReturn

FEATURES = 8


def fastapi_torch(port: int, artifact: Path) -> None:
    """Serve a torch module with a FastAPI handler, as in tutorials."""
    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    app, net = FastAPI(), torch.nn.Linear(FEATURES, 1)

    class Rows(BaseModel):
        rows: list[list[float]]

    @app.post("/predict")
    async def predict(body: Rows) -> dict[str, list[list[float]]]:
        with torch.inference_mode():
            return {"predictions": net(torch.tensor(body.rows)).tolist()}

    uvicorn.run(app, port=port, log_level="error", access_log=False)


def fastapi_scikit_learn(port: int, artifact: Path) -> None:
    """Serve scikit-learn's `predict` with a FastAPI handler."""
    import uvicorn
    from fastapi import FastAPI, Request

    app, model = FastAPI(), _fitted_linear_regression()

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, list[float]]:
        return {"predictions": model.predict((await request.json())["rows"]).tolist()}

    uvicorn.run(app, port=port, log_level="error", access_log=False)


def scikit_learn(port: int, artifact: Path) -> NoReturn:
    """Serve scikit-learn's `predict` with this project's server."""
    from project.serving import worker
    from project.serving.artifact import Array, Artifact
    from project.serving.server import serve

    model = _fitted_linear_regression()

    class Peer(Artifact):
        def predict(self, x: Array, options: Any = None) -> dict[str, Array]:
            return {"outputs": model.predict(x)[:, None]}

    worker.load_artifact = Peer  # type: ignore[attr-defined]
    serve(artifact, port=port)


def _fitted_linear_regression() -> Any:
    import numpy as np
    from sklearn.linear_model import LinearRegression

    x = np.random.default_rng(0).normal(size=(1_000, FEATURES)).astype(np.float32)
    return LinearRegression().fit(x, x.sum(axis=1))


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
