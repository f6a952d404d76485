"""The report of a pipeline: measurements, verdicts, and one page."""
