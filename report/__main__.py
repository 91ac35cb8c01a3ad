"""Writes the report as one HTML file that needs no other."""

from __future__ import annotations

import sys
from pathlib import Path

from report.page import make_page
from report.results import Results

USAGE = "usage: python -m report DIRECTORY [RESULTS]"
ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Makes the page from the results that are kept, or from those of another directory."""
    if len(arguments) not in (1, 2):
        print(USAGE, file=sys.stderr)
        return 2
    results = Results(Path(arguments[1]) if len(arguments) == 2 else ROOT / "bench/results")
    target = Path(arguments[0]) / "report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(make_page(results))
    print(f"{target} from {', '.join(results.present())}; missing: {', '.join(results.missing()) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
