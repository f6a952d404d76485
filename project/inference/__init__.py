"""Evaluate, compare and predict with a run or an exported file."""
