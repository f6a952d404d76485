"""Speed compared with other tools on the same work, as ratios measured in turn on the same machine."""
