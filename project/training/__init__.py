"""Training: from a command line to a run and its report."""
