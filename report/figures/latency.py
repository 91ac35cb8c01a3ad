"""Latency under an open loop, by proxy."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import COLOURS, NAMES, new_figure, plain_log
from report.views import pick

NEEDS = "balancer"
QUANTILES = {"p50_us": "median", "p99_us": "99 %", "p99_9_us": "99.9 %", "max_us": "largest"}
PROXIES = ["evenkeel", "haproxy", "nginx"]


def draw(document: dict[str, Any]) -> Figure:
    """For each quantile the median of the rounds, and a line from the least to the most."""
    figures = pick(document["cases"], case="latency")["summary"]["figures"]
    figure, axes = new_figure(2.1)
    for number, proxy in enumerate(PROXIES):
        for place, quantile in enumerate(QUANTILES):
            times, at = figures[proxy][quantile], place + 0.18 * (number - 1)
            axes.plot([at, at], [times["min"] / 1_000, times["max"] / 1_000], color=COLOURS[proxy], linewidth=1)
            axes.plot([at], [times["median"] / 1_000], "o", color=COLOURS[proxy], markersize=5)
        axes.plot([], [], "o", color=COLOURS[proxy], markersize=5, label=NAMES[proxy])
    axes.set_xticks(range(len(QUANTILES)), list(QUANTILES.values()))
    axes.set_yscale("log")
    plain_log(axes.yaxis)
    axes.set_ylabel("latency, ms (log)")
    axes.legend(loc="upper left")
    return figure
