"""CPU time of a request by threads, backends and idle clients."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import COLOURS, new_figure

NEEDS = "balancer"
THREADS = {
    "growth-threads": ("Evenkeel", COLOURS["evenkeel"], "-"),
    "growth-threads-one-core": ("Evenkeel, on one core", COLOURS["evenkeel"], ":"),
    "growth-threads-haproxy": ("HAProxy", COLOURS["haproxy"], "-"),
    "growth-threads-nginx": ("nginx", COLOURS["nginx"], "-"),
}


def draw(document: dict[str, Any]) -> Figure:
    """Three axes beside each other, with the least and the most of the rounds."""
    curves = {curve["curve"]: curve for curve in document["growth"]}
    figure, (threads, backends, idle) = new_figure(2.3, 1, 3, sharey=True)
    for number, (name, (label, colour, style)) in enumerate(THREADS.items()):
        follow(threads, curves[name], colour, style, label, 0.03 * (number - 1.5))
    follow(backends, curves["growth-backends"], COLOURS["evenkeel"], "-", "Evenkeel")
    follow(idle, curves["growth-idle"], COLOURS["evenkeel"], "-", "Evenkeel")
    threads.set_xticks([1, 2])
    threads.set_xlim(0.8, 2.2)
    threads.set_xlabel("threads, or workers")
    threads.legend(loc="lower center", fontsize=6.5)
    threads.set_ylabel("CPU for a request, µs")
    threads.set_ylim(bottom=0)
    for axes, label in ((backends, "backends (log)"), (idle, "idle clients (log)")):
        axes.set_xscale("log")
        axes.set_xlabel(label)
    return figure


def follow(axes: Any, curve: dict[str, Any], colour: str, style: str, label: str, shift: float = 0.0) -> None:
    """A curve of medians with its spread."""
    at = [point["at"] + shift for point in curve["points"]]
    spreads = [point["spread"] for point in curve["points"]]
    middle = [spread["median"] for spread in spreads]
    below = [spread["median"] - spread["min"] for spread in spreads]
    above = [spread["max"] - spread["median"] for spread in spreads]
    axes.errorbar(at, middle, yerr=[below, above], color=colour, linestyle=style, marker="o", markersize=4,
                  elinewidth=0.8, capsize=2, label=label)
