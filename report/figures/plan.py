"""What a decision costs, by how many instances there are."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import new_figure, plain_log

NEEDS = "plan"
DECISIONS = {
    "intent_us": ("one instance is changed", "#0b5c8a"), "death_us": ("one VM dies", "#c2571a"),
    "whole_us": ("everything is looked at", "#3b8132"), "placement_us": ("all are placed at once", "#7a5195"),
}


def draw(document: dict[str, Any]) -> Figure:
    """A line for each decision, with the least and the most."""
    sizes = {int(name.split()[0]): figures for name, figures in document["figures"].items()}
    figure, axes = new_figure(2.5)
    for name, (label, colour) in DECISIONS.items():
        of_size = [sizes[size][name] for size in sorted(sizes)]
        middle = [spread["p50"] / 1_000 for spread in of_size]
        below = [(spread["p50"] - spread["min"]) / 1_000 for spread in of_size]
        above = [(spread["max"] - spread["p50"]) / 1_000 for spread in of_size]
        axes.errorbar(sorted(sizes), middle, yerr=[below, above], color=colour, marker="o", markersize=4,
                      elinewidth=0.8, capsize=2, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_log(axes.yaxis)
    axes.set_xticks(sorted(sizes), [f"{size:,}".replace(",", " ") for size in sorted(sizes)])
    axes.minorticks_off()
    axes.set_xlabel("instances (log)")
    axes.set_ylabel("CPU time, ms (log)")
    axes.legend(loc="upper left")
    return figure
