"""What is worked out of results for the text: verdicts in words, and rows of tables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from report.units import count, listed, ms, ratio, rounded

PEERS = {"haproxy": "HAProxy", "haproxy-pipes": "HAProxy with larger pipes", "nginx": "nginx"}
STORES = {"rrdtool": "RRDtool", "prometheus": "Prometheus"}
DRIVERS = {
    "process": "as a process", "tcg, booted": "in a VM that boots", "tcg, restored": "in a VM from the snapshot",
    "tcg, pooled": "in a VM from the pool",
}
SHORT = {"process": "process", "tcg, booted": "booted", "tcg, restored": "restored", "tcg, pooled": "pooled"}
MONITOR_FIGURES = {
    "bytes_per_sample_full_resolution": "bytes a sample, full resolution",
    "bytes_per_sample": "bytes a sample, all files",
    "samples_per_cpu_second": "samples in a second of CPU",
    "cpu_us_per_sample": "CPU for a sample, µs",
    "peak_mib": "most memory while it takes, MiB",
    "peak_mib_when_asked": "most memory with the questions, MiB",
    "ten_minutes_of_one_ms": "ten minutes of one series, ms",
    "ten_minutes_of_100_ms": "ten minutes of a hundred, ms",
    "whole_of_one_ms": "two hours of one, ms",
    "whole_of_100_ms": "two hours of a hundred, ms",
    "whole_of_one_by_10_s_ms": "two hours of one, means, ms",
    "whole_of_100_by_10_s_ms": "two hours of a hundred, means, ms",
}
MORE_IS_BETTER = {"samples_per_cpu_second"}
# Of the balancer's figures, those of which less is better.
LESS_IS_BETTER = {"cpu_us_per_request", "cpu_s_per_gb", "bytes_per_connection", "p50_us", "p99_us", "p99_9_us"}


def pick(cases: Iterable[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """The one case with these values."""
    found = [case for case in cases if all(case.get(key) == value for key, value in wanted.items())]
    assert found, f"there is no case with {wanted}"
    return found[0]


def balancer_comparisons(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Each case beside each peer, by the figure that the case is about."""
    rows = []
    for case in document["cases"]:
        for compared in case["summary"]["comparisons"]:
            if compared["figure"] == case["figure"]:
                rows.append({**compared, "title": case["title"], "noise": case["summary"]["noise"]})
    return rows


def balancer_rows(document: dict[str, Any]) -> list[list[str]]:
    """For a table: each case with what each proxy takes, by medians, and the ratios with their spread."""
    rows = []
    for case in document["cases"]:
        figures, compared = case["summary"]["figures"], case["summary"]["comparisons"]
        value = lambda proxy: rounded(figures[proxy][case["figure"]]["median"])  # noqa: E731
        beside = [next((c for c in compared if c["with"] == peer and c["figure"] == case["figure"]), None)
                  for peer in ("haproxy", "nginx")]
        rows.append([case["title"], BALANCER_UNITS[case["figure"]], value("evenkeel"), value("haproxy"), value("nginx"),
                     *(with_spread(each["ratio"]) if each else "" for each in beside)])
    return rows


BALANCER_UNITS = {
    "cpu_us_per_request": "CPU µs a request", "cpu_s_per_gb": "CPU s a GB", "bytes_per_connection": "bytes",
    "p99_us": "µs, 99th percentile",
}


def with_spread(spread: dict[str, float]) -> str:
    """A median with the least and the most."""
    return f"{ratio(spread['median'])} ({ratio(spread['min'])}–{ratio(spread['max'])})"


def is_behind(compared: dict[str, Any]) -> bool:
    """Whether the peer is ahead by the median."""
    middle = compared["ratio"]["median"]
    return middle > 1 if compared["figure"] in LESS_IS_BETTER else middle < 1


def balancer_losses(document: dict[str, Any]) -> str:
    """Where a peer is ahead of the balancer, in a sentence for each figure; said so where there is none."""
    found = []
    for case in document["cases"]:
        for compared in case["summary"]["comparisons"]:
            if is_behind(compared):
                alike = ", within the noise" if compared["alike"] else ""
                found.append(f"{PEERS[compared['with']]} in {FIGURE_WORDS[compared['figure']]} of “{case['title']}” "
                             f"(ratio {ratio(compared['ratio']['median'])}{alike})")
    if not found:
        return "By medians no peer is ahead in any case."
    return "By medians a peer is ahead in these cases: " + "; ".join(found) + "."


