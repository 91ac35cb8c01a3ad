"""The project report: text and pictures from what `bench/` measured.

`python -m report DIRECTORY` writes `report.html` there. A section is a Markdown file in `sections/`, with expressions for
every measured figure; a picture of measurements is a small file in `figures/`. Nothing here measures anything.
"""
