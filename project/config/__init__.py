"""The configuration as YAML and flags: parsing, trust, and errors about flags."""

import project.config.ranges  # noqa: F401  (registers the range types)
