"""The report is made from the results that are kept, from some of them, and from none; and no figure in it is typed by hand."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import unittest
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from report import code, page, prose, units, views
from report.results import SOURCES, Results, absence, provenance_of, read_time

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "bench/results"
NOW = datetime(2026, 12, 1, tzinfo=timezone.utc)


class Made(unittest.TestCase):
    """Whole pages."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.results = Results(KEPT, NOW)
        cls.html = page.make_page(cls.results)

    def test_the_results_that_are_kept_make_a_page_without_an_expression_left(self) -> None:
        for remnant in ("{{", "}}", "{%", "Undefined", " nan", "None "):
            self.assertNotIn(remnant, without_pictures(self.html))

    def test_each_result_that_is_kept_is_told_with_its_age(self) -> None:
        self.assertTrue(self.results.present())
        for name in self.results.present():
            told = self.results.provenance(name)
            self.assertIn(told.in_words(NOW), self.html.replace("&#x27;", "'"))

    def test_each_result_that_is_missing_is_told_to_be(self) -> None:
        for name in SOURCES:
            self.assertEqual(absence(name) in self.html, name in self.results.missing(), name)

    def test_every_source_that_is_cited_is_in_the_list_and_every_picture_is_numbered(self) -> None:
        for number in set(re.findall(r'href="#source-(\d+)"', self.html)):
            self.assertIn(f'id="source-{number}"', self.html)
        numbers = [int(number) for number in re.findall(r"<figcaption>Figure (\d+)\.", self.html)]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_without_any_results_all_of_them_are_told_to_be_missing(self) -> None:
        with tempfile.TemporaryDirectory() as nothing:
            html = page.make_page(Results(Path(nothing), NOW))
        for name in SOURCES:
            self.assertIn(absence(name), html)

    def test_one_file_that_is_missing_or_of_an_earlier_form_takes_its_own_part_only(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            shutil.copytree(KEPT, directory, dirs_exist_ok=True)
            (Path(directory) / "plan.json").unlink()
            (Path(directory) / "monitor.json").write_text("{}")
            html = page.make_page(Results(Path(directory), NOW))
        self.assertIn(absence("plan"), html)
        self.assertIn(absence("monitor"), html)
        self.assertEqual(absence("balancer") in html, "balancer" in self.results.missing())


    def test_a_case_whose_rounds_all_failed_leaves_the_rest_told(self) -> None:
        nothing = {"p50": None, "min": None, "max": None, "samples": []}
        with tempfile.TemporaryDirectory() as directory:
            shutil.copytree(KEPT, directory, dirs_exist_ok=True)
            for name in set(self.results.present()) & {"failover", "return", "scaling"}:
                path = Path(directory) / f"{name}.json"
                document = json.loads(path.read_text())
                for case in document["cases"][:1]:
                    case.update(figures=dict.fromkeys(case["figures"], nothing), failed=["it broke"])
                path.write_text(json.dumps(document))
            html = page.make_page(Results(Path(directory), NOW))
        self.assertIn("1 rounds failed and have no figures.", html)


class Prose(unittest.TestCase):
    """What is typed and what is not."""

    def test_no_section_has_a_figure_that_is_typed_by_hand(self) -> None:
        for section in page.SECTIONS:
            self.assertEqual(prose.typed_figures(section.read_text()), [], section.name)

    def test_a_figure_that_is_typed_is_found_on_its_line(self) -> None:
        text = "HTTP/1.1 and `x 1` and {{ a[1] }}\n\nfound after 31 ms, 0.73 of it\n"
        self.assertEqual(prose.typed_figures(text), [(3, "31 ms"), (3, "0.73")])

    def test_every_alternative_names_a_commit(self) -> None:
        for each in json.loads((page.HERE / "data/alternatives.json").read_text()):
            self.assertRegex(each["commit"], r"^[0-9a-f]{7,12}$")


class Verdicts(unittest.TestCase):
    """Words that are worked out of results."""

    def test_a_peer_that_is_ahead_is_told_by_name_whether_less_or_more_is_better(self) -> None:
        def case(figure: str, ratio: float) -> dict[str, Any]:
            spread = {"median": ratio, "min": ratio, "max": ratio}
            compared = {"figure": figure, "with": "nginx", "ratio": spread, "target": 1.0, "verdict": "MISSED", "alike": False}
            return {"title": "a case", "figure": figure, "summary": {"comparisons": [compared]}}

        for figure, ahead, behind in (("cpu_us_per_request", 1.2, 0.8), ("requests_per_second", 0.8, 1.2)):
            words = views.balancer_losses({"cases": [case(figure, ahead)]})
            self.assertIn("nginx", words)
            self.assertIn(f"ratio {ahead:.2f}", words)
            self.assertNotIn("nginx", views.balancer_losses({"cases": [case(figure, behind)]}))

    def test_an_attempt_that_got_through_is_not_called_stopped(self) -> None:
        attempt = {"group": "front", "attempt": "a frame", "passes": False, "expected": False,
                   "passes_without_rules": True, "expected_without_rules": True}
        self.assertTrue(views.attempts_as_expected({"attempts": [attempt]}))
        through = {**attempt, "passes": True}
        self.assertFalse(views.attempts_as_expected({"attempts": [attempt, through]}))
        self.assertEqual(views.attempts_rows({"attempts": [through]})[0][2], "got through")


class Parts(unittest.TestCase):
    """What pages are made of."""

    def test_every_constant_is_in_the_code(self) -> None:
        for name in code.PLACES:
            self.assertGreater(code.constant(name), 0, name)

    def test_expressions_of_constants_are_worked_out(self) -> None:
        cases = {"1 << 10": 1024, "2 * 3": 6, "1.0 / 64.0": 1 / 64, "Duration::from_secs(2)": 2_000, "5_000": 5_000}
        for expression, value in cases.items():
            self.assertEqual(code.value_of(expression), value)
        self.assertRaises(ValueError, code.value_of, "f(1)")

    def test_figures_are_written_with_as_many_digits_as_say_something(self) -> None:
        cases = {0: "0", 0.1234: "0.123", 1.5: "1.5", 2.0: "2", 71: "71", 999.6: "1\u202f000", 123456: "123\u202f000"}
        for value, text in cases.items():
            self.assertEqual(units.rounded(value), text, value)
        self.assertEqual(units.ms(1_551), "1.55\u202fs")
        self.assertEqual(units.ms(0.164), "164\u202fµs")
        self.assertEqual(units.percent(1.1), "110\u202f%")

    def test_files_of_earlier_forms_tell_when_and_on_what_too(self) -> None:
        told = provenance_of({"machine": {"when": "2026-11-22T20:06+00:00", "processors": 2, "kernel": "Linux 6.1"}})
        self.assertEqual((told.age_days(NOW), told.processors, told.kernel), (8, "2", "Linux 6.1"))
        self.assertIsNone(read_time("some day"))
        self.assertIn("unknown age", provenance_of({}).in_words(NOW))


def without_pictures(html: str) -> str:
    """The page's text; what is drawn is of no account."""
    return re.sub(r'src="data:[^"]*"', "", html)


if __name__ == "__main__":
    unittest.main()
