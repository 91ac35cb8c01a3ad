"""The page: sections with their expressions worked out, and pictures in it, so that it is one file."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any

import jinja2
import markdown

from report import code, drawing, sequence, units, views
from report.results import Results, absence, age_in_words

HERE = Path(__file__).resolve().parent
SECTIONS = sorted((HERE / "sections").glob("*.md"))
EXTENSIONS = ["tables", "toc", "attr_list", "sane_lists", "fenced_code"]


class Page:
    """What the sections may use, and what is counted over them: pictures and citations."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self._pictures = 0
        self._cited: list[str] = []
        self._sources: dict[str, dict[str, str]] = json.loads((HERE / "data/sources.json").read_text())

    def measured(self, name: str, caller: Callable[[dict[str, Any]], str]) -> str:
        """What is told of results, with when and on what they were measured; or that there are none."""
        document, provenance = self.results.get(name), self.results.provenance(name)
        if document is None or provenance is None:
            return f"<p class=\"absent\">{absence(name)}</p>"
        return f"{caller(document)}\n\n<p class=\"provenance\">{escape(provenance.in_words(self.results.now))}</p>\n"

    def if_measured(self, name: str, caller: Callable[[dict[str, Any]], str]) -> str:
        """A clause within a sentence, left out where there are no results."""
        document = self.results.get(name)
        return "" if document is None else caller(document).strip() + "\n"

    def figure(self, name: str, caption: str, **chosen: Any) -> str:
        """A picture of results, drawn by the module of its name."""
        module = importlib.import_module(f"report.figures.{name}")
        document = self.results.get(module.NEEDS)
        assert document is not None, f"the picture {name} stands outside of what is measured"
        return self._picture(drawing.as_svg(module.draw(document, **chosen)), caption)

    def sequence(self, name: str, caption: str) -> str:
        """A sequence diagram."""
        return self._picture(sequence.draw((HERE / f"sequences/{name}.txt").read_text()), caption, "sequence")

    def picture(self, name: str, caption: str) -> str:
        """A picture that was drawn by hand."""
        return self._picture((HERE / f"pictures/{name}.svg").read_text(), caption)

    def _picture(self, svg: str, caption: str, kind: str = "drawn") -> str:
        self._pictures += 1
        data = base64.b64encode(svg.encode()).decode()
        title = f"Figure {self._pictures}. {caption}"
        image = f"<img src=\"data:image/svg+xml;base64,{data}\" alt=\"{escape(caption)}\">"
        return f"\n\n<figure class=\"{kind}\">{image}<figcaption>{title}</figcaption></figure>\n\n"

    def cite(self, *names: str) -> str:
        """The numbers of sources, in the order in which they are first named."""
        for name in names:
            assert name in self._sources, f"there is no source {name}"
            if name not in self._cited:
                self._cited.append(name)
        numbers = (str(self._cited.index(name) + 1) for name in names)
        return "[" + ", ".join(f"<a href=\"#source-{number}\">{number}</a>" for number in numbers) + "]"

    def references(self) -> str:
        """The sources that were named."""
        lines = []
        for number, name in enumerate(self._cited, 1):
            source = self._sources[name]
            words = f"{source['authors']}: {source['title']}. {source['where']}."
            link = f" <a href=\"{source['url']}\">{source['url']}</a>" if "url" in source else ""
            lines.append(f"<li id=\"source-{number}\">{escape(words)}{link}</li>")
        return "<ol class=\"references\">" + "".join(lines) + "</ol>"

    def ages(self) -> str:
        """When everything was measured, as a table."""
        rows = []
        for name in self.results.present():
            of = self.results.provenance(name)
            when = of.when().removeprefix("Measured ").removeprefix("on ").removesuffix(" UTC")
            age = age_in_words(of.age_days(self.results.now))
            rows.append([f"`{name}.json`", when, age, of.commit or "not noted", of.kernel or "not noted"])
        rows += [[f"`{name}.json`", "not there", "", "", ""] for name in self.results.missing()]
        return table(["results", "measured, UTC", "age", "commit", "kernel"], rows, "---")


def table(headers: Iterable[str], rows: Iterable[Iterable[Any]], column: str = "--:") -> str:
    """A Markdown table. Columns but the first stand to the right, as figures do, unless they are `---`: words."""
    headers = list(headers)
    lines = ["| " + " | ".join(headers) + " |", "|---|" + f"{column}|" * (len(headers) - 1)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n\n" + "\n".join(lines) + "\n\n"


def environment(page: Page) -> jinja2.Environment:
    """What the expressions of sections may name. One that names nothing is an error."""
    made = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    for function in (page.measured, page.if_measured, page.figure, page.sequence, page.picture, page.cite,
                     page.references, page.ages, table, views.pick):
        made.globals[function.__name__] = function
    made.globals["code"] = code.constant
    made.globals["views"] = views
    made.globals["results"] = page.results
    for unit in (units.ms, units.us, units.seconds, units.percent, units.ratio, units.count, units.rounded,
                 units.with_unit, units.listed):
        made.filters[unit.__name__] = unit
    return made


def make_page(results: Results) -> str:
    """The whole report."""
    page = Page(results)
    made = environment(page)
    text = "\n\n".join(made.from_string(section.read_text()).render() for section in SECTIONS)
    converter = markdown.Markdown(extensions=EXTENSIONS, extension_configs={"toc": {"toc_depth": "2-2"}})
    body = converter.convert(text)
    frame = made.from_string((HERE / "frame.html").read_text())
    style = (HERE / "style.css").read_text()
    return frame.render(body=body, style=style, made=results.now.strftime("%-d %B %Y, %H:%M UTC"))
