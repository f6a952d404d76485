"""All runs of a folder at a glance: a table, a comparison of settings, a page, and which to keep; without torch."""
