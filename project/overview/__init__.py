"""An overview of the runs in a folder: a table, a comparison, a page, and their removal. Imports no torch."""
