"""What the monitor log takes as a share of what RRDtool and Prometheus take."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import COLOURS, NAMES, new_figure, plain_log
from report.views import MONITOR_FIGURES, MORE_IS_BETTER

NEEDS = "monitor"
PEERS = ["rrdtool", "prometheus"]


def draw(document: dict[str, Any]) -> Figure:
    """A row for each figure; where more is better the ratio is turned over, so that left is always better."""
    figure, axes = new_figure(0.7 + 0.24 * len(MONITOR_FIGURES))
    for row, name in enumerate(reversed(MONITOR_FIGURES)):
        summary = document["summary"][name]
        for number, peer in enumerate(PEERS):
            least, middle, most = bounds(summary["evenkeel"], summary[peer], name in MORE_IS_BETTER)
            at = row + 0.15 - 0.3 * number
            axes.plot([least, most], [at, at], color=COLOURS[peer], linewidth=1)
            axes.plot([middle], [at], "o", color=COLOURS[peer], markersize=4.5)
    for peer in PEERS:
        axes.plot([], [], "o", color=COLOURS[peer], markersize=4.5, label=f"beside {NAMES[peer]}")
    axes.axvline(1, color="#555555", linewidth=0.8)
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_yticks(range(len(MONITOR_FIGURES)), list(reversed(MONITOR_FIGURES.values())))
    axes.set_xlabel("Evenkeel / peer (log; left of 1 Evenkeel is better)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def bounds(ours: dict[str, float], theirs: dict[str, float], is_more: bool) -> tuple[float, float, float]:
    """The least, the middle and the most that a ratio can be by the rounds."""
    if is_more:
        ours, theirs = theirs, ours
    return ours["min"] / theirs["max"], ours["median"] / theirs["median"], ours["max"] / theirs["min"]
