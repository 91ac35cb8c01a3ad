"""What Evenkeel's balancer costs as a share of what its peers cost, in every case."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import COLOURS, NAMES, new_figure
from report.views import balancer_comparisons

NEEDS = "balancer"


def draw(document: dict[str, Any]) -> Figure:
    """A row for each case and peer; the grey band is what the same program differs from itself by."""
    rows = balancer_comparisons(document)
    figure, axes = new_figure(0.7 + 0.19 * len(rows))
    labels = []
    for row, compared in enumerate(reversed(rows)):
        noise, ratio, colour = compared["noise"], compared["ratio"], COLOURS[compared["with"]]
        axes.plot([noise["min"], noise["max"]], [row, row], color="#e2e2e2", linewidth=7, solid_capstyle="butt", zorder=1)
        axes.plot([ratio["min"], ratio["max"]], [row, row], color=colour, linewidth=1, zorder=2)
        axes.plot([ratio["median"]], [row], "o", color=colour, markersize=4.5, zorder=3)
        if compared["target"] is not None:
            axes.plot([compared["target"]], [row], "|", color="#000000", markersize=8, zorder=3)
        labels.append(f"{compared['title']} / {NAMES[compared['with']]}")
    axes.axvline(1, color="#555555", linewidth=0.8)
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlim(0, min(2.2, axes.get_xlim()[1]))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Evenkeel / peer (left of 1 Evenkeel takes less)")
    return figure
