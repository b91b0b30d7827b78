"""What every page is asked in a real browser: whether everybody can use it, in both themes, and on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["NARROW", "look_at"]

NARROW = {"width": 375, "height": 740}
WIDE = {"width": 1280, "height": 800}
GRAVE = ("serious", "critical")


def look_at(page: Page, shot: str | None = None) -> None:
    """Raise AssertionError for a serious fault of accessibility in either theme, or a page wider than a phone."""
    for theme in ("light", "dark"):
        page.evaluate("theme => document.documentElement.setAttribute('data-bs-theme', theme)", theme)
        if shot is not None:
            page.screenshot(path=f"{shot}-{theme}.png", full_page=True)
        found = Axe().run(page).response["violations"]
        grave = [
            (one["id"], node["html"], node["failureSummary"])
            for one in found
            for node in one["nodes"]
            if one["impact"] in GRAVE
        ]
        said = "\n".join(f"{id}: {html}\n{why}" for id, html, why in grave)
        assert not grave, f"{theme}:\n{said}"
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    if shot is not None:
        page.screenshot(path=f"{shot}-narrow.png", full_page=True)
    wide, room = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    assert wide <= room
