"""Holds the sections to having no figure typed by hand: a digit in prose must come from an expression.

Names that have digits are allowed by `data/allowed.txt`. What stands in expressions, code and headings' marks is no prose.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
NO_PROSE = [
    re.compile(r"\{#.*?#\}", re.S), re.compile(r"\{\{.*?\}\}", re.S), re.compile(r"\{%.*?%\}", re.S),
    re.compile(r"```.*?```", re.S), re.compile(r"`[^`\n]*`"), re.compile(r"<[^>]*>"), re.compile(r"\]\([^)]*\)"),
    re.compile(r"^\d+\. ", re.M),
]
DIGITS = re.compile(r"\S*\d\S*(?:\s?(?:ms|µs|us|ns|s|%|KiB|MiB|GiB|MB|GB|bytes|times|requests|seconds|VMs)\b)?")


def allowed() -> list[re.Pattern[str]]:
    """The names that may have digits."""
    lines = (HERE / "data/allowed.txt").read_text().splitlines()
    return [re.compile(line) for line in lines if line and not line.startswith("#")]


def blank(match: re.Match[str]) -> str:
    """As many lines as there were, so that the others keep their numbers."""
    return "\n" * match[0].count("\n") or " "


def typed_figures(text: str) -> list[tuple[int, str]]:
    """The figures that were typed into a text, each with its line."""
    for pattern in [*NO_PROSE, *allowed()]:
        text = pattern.sub(blank, text)
    lines = text.splitlines()
    return [(number, found[0]) for number, line in enumerate(lines, 1) for found in DIGITS.finditer(line)]
