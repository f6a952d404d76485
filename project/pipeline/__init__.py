"""Stages in a row, with a report."""
