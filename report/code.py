"""Constants of the design, read from the code that has them, so that the text cannot differ from it."""

from __future__ import annotations

import ast
import operator
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# By the name that the text has for it: the file, and the constant or the field of a default in it.
PLACES = {
    "silence_ms": ("crates/planner/src/settings.rs", "silence_ms"),
    "grace_ms": ("crates/planner/src/settings.rs", "grace_ms"),
    "drain_ms": ("crates/planner/src/settings.rs", "drain_ms"),
    "address_rest_ms": ("crates/planner/src/settings.rs", "rest_ms"),
    "heartbeat_ms": ("crates/evenkeel/src/serve/config.rs", "heartbeat_ms"),
    "probe_ms": ("crates/evenkeel/src/serve/config.rs", "probe_ms"),
    "ttl_s": ("crates/evenkeel/src/serve/config.rs", "ttl"),
    "failed_probes": ("crates/planner/src/quorum.rs", "FAILED_PROBES"),
    "tick_ms": ("crates/evenkeel/src/controller/mod.rs", "TICK"),
    "tolerance": ("crates/planner/src/scaling.rs", "TOLERANCE"),
    "headroom": ("crates/planner/src/scaling.rs", "HEADROOM"),
    "deserted_ms": ("crates/planner/src/departure.rs", "DESERTED_MS"),
    "wheel_tick_ms": ("crates/balancer/src/forward/wheel.rs", "TICK_MS"),
    "wheel_slots": ("crates/balancer/src/forward/wheel.rs", "SLOTS"),
    "scratch_bytes": ("crates/balancer/src/forward/context.rs", "SCRATCH_BYTES"),
    "idle_connections": ("crates/balancer/src/forward/backends.rs", "IDLE_CONNECTIONS"),
    "pipes": ("crates/balancer/src/forward/pipe.rs", "PIPES"),
    "maglev_slots": ("crates/balancing/src/maglev.rs", "SLOTS"),
    "maglev_many_slots": ("crates/balancing/src/maglev.rs", "MANY_SLOTS"),
    "relative_error": ("crates/series/src/histogram.rs", "RELATIVE_ERROR"),
    "client_patience_ms": ("bench/src/strike.rs", "PATIENCE"),
    "flush_ms": ("crates/series/src/options.rs", "FLUSH_INTERVAL"),
}
MILLISECONDS = {"millis": 1, "secs": 1_000}
OPERATORS = {ast.Mult: operator.mul, ast.LShift: operator.lshift, ast.Div: operator.truediv, ast.Add: operator.add}


def constant(name: str) -> float:
    """The value of a constant, durations in milliseconds."""
    file, field = PLACES[name]
    text = (ROOT / file).read_text()
    found = re.search(rf"\bconst {field}: [^=]+= ([^;]+);", text) or re.search(rf"^\s+{field}: ([\d_.]+),$", text, re.M)
    if found is None:
        raise KeyError(f"{file} has no {field}")
    return value_of(found[1])


def value_of(expression: str) -> float:
    """What an expression of numbers, or a duration, comes to."""
    duration = re.fullmatch(r"Duration::from_(millis|secs)\(([\d_]+)\)", expression)
    if duration:
        return MILLISECONDS[duration[1]] * int(duration[2])
    return evaluate(ast.parse(expression, mode="eval").body)


def evaluate(node: ast.expr) -> float:
    """A sum, product, quotient or shift of numbers, and nothing else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](evaluate(node.left), evaluate(node.right))
    raise ValueError(f"`{ast.unparse(node)}` is no number")
