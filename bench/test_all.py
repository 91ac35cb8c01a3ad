"""That `make bench` goes on where it was stopped, and takes no other commit's results for its own."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import tempfile
import unittest
from pathlib import Path
from types import ModuleType
from unittest import mock

HERE = Path(__file__).resolve().parent


def load() -> ModuleType:
    """The program `bench/all`, which has no ending."""
    loader = importlib.machinery.SourceFileLoader("all_of_bench", str(HERE / "all"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    # Data classes look their module up by its name.
    with mock.patch.dict("sys.modules", {loader.name: module}):
        loader.exec_module(module)
    return module


class Resumed(unittest.TestCase):
    """Runs of two stages whose measurements are made up."""

    def setUp(self) -> None:
        directory, before = tempfile.TemporaryDirectory(), Path.cwd()
        self.addCleanup(directory.cleanup)
        self.addCleanup(os.chdir, before)
        os.chdir(directory.name)
        self.all = load()
        self.stages = [self.all.Stage("bench-one", 60, 10), self.all.Stage("bench-two", 60, 10)]
        self.fails: set[str] = set()

    def measure(self, target: str, quick: bool, _variables: tuple[str, ...] = ()) -> bool:
        """Has a stage write results, unless it is to fail."""
        self.made.append(target)
        if target in self.fails:
            return False
        results = Path("target/bench/results" if quick else "bench/results") / f"{target.removeprefix('bench-')}.json"
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text("{}")
        return True

    def run_all(self, commit: str = "abc", again: bool = False, quick: bool = False) -> list[str]:
        """The stages that were measured, of this commit."""
        self.made: list[str] = []
        with (mock.patch.object(self.all, "make", self.measure), mock.patch.object(self.all, "commit", lambda: commit),
              contextlib.redirect_stdout(io.StringIO()) as self.said):
            self.failed = self.all.run(self.stages, quick, again)
        return self.made

    def test_what_is_done_is_passed_over_and_what_failed_is_tried_again(self) -> None:
        self.fails = {"bench-two"}
        self.assertEqual(self.run_all(), ["bench-one", "bench-two"])
        self.assertEqual(self.failed, ["two"])
        self.fails = set()
        self.assertEqual(self.run_all(), ["bench-two"])
        self.assertEqual((self.run_all(), self.failed), ([], []))
        self.assertEqual(self.run_all(again=True), ["bench-one", "bench-two"])

    def test_another_commit_a_changed_tree_and_missing_results_are_measured(self) -> None:
        self.run_all()
        self.assertEqual(len(self.run_all("def")), 2)
        self.assertEqual(len(self.run_all("def-dirty")), 2)
        self.assertEqual(len(self.run_all("def-dirty")), 2)
        self.run_all("def")
        Path("bench/results/one.json").unlink()
        self.assertEqual(self.run_all("def"), ["bench-one"])

    def test_a_first_look_and_full_results_do_not_stand_for_each_other(self) -> None:
        self.run_all(quick=True)
        self.assertEqual(len(self.run_all()), 2)
        self.assertEqual(self.run_all(quick=True), [])

    def test_progress_is_told_before_each_stage(self) -> None:
        self.run_all()
        self.assertIn("1 of 2: one; 0 s so far, about 2 min left", self.said.getvalue())

    def test_all_stages_together_keep_to_their_time(self) -> None:
        self.assertLess(sum(stage.seconds for stage in self.all.STAGES), 2 * 3_600)
        self.assertLess(sum(stage.quick_seconds or 0 for stage in self.all.STAGES), 15 * 60)


if __name__ == "__main__":
    unittest.main()
