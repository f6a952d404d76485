"""Pipelines: stages that run one after another, and a report on their models."""
