"""The results files of `bench/`, and what each says of itself.

A file that is missing, or is from before a measurement had its present form, is no error: what would be told of it is
replaced by a sentence that says so.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """A results file."""

    title: str
    command: str
    needs: str
    """A field that it has since it is as the report reads it."""


SOURCES = {
    "create": Source("creation", "make bench-create", "cases"),
    "failover": Source("failover", "make bench-failover", "cases"),
    "return": Source("a VM's return", "make bench-return", "cases"),
    "scaling": Source("scaling out and in", "make bench-scaling", "cases"),
    "autoscaling": Source("autoscaling over time", "make bench-autoscaling", "cases"),
    "lossless": Source("change under load", "make bench-lossless", "door_changes"),
    "detection": Source("detection on a starved host", "make soak", "a starved host, Process"),
    "balancer": Source("the balancer beside its peers", "make bench-balancer", "cases"),
    "monitor": Source("the monitor log beside its peers", "make bench-monitor", "summary"),
    "plan": Source("the cost of decisions", "make bench-plan", "figures"),
    "simulation": Source("simulation", "make bench-simulation", "runs"),
    "isolation": Source("isolation", "make bench-isolation", "attempts"),
}


PROGRAMS = {
    "qemu": "QEMU", "rustc": "rustc", "haproxy": "HAProxy", "nginx": "nginx", "rrdtool": "RRDtool",
    "prometheus": "Prometheus",
}


@dataclass(frozen=True)
class Provenance:
    """When and on what results were measured, as far as their file tells."""

    measured: datetime | None
    kernel: str
    processors: str
    cpu: str
    commit: str
    programs: str
    """Names and versions of the programs that took part."""
    load: float | None
    note: str
    kept: datetime | None = None
    """When the file was committed, where it does not say itself when it was measured."""

    def age_days(self, now: datetime) -> int | None:
        """Whole days since."""
        known = self.measured or self.kept
        return None if known is None else max(0, (now - known).days)

    def when(self) -> str:
        """The time, as far as it is known."""
        if self.measured:
            return f"Measured on {self.measured:%-d %B %Y, %H:%M} UTC"
        return f"Measured before {self.kept:%-d %B %Y, %H:%M} UTC" if self.kept else "Measured at an unknown time"

    def in_words(self, now: datetime) -> str:
        """One line below what was measured."""
        parts = [f"{self.when()} ({age_in_words(self.age_days(now))})"]
        on = f"on {self.processors} processors" if self.processors else "on a machine that was not noted"
        parts.append(on + (f" ({self.cpu})" if self.cpu else ""))
        if self.kernel:
            parts.append(self.kernel)
        parts.append(f"commit {self.commit}" if self.commit else "the commit was not noted")
        if self.programs:
            parts.append(self.programs)
        if self.load is not None:
            parts.append(f"load average {self.load:.1f} when it began")
        words = ", ".join(parts) + "."
        return f"{words} {self.note}" if self.note else words


def programs_in_words(versions: dict[str, Any]) -> str:
    """The numbers in what programs say of their versions."""
    said = {name: re.search(r"\d+(?:\.\d+)+", str(versions.get(key, ""))) for key, name in PROGRAMS.items()}
    return ", ".join(f"{name} {version[0]}" for name, version in said.items() if version)


def age_in_words(days: int | None) -> str:
    """How old results are."""
    if days is None:
        return "of unknown age"
    return {0: "less than a day old", 1: "a day old"}.get(days, f"{days} days old")


def read_time(text: str) -> datetime | None:
    """A time as results have it."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def kept_since(path: Path) -> datetime | None:
    """When a file was last committed; unknown without a repository."""
    command = ["git", "-C", str(path.parent), "log", "-1", "--format=%cI", "--", path.name]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    time = read_time(said.strip())
    return time and time.astimezone(timezone.utc)


def provenance_of(document: dict[str, Any], path: Path | None = None) -> Provenance:
    """What a file says of itself, in the present form or in one of the earlier ones."""
    newest = document["runs"][-1] if document.get("runs") else document
    machine, versions = newest.get("machine", {}), newest.get("versions", {})
    kernel = str(machine.get("kernel", ""))
    measured = read_time(str(newest.get("date") or machine.get("when") or ""))
    return Provenance(
        measured=measured,
        kept=None if measured or path is None else kept_since(path),
        kernel=kernel if kernel.startswith("Linux") or not kernel else f"Linux {kernel}",
        processors=str(machine.get("processors") or machine.get("cores") or ""),
        cpu=str(machine.get("cpu", "")),
        commit=str(versions.get("commit", "")),
        programs=programs_in_words({**machine, **versions}),
        load=machine.get("load_before"),
        note=str(newest.get("note", "")),
    )


class Results:
    """All results that there are in a directory."""

    def __init__(self, directory: Path, now: datetime | None = None) -> None:
        self.now = now or datetime.now(timezone.utc)
        self._directory = directory
        self._documents = {name: read(directory / f"{name}.json", source) for name, source in SOURCES.items()}

    def get(self, name: str) -> dict[str, Any] | None:
        """The results of a measurement."""
        return self._documents[name]

    def present(self) -> list[str]:
        """The names of those that are there."""
        return [name for name, document in self._documents.items() if document is not None]

    def missing(self) -> list[str]:
        """The names of those that are not."""
        return [name for name, document in self._documents.items() if document is None]

    def provenance(self, name: str) -> Provenance | None:
        """When and on what a measurement was made."""
        document = self._documents[name]
        return None if document is None else provenance_of(document, self._directory / f"{name}.json")


def read(path: Path, source: Source) -> dict[str, Any] | None:
    """A results file, unless there is none or it is of an earlier form."""
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    return document if source.needs in document else None


def absence(name: str) -> str:
    """What stands in the place of what is not there."""
    source = SOURCES[name]
    words = f"No results of {source.title} are kept in the form that this report reads"
    return f"{words}: <code>{source.command}</code> measures them."