FIGURE_WORDS = {
    "cpu_us_per_request": "CPU for a request", "cpu_s_per_gb": "CPU for a GB", "requests_per_second": "requests per second",
    "gb_per_second": "throughput", "bytes_per_connection": "memory of an idle connection", "p50_us": "median latency",
    "p99_us": "99th percentile of latency", "p99_9_us": "99.9th percentile of latency",
}


def balancer_verdicts(document: dict[str, Any]) -> str:
    """How many aims are met, in words."""
    aims = [c for case in document["cases"] for c in case["summary"]["comparisons"] if c["target"] is not None]
    better = [aim for aim in aims if aim["ratio"]["median"] <= aim["target"]]
    clear = [aim for aim in aims if aim["verdict"] == "met"]
    return f"Of {len(aims)} aims {len(better)} are reached by the median, {len(clear)} of them by more than the noise"


def growth_of(document: dict[str, Any], curve: str) -> str:
    """How many times a request's cost at the beginning of a curve that at its end is."""
    return with_spread(next(each for each in document["growth"] if each["curve"] == curve)["growth"])


def monitor_rows(document: dict[str, Any]) -> list[list[str]]:
    """For a table: each figure of the three stores, and what ours is of theirs."""
    rows = []
    for name, title in MONITOR_FIGURES.items():
        of = {store: spread["median"] for store, spread in document["summary"][name].items()}
        rows.append([title, *(rounded(of[store]) for store in ("evenkeel", *STORES)),
                     *(ratio(of["evenkeel"] / of[store]) for store in STORES)])
    return rows


def monitor_losses(document: dict[str, Any]) -> str:
    """Where RRDtool or Prometheus is ahead, in words."""
    found = []
    for name, title in MONITOR_FIGURES.items():
        of = {store: spread["median"] for store, spread in document["summary"][name].items()}
        for store, words in STORES.items():
            times = of["evenkeel"] / of[store]
            if (times < 1) if name in MORE_IS_BETTER else (times > 1):
                found.append(f"{words} in “{title}” (ratio {ratio(times)})")
    if not found:
        return "In none of these figures is a peer ahead by the median."
    return f"By medians a peer is ahead in these figures: {listed(found)}."


def failover_rows(document: dict[str, Any]) -> list[list[str]]:
    """For a table: medians and the largest of each stage."""
    rows = []
    for case in document["cases"]:
        of, vms = case["figures"], "alone" if case["vms"] == 1 else f"one of {case['vms']}"
        times = (median_and_most(of[stage]) for stage in ("detected", "dropped", "replaced", "named", "restored"))
        rows.append([f"{SHORT[case['driver']]}, {vms}, {case['how']}", *times, lost_of(of["lost"])])
    return rows


def median_and_most(spread: dict[str, Any]) -> str:
    """Times, as a median and the largest."""
    return "none" if spread["p50"] is None else f"{at(spread['p50'])} / {at(spread['max'])}"


def at(time_ms: float) -> str:
    """When something happened, unless it did not."""
    return ms(time_ms) if time_ms else "never"


def lost_of(spread: dict[str, Any]) -> str:
    """Counts, as a median and the largest."""
    return "none" if spread["p50"] is None else f"{spread['p50']} / {spread['max']}"


def failed_rounds(document: dict[str, Any]) -> str:
    """Rounds of which there are no figures, in words; nothing where there are none."""
    failed = sum(len(case.get("failed", [])) for case in document["cases"])
    return f"{failed} rounds failed and have no figures." if failed else "No round failed."


