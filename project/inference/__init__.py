"""Answers of a run or an exported file: evaluate, compare, predict."""
