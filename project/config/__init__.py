"""Settings as YAML and as flags: parsing, trust, and errors about flags."""

import project.config.ranges  # noqa: F401  (parsers know these types from here on)
