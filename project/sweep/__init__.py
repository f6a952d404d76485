"""Hyperparameter search: one Optuna study in a folder, each trial a run; any number of processes share it."""
