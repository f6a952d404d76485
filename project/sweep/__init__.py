"""Hyperparameter search: one study on disk, whose trials are runs, shared by any number of processes."""
