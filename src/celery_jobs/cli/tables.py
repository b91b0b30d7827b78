"""Tables that fit the terminal: what matters less is cut or left out, never wrapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_jobs.cli.screen import Screen

__all__ = ["Column", "print_table"]

GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `rank`: 0 is always there, others in their order where there is room and something is in them.

    `least`: cells it may be cut down to, with `keeps_end` at its beginning; `instead_of`: the title of a wider column
    that it stands in for.
    """

    title: str
    rank: int = 0
    least: int | None = None
    keeps_end: bool = False
    right: bool = False
    instead_of: str | None = None


def print_table(
    screen: Screen, columns: Sequence[Column], rows: Sequence[Sequence[Text | str]], totals: bool = False
) -> None:
    """A line a row under the titles; with `totals` the last row is the sum of the others."""
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    natural = [max(map(cell_len, (column.title, *(row[i].plain for row in cells)))) for i, column in enumerate(columns)]
    told = [any(row[i].plain for row in cells) for i in range(len(columns))]
    widths = _fit(columns, natural, told, screen.width)
    screen.print(_line([Text(column.title) for column in columns], columns, widths, "bold"))
    for row in cells:
        screen.print(_line(row, columns, widths, "bold" if totals and row is cells[-1] else ""))


def _line(row: Sequence[Text], columns: Sequence[Column], widths: dict[int, int], style: str) -> Text:
    cells = []
    for index, width in widths.items():
        cell = _cut(row[index], width, columns[index].keeps_end)
        cell.align("right" if columns[index].right else "left", width)
        cells.append(cell)
    line = Text(" " * GAP, style).join(cells)
    line.rstrip()
    return line


def _cut(cell: Text, width: int, keeps_end: bool) -> Text:
    cell = cell.copy()
    if keeps_end and cell.cell_len > width:
        while cell.cell_len > width - 1:
            cell = cell[1:]
        return Text.assemble("…", cell)
    cell.truncate(width, overflow="ellipsis")
    return cell


def _fit(columns: Sequence[Column], natural: list[int], told: list[bool], width: int | None) -> dict[int, int]:
    """The width of each column that is shown, by its index, in their order."""
    if width is None:
        return {i: natural[i] for i, column in enumerate(columns) if column.instead_of is None}
    by_rank = sorted((i for i, c in enumerate(columns) if told[i] or c.rank == 0), key=lambda i: columns[i].rank)
    least = [min(natural[i], natural[i] if c.least is None else c.least) for i, c in enumerate(columns)]
    shown: list[int] = []
    room = width + GAP
    for i in by_rank:
        titles = [columns[other].title for other in shown]
        if columns[i].rank == 0 or (least[i] + GAP <= room and columns[i].instead_of not in titles):
            shown.append(i)
            room -= least[i] + GAP
    return _share(room, {i: least[i] for i in sorted(shown)}, natural)


def _share(room: int, widths: dict[int, int], natural: list[int]) -> dict[int, int]:
    """Give what room is left to the columns that are cut, a cell each in turn."""
    while room > 0 and (cut := [i for i, width in widths.items() if width < natural[i]]):
        for i in cut[:room]:
            widths[i] += 1
        room -= len(cut)
    return widths
