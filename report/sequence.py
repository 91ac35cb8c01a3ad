"""Sequence diagrams from a few lines of text.

    lanes: user, api, store
    user -> api: create, in JSON
    api ..> user: the URL
    store: intent, generation raised      (a note in a lane)
    --- the grace period passes           (a line over all lanes)
"""

from __future__ import annotations

import re
import textwrap
from html import escape

LEFT, TOP = 52, 34
ABOVE, BELOW = 17, 6
WIDEST_LANE, LINE = 128, 640
WIDTH_OF_LETTER = 5.4
HALO = 'paint-order="stroke" stroke="#fff" stroke-width="1.6"'
FONT = 'font-family="Liberation Sans, Arial, sans-serif" font-size="10.5"'
MESSAGE = re.compile(r"(.+?) (->|\.\.>) (.+?): (.+)")


class Diagram:
    """A diagram while it is drawn."""

    def __init__(self, lanes: list[str]) -> None:
        self.lane = min(WIDEST_LANE, LINE // (len(lanes) - 1))
        self.lanes = {name: LEFT + self.lane * number for number, name in enumerate(lanes)}
        self.parts: list[str] = []
        self.y = TOP + 8

    def message(self, start: str, arrow: str, end: str, text: str) -> None:
        """An arrow from one lane to another, with its text above."""
        x, to = self.lanes[start], self.lanes[end]
        lines = textwrap.wrap(text, max(16, int(abs(to - x) / WIDTH_OF_LETTER)))
        self.y += ABOVE + 11 * (len(lines) - 1)
        self.texts(lines, (x + to) / 2, self.y - 4)
        dashes = ' stroke-dasharray="4 3"' if arrow == "..>" else ""
        tip = -6 if to > x else 6
        self.parts.append(f'<path d="M{x} {self.y}H{to}" stroke="#333"{dashes} fill="none"/>')
        self.parts.append(f'<path d="M{to} {self.y}l{tip} -3.5v7z" fill="#333"/>')
        self.y += BELOW

    def note(self, lane: str, text: str) -> None:
        """What somebody does alone."""
        lines = textwrap.wrap(text, 22)
        width = max(len(line) for line in lines) * WIDTH_OF_LETTER + 12
        height = 11 * len(lines) + 6
        self.y += 5
        x = self.lanes[lane]
        self.parts.append(
            f'<rect x="{x - width / 2:.0f}" y="{self.y}" width="{width:.0f}" height="{height}" rx="3" '
            'fill="#eef4f8" stroke="#0b5c8a" stroke-width="0.7"/>')
        self.y += height
        self.texts(lines, x, self.y - 6)
        self.y += 2

    def divider(self, text: str) -> None:
        """Time that passes."""
        self.y += 15
        right = LEFT + self.lane * (len(self.lanes) - 1) + 40
        self.parts.append(f'<path d="M14 {self.y}H{right}" stroke="#999" stroke-dasharray="2 3"/>')
        width = len(text) * WIDTH_OF_LETTER + 14
        middle = (14 + right) / 2
        self.parts.append(f'<rect x="{middle - width / 2:.0f}" y="{self.y - 8}" width="{width:.0f}" height="16" fill="#fff"/>')
        self.texts([text], middle, self.y + 4, "#555")
        self.y += 4

    def texts(self, lines: list[str], x: float, y: float, colour: str = "#111") -> None:
        """Lines, the last of which stands at y."""
        for number, line in enumerate(reversed(lines)):
            self.parts.append(
                f'<text x="{x:.0f}" y="{y - 11 * number:.0f}" text-anchor="middle" fill="{colour}" {HALO}>'
                f'{escape(line)}</text>')

    def svg(self) -> str:
        """All of it."""
        width, height = LEFT * 2 + self.lane * (len(self.lanes) - 1), self.y + 10
        heads = []
        for name, x in self.lanes.items():
            heads.append(f'<path d="M{x} {TOP}V{height - 4}" stroke="#bbb"/>')
            half = min(self.lane / 2 - 2, max(30.0, len(name) * WIDTH_OF_LETTER / 2 + 8))
            heads.append(
                f'<rect x="{x - half:.0f}" y="{TOP - 26}" width="{half * 2:.0f}" height="22" rx="3" fill="#0b5c8a"/>'
                f'<text x="{x}" y="{TOP - 11}" text-anchor="middle" fill="#fff">{escape(name)}</text>')
        body = "".join(heads + self.parts)
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
                f'height="{height}" {FONT}>{body}</svg>')


def draw(text: str) -> str:
    """The diagram that a text describes."""
    first, *lines = (line.strip() for line in text.splitlines() if line.strip())
    names = first.removeprefix("lanes:")
    diagram = Diagram([name.strip() for name in names.split(",")])
    for line in lines:
        if line.startswith("---"):
            diagram.divider(line.strip("- "))
        elif message := MESSAGE.fullmatch(line):
            diagram.message(message[1], message[2], message[3], message[4])
        else:
            lane, _, note = line.partition(": ")
            diagram.note(lane, note)
    return diagram.svg()
