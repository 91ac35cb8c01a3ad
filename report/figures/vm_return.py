"""A VM that stands still, is replaced, goes on and takes its place again."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import NAMES, new_figure

NEEDS = "return"
AFTER_STOP = {"detected": ("found down", "o", "#8a1c1c"), "named": ("replacement in DNS", "^", "#3b8132")}
AFTER_WAKING = {
    "returned": ("ports opened", "D", "#b58900"), "put_back": ("serves again", "s", "#0b5c8a"),
    "named_again": ("in DNS again", "P", "#7a5195"), "gone": ("replacement gone", "x", "#333333"),
}


def draw(document: dict[str, Any]) -> Figure:
    """A row for each driver. What follows on the waking is shown behind the median waking."""
    cases = document["cases"]
    figure, axes = new_figure(0.9 + 0.42 * len(cases))
    for row, case in enumerate(reversed(cases)):
        figures = case["figures"]
        woken = figures["woken"]["p50"]
        if woken is None:
            continue
        mark(axes, row, woken, woken, woken, "|", "#000000")
        for stages, base in ((AFTER_STOP, 0), (AFTER_WAKING, woken)):
            for stage, (_, marker, colour) in stages.items():
                times = figures[stage]
                mark(axes, row, base + times["min"], base + times["p50"], base + times["max"], marker, colour)
    axes.plot([], [], "|", color="#000000", markersize=11, label="goes on")
    for label, marker, colour in [*AFTER_STOP.values(), *AFTER_WAKING.values()]:
        axes.plot([], [], marker, color=colour, markersize=4.5, linestyle="none", label=label)
    axes.set_yticks(range(len(cases)), [NAMES[case["driver"]] for case in reversed(cases)])
    axes.set_ylim(-0.6, len(cases) - 0.4)
    axes.set_xlim(left=0)
    axes.set_xlabel("after the VM was stopped, s")
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def mark(axes: Any, row: float, low: float, middle: float, high: float, marker: str, colour: str) -> None:
    """A stage, in seconds."""
    axes.plot([low / 1_000, high / 1_000], [row, row], color=colour, linewidth=0.8, alpha=0.6)
    axes.plot([middle / 1_000], [row], marker, color=colour, markersize=11 if marker == "|" else 4.5)
