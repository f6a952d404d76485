"""The stages of a pipeline, one per file. To add a stage, write its file and add it to the list below."""

from project.pipeline.stage import STAGES
from project.pipeline.stages.distill import Distill
from project.pipeline.stages.ensemble import Ensemble
from project.pipeline.stages.evaluate import Evaluate
from project.pipeline.stages.export import Export
from project.pipeline.stages.prune import Prune
from project.pipeline.stages.quantize import Quantize
from project.pipeline.stages.serve import Serve
from project.pipeline.stages.train import Train

__all__ = ["STAGES"]

# In the order in which a pipeline runs them by default. The last one is always the last.
for stage in (Train(), Ensemble(), Distill(), Prune(), Export(), Quantize(), Serve(), Evaluate()):
    STAGES[stage.name] = stage
