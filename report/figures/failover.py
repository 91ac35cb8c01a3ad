"""What follows on a VM's death, on one time axis, by driver, number of VMs, and whether it was killed or stopped."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import NAMES, new_figure, plain_log

NEEDS = "failover"
STAGES = {
    "detected": ("found down", "o", "#8a1c1c"), "dropped": ("out of DNS", "v", "#c2571a"),
    "replaced": ("replacement serves", "s", "#0b5c8a"), "named": ("DNS names it", "^", "#3b8132"),
    "restored": ("last failed request", "x", "#333333"),
}


def draw(document: dict[str, Any]) -> Figure:
    """A row for each case: the median of each stage, and a line from the least to the most."""
    cases = document["cases"]
    figure, axes = new_figure(0.8 + 0.29 * len(cases))
    for row, case in enumerate(reversed(cases)):
        for number, (stage, (_, marker, colour)) in enumerate(STAGES.items()):
            times, at = case["figures"][stage], row + 0.26 - 0.13 * number
            if times["p50"] is None:
                continue
            # A logarithmic axis has no place for nothing.
            axes.plot([max(1, times["min"]), max(1, times["max"])], [at, at], color=colour, linewidth=0.8, alpha=0.6)
            axes.plot([max(1, times["p50"])], [at], marker, color=colour, markersize=4)
    for label, marker, colour in STAGES.values():
        axes.plot([], [], marker, color=colour, markersize=4, label=label)
    axes.set_yticks(range(len(cases)), [title(case) for case in reversed(cases)])
    axes.set_ylim(-0.6, len(cases) - 0.4)
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlabel("after the VM was struck, ms (log)")
    figure.legend(loc="outside upper center", ncols=len(STAGES))
    return figure


def title(case: dict[str, Any]) -> str:
    """A case in few words."""
    vms = "alone" if case["vms"] == 1 else f"one of {case['vms']}"
    return f"{NAMES[case['driver']]}, {vms}, {case['how']}"
