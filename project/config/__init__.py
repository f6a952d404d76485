"""Settings as YAML and as flags: parsing, trust, and errors about flags."""
