"""Sphinx's configuration of this site: `python -m sphinx -W --keep-going -b html docs OUT`."""

from __future__ import annotations

import re
from typing import Any

import celery_jobs

project = "celery-jobs"
version = release = celery_jobs.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]

html_theme = "furo"
html_title = f"celery-jobs {version}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

myst_heading_anchors = 3
smartquotes = False
default_role = "code"
"""A name in single backticks, as the docstrings have it, is code."""

autodoc_default_options = {"member-order": "bysource"}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

MOST_PARAMETERS = 20
"""A class with more of them, such as Run, is shown without its signature; reference/json lists its fields."""

FACTORY = "<factory>"
"""What Python shows of a field whose default is made anew; the page in words lists the fields of such a class."""

PAGES = {"4": "enqueueing", "7": "repairing", "8": "callbacks", "9": "http-jobs"}
"""The page for users of a section of the contract that docstrings name, where it is not `semantics`."""

_SECTIONS = re.compile(r"semantics\.md\s+sections?\s+(\d+)(?:(?:,| and)\s+\d+)*")
_PUBLIC = "|".join(name for name in celery_jobs.__all__ if re.fullmatch(r"[A-Z]\w*[a-z][A-Z]\w*", name))
_MARKUP = re.compile(rf"(?P<code>`[^`]*`)|\b(?P<public>{_PUBLIC})\b|(?P<mark>[*|]|_(?=\W|$))")


def _link(page: str) -> str:
    return f":doc:`{page} </{page}>`"


def _to_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with backticks: nothing else in them is markup, and public names are links."""

    def escaped(found: re.Match[str]) -> str:
        if found["public"]:
            return f":py:obj:`~celery_jobs.{found['public']}`"
        return found["code"] or f"\\{found['mark']}"

    text = _MARKUP.sub(escaped, "\n".join(lines))
    lines[:] = _SECTIONS.sub(lambda found: _link(PAGES.get(found[1], "semantics")), text).split("\n")


def _without_unclear_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    unclear = what == "class" and signature and (signature.count(": ") > MOST_PARAMETERS or FACTORY in signature)
    return ("", "") if unclear else (signature, returns)


def _examples_as_code(app: Any, context: Any, lines: list[str]) -> None:
    """What a help text keeps as it is and indents is code."""
    found: list[str] = []
    for line in lines:
        kept = line.startswith("|   ")
        if kept and not (found and found[-1].startswith("   ")):
            found += ["", ".. code-block:: text", ""]
        found.append(f"   {line[4:]}" if kept else line.removeprefix("| "))
    lines[:] = found


def setup(app: Any) -> None:
    """Connect what this site needs of its own."""
    app.connect("autodoc-process-docstring", _to_rst)
    app.connect("autodoc-process-signature", _without_unclear_signature)
    app.connect("sphinx-click-process-description", _examples_as_code)
