"""How long it takes until VMs are added and sent away, by driver."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import COLOURS, NAMES, new_figure, spread_marks

NEEDS = "scaling"
STAGES = {
    "out_decided": "more: decided", "out_serving": "more: all serve", "out_named": "more: in DNS",
    "in_decided": "fewer: decided", "in_named": "fewer: one in DNS", "in_gone": "fewer: others gone",
}


def draw(document: dict[str, Any]) -> Figure:
    """A row for each stage, within it a mark for each driver."""
    cases = document["cases"]
    figure, axes = new_figure(2.6)
    for row, stage in enumerate(STAGES):
        for number, case in enumerate(cases):
            times = case["figures"][stage]
            if times["p50"] is None:
                continue
            in_seconds = {key: scaled(value) for key, value in times.items()}
            spread_marks(axes, len(STAGES) - 1 - row + 0.25 - 0.25 * number, in_seconds, COLOURS[case["driver"]])
    for case in cases:
        axes.plot([], [], "o", markersize=5, color=COLOURS[case["driver"]], label=NAMES[case["driver"]])
    axes.set_yticks(range(len(STAGES)), list(reversed(STAGES.values())))
    axes.set_xlim(left=0)
    axes.set_xlabel("after the load changed, s")
    figure.legend(loc="outside upper center", ncols=len(cases))
    return figure


def scaled(value: Any) -> Any:
    """Milliseconds as seconds."""
    return [each / 1_000 for each in value] if isinstance(value, list) else value / 1_000
