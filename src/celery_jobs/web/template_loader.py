"""Templates: ours by names that begin with `jobs/`, Flower's by the others, our tabs put into its bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado.template import Loader, Template

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["TABS", "PageLoader"]

HERE = Path(__file__).parent / "templates"
OURS, BAR = "jobs/", "navbar.html"

TABS = (
    ("overview", "Overview", "/jobs/overview"),
    ("jobs", "Jobs", "/jobs"),
    ("dead-letters", "Dead letters", "/jobs/dead-letters"),
    ("queues", "Queues", "/jobs/queues"),
    ("schedules", "Schedules", "/jobs/schedules"),
)
"""What Flower's bar gets: a name, what it says, where it leads."""

BEHIND = "Broker</a>\n        </li>\n"
"""Of Flower's last tab, behind which ours come. A Flower whose bar is another has no tabs of ours, and all pages."""

TAB = """        <li class="nav-item">
          <a class="nav-link{{% if active_tab == '{name}' %}} active{{% end %}}"
            href="{{{{ jobs_prefix }}}}{path}"
            {{% if active_tab == '{name}' %}}aria-current="page"{{% end %}}>{label}</a>
        </li>
"""


PREFIX = """{% set prefix = handler.application.options.url_prefix %}
{% set jobs_prefix = "/" + prefix.strip("/") if prefix else "" %}
"""


class PageLoader(Loader):
    """Loads our templates and Flower's, which share one space of names."""

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        """A name means the same in every template."""
        return name

    def _create_template(self, name: str) -> Template:
        if name.startswith(OURS):
            return Template((HERE / name.removeprefix(OURS)).read_bytes(), name=name, loader=self)
        if name == BAR:
            text = (Path(self.root) / name).read_text(encoding="utf-8")
            return Template(PREFIX + text.replace(BEHIND, BEHIND + _tabs(TABS), 1), name=name, loader=self)
        made: Template = super()._create_template(name)
        return made


def _tabs(tabs: Iterable[tuple[str, str, str]]) -> Any:
    return "".join(TAB.format(name=name, label=label, path=path) for name, label, path in tabs)
