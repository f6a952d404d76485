"""Runs on disk: their folders, reading and resuming them, and atomic checkpoint files."""
