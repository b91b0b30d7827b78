"""Requests that another site makes a browser send are refused (OWASP, Cross-Site Request Forgery Prevention)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tornado.web import HTTPError

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

__all__ = ["is_foreign", "require_own_site"]


def require_own_site(request: HTTPServerRequest) -> None:
    """Raise a 403 for what another site has made a browser send, or what does not say where it is from."""
    if is_foreign(request) is not False:
        raise HTTPError(403, "this request does not come from a page of this site")


def is_foreign(request: HTTPServerRequest) -> bool | None:
    """Whether another site has made a browser send this; None: it does not say."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin") or request.headers.get("Referer")
    return None if origin is None else urlsplit(origin).netloc != request.host
