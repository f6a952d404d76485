"""The process: errors, signals, the console, files and ranks."""
