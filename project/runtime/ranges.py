"""Types of numbers within a range, for the signatures of classes and for `argparse`.

`--help` shows the name of the type, and parsing enforces the range. The parsed value is a plain `int` or `float`,
because `torch.load(weights_only=True)` could not read a checkpoint with an instance of another class.
"""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # one alias per line, because mypy treats names in chained assignments as variables
    PositiveInt = int
    NonNegativeInt = int
    IntFromTwo = int
    Port = int
    PositiveFloat = float
    NonNegativeFloat = float
    OpenUnitInterval = float
    ClosedUnitInterval = float
    RightOpenUnitInterval = float
    LeftOpenUnitInterval = float
    RANGES: list[type]
else:

    def _range(number: type, rule: str, contains: Callable[[float], bool]) -> type:
        """Return a type. Calling it checks a text or a number and returns a plain number."""

        def parse(cls: type, value: Any) -> float:
            try:
                parsed = number(value)
                valid = contains(parsed) and parsed == float(value) and not isinstance(value, bool)
            except (TypeError, ValueError, OverflowError):
                valid = False
            if not valid:
                raise ArgumentTypeError(f"must be {rule}, got {str(value)[:80]}")
            return parsed

        def includes(value: Any) -> bool:
            return isinstance(value, number) and not isinstance(value, bool) and contains(value)

        return type("Range", (number,), {"__new__": parse, "includes": staticmethod(includes), "number": number})

    PositiveInt = _range(int, "an integer, 1 or more", lambda value: value >= 1)
    NonNegativeInt = _range(int, "an integer, 0 or more", lambda value: value >= 0)
    IntFromTwo = _range(int, "an integer, 2 or more", lambda value: value >= 2)
    Port = _range(int, "an integer from 0 to 65535", lambda value: 0 <= value < 2**16)
    PositiveFloat = _range(float, "a number above 0", lambda value: 0 < value < float("inf"))
    NonNegativeFloat = _range(float, "a number, 0 or more", lambda value: 0 <= value < float("inf"))
    OpenUnitInterval = _range(float, "a number above 0 and below 1", lambda value: 0 < value < 1)
    ClosedUnitInterval = _range(float, "a number from 0 to 1", lambda value: 0 <= value <= 1)
    RightOpenUnitInterval = _range(float, "a number from 0 to below 1", lambda value: 0 <= value < 1)
    LeftOpenUnitInterval = _range(float, "a number above 0, at most 1", lambda value: 0 < value <= 1)

    RANGES = [kind for kind in list(globals().values()) if isinstance(kind, type) and kind.__name__ == "Range"]
    for _name, _kind in list(globals().items()):
        if _kind in RANGES:
            _kind.__name__ = _kind.__qualname__ = _name
