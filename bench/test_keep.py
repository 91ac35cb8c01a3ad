"""What is kept of a measurement, and what stays when it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

KEEP = Path(__file__).resolve().parent / "keep"


class Kept(unittest.TestCase):
    """Runs of `bench/keep` with small commands."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.results = Path(directory.name) / "results/some.json"

    def keep(self, script: str, *form: str, note: str = "") -> int:
        """Keeps what a line of shell writes to its argument."""
        command = [sys.executable, str(KEEP), *form, str(self.results), "sh", "-c", script, "sh", "{}"]
        return subprocess.run(command, env={**os.environ, "NOTE": note}, check=False).returncode

    def read(self) -> dict[str, Any]:
        """What is kept."""
        return json.loads(self.results.read_text())

    def test_results_are_kept_behind_what_they_were_measured_on(self) -> None:
        self.assertEqual(self.keep("""echo '{"figure": 1, "versions": {"peer": "2"}}' > "$1" """, note="busy"), 0)
        kept = self.read()
        self.assertEqual(list(kept), ["date", "seconds", "machine", "versions", "note", "figure"])
        self.assertEqual(set(kept["machine"]), {"cpu", "processors", "memory_mib", "kernel", "load_before"})
        self.assertEqual((kept["figure"], kept["versions"]["peer"], kept["note"]), (1, "2", "busy"))

    def test_a_command_that_writes_nothing_leaves_what_was_there(self) -> None:
        self.keep("""echo '{"figure": 1}' > "$1" """)
        self.assertEqual(self.keep("exit 3"), 3)
        self.assertNotEqual(self.keep("true"), 0)
        self.assertEqual(self.read()["figure"], 1)

    def test_one_that_fails_with_results_has_them_kept_and_still_fails(self) -> None:
        self.assertEqual(self.keep("""echo '{"failed": 2}' > "$1"; exit 1"""), 1)
        self.assertEqual(self.read()["failed"], 2)

    def test_runs_are_added_and_lines_are_put_in_order(self) -> None:
        for figure in (1, 2):
            self.keep(f"""echo '{{"figure": {figure}}}' > "$1" """, "--append")
        self.assertEqual([run["figure"] for run in self.read()["runs"]], [1, 2])
        self.keep("""printf '{"a": 2}\\n{"a": 1}\\n' > "$1" """, "--lines")
        self.assertEqual(self.read()["attempts"], [{"a": 1}, {"a": 2}])


if __name__ == "__main__":
    unittest.main()
