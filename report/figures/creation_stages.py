"""When each stage of a creation is reached, by driver."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import COLOURS, NAMES, new_figure, plain_log, spread_marks

NEEDS = "create"
STAGES = {
    "asked": "intent stored", "placed": "VM decided, layout stored", "started": "VM's process runs",
    "well": "VM is well", "named": "in DNS", "checked": "backend checked",
    "answered": "create answers", "served": "first answer by URL",
}
LEAST_MS = 1


def draw(document: dict[str, Any]) -> Figure:
    """A row for each stage, within it a mark for each driver."""
    cases = document["cases"]
    figure, axes = new_figure(3.4)
    for row, stage in enumerate(STAGES):
        for number, case in enumerate(cases):
            reached = case["figures"][stage]
            if reached["p50"] is None:
                continue
            at = len(STAGES) - 1 - row + 0.3 - 0.2 * number
            shown = {key: at_least(value) for key, value in reached.items()}
            spread_marks(axes, at, shown, COLOURS[case["driver"]])
    for case in cases:
        axes.plot([], [], "o", markersize=5, color=COLOURS[case["driver"]], label=NAMES[case["driver"]])
    axes.set_yticks(range(len(STAGES)), list(reversed(STAGES.values())))
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlabel("from the request, ms (log)")
    figure.legend(loc="outside upper center", ncols=len(cases))
    return figure


def at_least(value: Any) -> Any:
    """What a logarithmic axis can show: stages of the request's own millisecond are at its end."""
    return [max(LEAST_MS, each) for each in value] if isinstance(value, list) else max(LEAST_MS, value)
