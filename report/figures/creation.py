"""From a request to the first answer through the URL, by driver."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import COLOURS, NAMES, new_figure, plain_log, spread_marks

NEEDS = "create"


def draw(document: dict[str, Any]) -> Figure:
    """A line for each driver, all samples on it."""
    cases = document["cases"]
    figure, axes = new_figure(0.45 + 0.32 * len(cases))
    for place, case in enumerate(reversed(cases)):
        spread_marks(axes, place, case["figures"]["served"], COLOURS[case["driver"]])
    axes.set_yticks(range(len(cases)), [NAMES[case["driver"]] for case in reversed(cases)])
    axes.set_ylim(-0.6, len(cases) - 0.4)
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlabel("from the request to the first answer, ms (log)")
    return figure
