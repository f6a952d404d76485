"""Stages that turn runs into a new run: fine-tuning, ensembles, distillation, pruning, cross-validation."""
