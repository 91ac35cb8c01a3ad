"""How pictures of measurements look, and how they become SVG."""

from __future__ import annotations

import io
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

WIDTH = 6.6
"""Inches, of the text's width."""
COLOURS = {
    "evenkeel": "#0b5c8a", "haproxy": "#c2571a", "haproxy-pipes": "#e0a458", "nginx": "#3b8132",
    "rrdtool": "#7a5195", "prometheus": "#c2571a",
    "process": "#3b8132", "tcg, booted": "#c2571a", "tcg, restored": "#b58900", "tcg, pooled": "#0b5c8a",
}
NAMES = {
    "evenkeel": "Evenkeel", "haproxy": "HAProxy", "haproxy-pipes": "HAProxy, larger pipes", "nginx": "nginx",
    "rrdtool": "RRDtool", "prometheus": "Prometheus",
    "process": "process", "tcg, booted": "VM, booted", "tcg, restored": "VM, from the snapshot",
    "tcg, pooled": "VM, from the pool",
}
SETTINGS = {
    "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.5, "axes.axisbelow": True,
    "svg.hashsalt": "evenkeel", "figure.constrained_layout.use": True, "lines.linewidth": 1.2,
}
matplotlib.rcParams.update(SETTINGS)


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of the text's width with its axes."""
    return pyplot.subplots(rows, columns, figsize=(WIDTH, height), **options)


def as_svg(figure: Figure) -> str:
    """The figure as a picture, the same from the same data."""
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return written.getvalue()


def spread_marks(axes: Axes, at: float, figure: dict[str, Any], colour: str, marker: str = "o") -> None:
    """A median with a line from the least to the most, and each sample where they are told."""
    low, high = figure["min"], figure["max"]
    axes.plot([low, high], [at, at], color=colour, linewidth=1, alpha=0.6, zorder=2)
    samples = figure.get("samples", [])
    axes.plot(samples, [at] * len(samples), ".", color=colour, markersize=2.5, alpha=0.4, zorder=2)
    middle = figure["p50"] if "p50" in figure else figure["median"]
    axes.plot([middle], [at], marker, color=colour, markersize=5, zorder=3)


def plain_log(axis: Any) -> None:
    """Ticks of a logarithmic axis as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
