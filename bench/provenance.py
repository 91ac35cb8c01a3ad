"""What a measurement runs on, and of what: the same words in all results."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def first_line(*command: str) -> str | None:
    """What a program says of itself, in a line; none of one that is not there."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    lines = said.strip().splitlines()
    return lines[0].strip() if lines else None


def field(path: str, name: str) -> str:
    """The value behind a name in one of /proc's files of `name: value`."""
    lines = Path(path).read_text().splitlines()
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(values, "")


def commit() -> str | None:
    """What is measured: `-dirty` where the tree is no commit's, results apart, which measuring changes."""
    name = first_line("git", "rev-parse", "--short=12", "HEAD")
    changed = first_line("git", "status", "--porcelain", "--", ":/", ":(exclude,top)bench/results")
    return f"{name}-dirty" if name and changed else name


def machine() -> dict[str, Any]:
    """What a measurement runs on. The load average tells how quiet it was when the measurement began."""
    return {
        "cpu": field("/proc/cpuinfo", "model name"),
        "processors": os.cpu_count(),
        "memory_mib": int(field("/proc/meminfo", "MemTotal").split()[0]) // 1024,
        "kernel": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of what is measured and what it is built with."""
    said = {
        "commit": commit(),
        "rustc": first_line("rustc", "--version"),
        "qemu": first_line("qemu-system-x86_64", "--version"),
    }
    return {name: version for name, version in said.items() if version}
