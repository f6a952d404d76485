"""Durations in flags and configurations."""

import re
from datetime import timedelta

FORMS = (
    r"(?:(?P<days>-?\d+) days?, )?(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d+)?)",  # str(timedelta)
    r"(?P<days>\d+):(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d+)?)",  # Lightning's max_time
)


def parse_duration(text: object) -> timedelta:
    """Parse `hours:minutes:seconds`, `days:hours:minutes:seconds` or `N days, hours:minutes:seconds`.

    Raises:
        ValueError: If it has another form.
    """
    for form in FORMS:
        if match := re.fullmatch(form, str(text)):
            return timedelta(**{unit: float(number) for unit, number in match.groupdict().items() if number})
    raise ValueError(f"must be a time such as 00:30:00 (hours:minutes:seconds) or 1:00:30:00 (with days), got {text}")
