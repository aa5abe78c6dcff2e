"""Numbers as tables print them; amounts of information in bit or kbit."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

MISSING = "–"


def format_bits(bits: float | None, std: float | None = None) -> str:
    """An amount of information in bits, with its unit; with ``std`` as mean ± std.

    The one rule: below 10,000 bit in bit with one decimal, from there on in kbit with three, so
    that 1 kbit = 1,000 bit and no digit below a bit is claimed for long codes.

    Examples:
        >>> format_bits(281.42), format_bits(199315.6857)
        ('281.4 bit', '199.316 kbit')
    """
    if bits is None:
        return MISSING
    scale, unit, digits = (1, "bit", 1) if abs(round(bits, 1)) < 10_000 else (1000, "kbit", 3)
    spread = "" if std is None else f" ± {std / scale:,.{digits}f}"
    return f"{bits / scale:,.{digits}f}{spread} {unit}"


def format_number(number: float | None, std: float | None = None, digits: int = 3) -> str:
    """A plain number, with ``std`` as mean ± std."""
    if number is None:
        return MISSING
    return f"{number:,.{digits}f}" + ("" if std is None else f" ± {std:,.{digits}f}")


def format_seconds(seconds: float | None) -> str:
    """A duration: seconds below two minutes, then minutes, then hours."""
    if seconds is None:
        return MISSING
    if seconds < 119.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_count(count: float, std: float | None = None) -> str:
    """A count, with ``std`` as mean ± std: in full below a hundred thousand, else in millions.

    Examples:
        >>> format_count(9560), format_count(266200), format_count(86_800_000)
        ('9,560', '0.266 M', '86.8 M')
    """
    if count < 100_000:
        return format_number(count, std, 0)
    digits = 3 if count < 10_000_000 else 1
    return f"{format_number(count / 1e6, None if std is None else std / 1e6, digits)} M"


def format_size(size: float, std: float | None = None) -> str:
    """The size of a file in bytes, with ``std`` as mean ± std: 39,512 B, 1.067 MB."""
    text = format_count(size, std)
    return f"{text}B" if text.endswith("M") else f"{text} B"


def format_latencies(full: float, small: float) -> str:
    """Two short times in one unit, full → small, from seconds.

    Examples:
        >>> format_latencies(52e-6, 41e-6), format_latencies(1.3e-3, 0.31e-3)
        ('52 → 41 µs', '1.3 → 0.31 ms')
    """
    longest = max(full, small)
    scale, unit = (1e6, "µs") if longest < 999.5e-6 else (1e3, "ms") if longest < 0.9995 else (1, "s")
    return f"{full * scale:.3g} → {small * scale:.3g} {unit}"


def broken(name: str, width: int = 24) -> str:
    """A long name on lines of at most ``width``, broken after an underscore, a hyphen or a space."""
    lines = []
    while len(name) > width:
        cut = max(name.rfind(sign, 4, width) for sign in "_- ") + 1 or width
        lines.append(name[:cut])
        name = name[cut:]
    return "\n".join([*lines, name])


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); None for the latter where there is one value."""
    if not all(map(math.isfinite, values)):
        raise ValueError("a value is not finite")
    return fmean(values), stdev(values) if len(values) > 1 else None
