"""Load, VMs and latency on one time axis, for one shape of load, by driver."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from report.drawing import NAMES, new_figure, plain_log

NEEDS = "autoscaling"


def draw(document: dict[str, Any], curve: str) -> Figure:
    """Three axes above each other, a column for each driver."""
    cases = [case for case in document["cases"] if case["curve"] == curve]
    figure, axes = new_figure(4.3, 3, len(cases), sharex="col", sharey="row", squeeze=False)
    target = document["load"]["target"]
    for column, case in enumerate(cases):
        seconds = case["run"]["seconds"]
        at = [second["at"] for second in seconds]
        series = lambda field: [second[field] for second in seconds]  # noqa: E731
        load, vms, latency = (row[column] for row in axes)
        load.set_title(NAMES[case["driver"]], loc="right", weight="bold", pad=3)
        load.plot(at, series("asked"), color="#999999", linewidth=2.5, label="asked for")
        load.plot(at, series("answered"), color="#0b5c8a", linewidth=0.9, label="answered")
        vms.step(at, series("vms"), where="post", color="#bbbbbb", linewidth=2.5, label="there")
        vms.step(at, series("serving"), where="post", color="#0b5c8a", label="serving, not leaving")
        vms.step(at, series("named"), where="post", color="#c2571a", linestyle="--", label="named by DNS, as clients know")
        vms.plot(at, [second["asked"] / target for second in seconds], color="#999999", linewidth=0.8, linestyle=":",
                 label="load / target")
        latency.plot(at, as_numbers(series("p50_ms")), color="#0b5c8a", label="median")
        latency.plot(at, as_numbers(series("p99_ms")), color="#c2571a", linewidth=0.8, label="99th percentile")
        latency.set_yscale("log")
        plain_log(latency.yaxis)
        latency.set_xlabel("seconds")
    for row, label in enumerate(["requests/s", "VMs", "latency, ms (log)"]):
        axes[row][0].set_ylabel(label)
        legend = axes[row][0].legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, borderaxespad=0)
        legend.set_in_layout(False)
    # Room for the legends, which stand above both columns.
    figure.get_layout_engine().set(h_pad=0.13, rect=(0, 0, 1, 0.99))
    axes[0][0].set_ylim(bottom=0)
    most = max(second["vms"] for case in cases for second in case["run"]["seconds"])
    axes[1][0].set_ylim(0, most + 0.4)
    return figure


def as_numbers(values: list[float | None]) -> list[float]:
    """Seconds in which nothing was answered have no latency."""
    return [float("nan") if value is None else value for value in values]
