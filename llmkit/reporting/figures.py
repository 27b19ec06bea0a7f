"""Figures as people read them, the same on a terminal and on a page."""

from __future__ import annotations

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")

BYTES = "B"
PERCENT = "%"


def number(value: object) -> str:
    """A figure as people read it: thousands separated, four significant digits, nothing where there is nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value != value or abs(value) == float("inf"):
        return str(value)
    whole = abs(value) >= 10_000 or (abs(value) >= 1000 and value.is_integer())
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def size(count: float) -> str:
    """Bytes in decimal units, three digits: `812 B`, `4.21 kB`, `1.3 GB`."""
    unit = 0
    while abs(count) >= 999.5 and unit < len(_SIZES) - 1:
        count /= 1000
        unit += 1
    return f"{count:.3g} {_SIZES[unit]}"


def share(part: float, whole: float) -> str:
    """`part` of `whole` in percent; what is there never reads as nothing, and what is missing never as all."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    return f"{percent:.0f}%" if percent in (0, 100) else f"{percent:.1f}%"


def quantity(value: float | None, unit: str = "") -> str:
    """A figure with its unit: bytes as a size, `%` without a space, any other unit behind one."""
    if value is None:
        return "-"
    if unit == BYTES:
        return size(value)
    return f"{number(value)}{unit if unit == PERCENT else ' ' + unit}".rstrip()


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 04 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
