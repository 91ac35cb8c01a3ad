"""How figures are written: the only place in which a measured number becomes text."""

from __future__ import annotations

from collections.abc import Iterable

NARROW_SPACE = "\u202f"


def rounded(value: float, digits: int = 3) -> str:
    """With so many digits that say something, and without an exponent."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    number = float(text)
    if abs(number) >= 10 ** (digits - 1):
        return count(round(number))
    decimals = max(0, digits - len(str(int(abs(number)))) if abs(number) >= 1 else digits)
    text = f"{number:.{decimals}f}" if abs(number) >= 1 else text
    return text.rstrip("0").rstrip(".") if "." in text and abs(number) >= 1 else text


def count(value: float) -> str:
    """A whole number, with its thousands apart."""
    return f"{value:,.0f}".replace(",", NARROW_SPACE)


def with_unit(value: float, unit: str, digits: int = 3) -> str:
    """A figure and its unit, on one line."""
    return f"{rounded(value, digits)}{NARROW_SPACE}{unit}"


def ms(value: float | None) -> str:
    """A time given in milliseconds; of rounds that all failed there is none."""
    if value is None:
        return "no figure"
    if value >= 1_000:
        return with_unit(value / 1_000, "s")
    return with_unit(value, "ms") if value >= 1 or value == 0 else with_unit(value * 1_000, "µs")


def us(value: float) -> str:
    """A time given in microseconds."""
    return ms(value / 1_000) if value >= 1_000 else with_unit(value, "µs")


def seconds(value: float) -> str:
    """A time given in seconds."""
    return ms(value * 1_000) if value < 120 else with_unit(value / 60, "min", 2)


def percent(share: float) -> str:
    """A share, as percent."""
    return with_unit(share * 100, "%", 2)


def ratio(value: float) -> str:
    """How many times something else something is."""
    return f"{value:.2f}"


def listed(words: Iterable[str]) -> str:
    """Several things in a sentence."""
    words = list(words)
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)