def lost_rows(results: Any) -> list[list[str]]:
    """Everything in which requests were counted, whether clients asked while something changed or died."""
    rows: list[list[str]] = []
    if lossless := results.get("lossless"):
        for name, title in LOSSLESS.items():
            of = lossless[name]
            rows.append([title, count(of["changes"]), count(of["answers"]), count(of["failures"])])
    if scaling := results.get("scaling"):
        for case in scaling["cases"]:
            of = case["figures"]
            lost = sum(of["out_lost"]["samples"]) + sum(of["in_lost"]["samples"])
            answered = sum(of["answered"]["samples"])
            rows.append([f"VMs added and sent away, {SHORT[case['driver']]}", count(len(of["answered"]["samples"])),
                         count(answered), count(lost)])
    if autoscaling := results.get("autoscaling"):
        for case in autoscaling["cases"]:
            run = case["run"]
            decisions = sum(1 for event in run["events"] if event["kind"] == "scaling")
            rows.append([f"autoscaling, {case['curve']}, {SHORT[case['driver']]}", count(decisions), count(run["answered"]),
                         count(run["lost"])])
    return rows


LOSSLESS = {
    "door_changes": "backends changed through the JSON door", "file_changes": "backends changed by file",
    "replacements": "the balancer replaced by a new process", "backend_kills": "backends killed",
}


def most_serving(case: dict[str, Any]) -> int:
    """The most VMs that served at once."""
    return max(second["serving"] for second in case["run"]["seconds"])


def autoscaling_rows(document: dict[str, Any]) -> list[list[str]]:
    """For a table: what came of each load."""
    rows = []
    for case in document["cases"]:
        run = case["run"]
        latencies = sorted(second["p99_ms"] for second in run["seconds"] if second["p99_ms"] is not None)
        medians = sorted(second["p50_ms"] for second in run["seconds"] if second["p50_ms"] is not None)
        decisions = sum(1 for event in run["events"] if event["kind"] == "scaling")
        asked, answered = (sum(second[field] for second in run["seconds"]) for field in ("asked", "answered"))
        rows.append([f"{case['curve']}, {SHORT[case['driver']]}", str(most_serving(case)), str(decisions),
                     count(asked), count(answered), count(run["lost"]), ms(medians[len(medians) // 2]),
                     ms(latencies[len(latencies) // 2]), ms(latencies[-1])])
    return rows


def attempts_rows(document: dict[str, Any]) -> list[list[str]]:
    """For a table: each attempt, and what became of it."""
    words = {True: "got through", False: "stopped"}
    return [[attempt["attempt"], GROUPS[attempt["group"]], words[attempt["passes"]], words[attempt["passes_without_rules"]]]
            for attempt in document["attempts"]]


GROUPS = {"front": "a frame on the front", "tenant": "a frame on the tenant side", "connections": "a connection"}


def attempts_as_expected(document: dict[str, Any]) -> bool:
    """Whether everything that was to be stopped was, and would not have been without the rules."""
    return all(attempt["passes"] == attempt["expected"] and attempt["passes_without_rules"] == attempt["expected_without_rules"]
               for attempt in document["attempts"])


def served(document: dict[str, Any], driver: str) -> dict[str, Any]:
    """From the request to the first answer, of a driver."""
    return next(case for case in document["cases"] if case["driver"] == driver)["figures"]["served"]


def creation_rows(document: dict[str, Any]) -> list[list[str]]:
    """For a table: when each stage was reached, by driver, as medians."""
    stages = ("asked", "placed", "started", "well", "named", "checked", "answered", "served")
    rows = []
    for case in document["cases"]:
        times = (case["figures"][stage]["p50"] for stage in stages)
        rows.append([DRIVERS[case["driver"]], *("–" if time is None else str(time) for time in times),
                     str(case["figures"]["served"]["max"])])
    return rows


def simulated(document: dict[str, Any]) -> dict[str, Any]:
    """All runs of the simulation together."""
    fields = ("seeds", "virtual_hours", "real_seconds", "rounds", "faults", "changes", "violations")
    return {field: sum(run[field] for run in document["runs"]) for field in fields}


def alternatives_rows() -> list[list[str]]:
    """For a table: what was tried, what came of it, and the commit that says so."""
    alternatives = json.loads((Path(__file__).resolve().parent / "data/alternatives.json").read_text())
    return [[each["what"], each["figure"], each["outcome"], f"`{each['commit']}`"] for each in alternatives]


