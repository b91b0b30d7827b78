"""Bulk acts: first the count and the first five, then what is asked once more, then an act that goes on by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tornado.web import HTTPError

from celery_jobs.amounts import read_rate
from celery_jobs.ids import new_id, parse_id
from celery_jobs.tokens import Scope
from celery_jobs.web import acts
from celery_jobs.web.filters import FilterForm, read_filter
from celery_jobs.web.page import Changed, Page, Shown
from celery_jobs.words import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery_jobs.bulk import Preview

__all__ = ["BulkPage"]

VERBS = {
    "cancel": Scope.OPERATE,
    "fire": Scope.OPERATE,
    "replay": Scope.OPERATE,
    "delete": Scope.ADMIN,
    "purge": Scope.ADMIN,
    "erase": Scope.ADMIN,
}
"""What can be done to many, and who may."""

FOR_GOOD = ("delete", "purge", "erase")
"""What nobody can undo: the count is typed in, and is judged again."""

MOST_FOR_GOOD = 10_000
"""Runs that one act deletes or erases; more are for the command line."""


class BulkPage(Page):
    """What is about to be done (GET), and its beginning (POST)."""

    template = "bulk.html"
    tab = "jobs"

    def read(self, *_: str) -> dict[str, Any]:
        """The count, the first five, and the form that begins it."""
        return self._shown(self.given(self.request.query_arguments))

    def _shown(self, given: Mapping[str, list[str]], problem: str | None = None) -> dict[str, Any]:
        verb, ids, form = self._asked(given)
        preview = self._preview(verb, ids, form)
        return {
            "verb": verb,
            "ids": ids,
            "form": form,
            "preview": preview,
            "act_id": new_id(),
            "for_good": verb in FOR_GOOD,
            "too_many": verb in FOR_GOOD and preview.matched > MOST_FOR_GOOD,
            "problem": problem,
            "said": {name: values[-1] for name, values in given.items()},
        }

    def _asked(self, given: Mapping[str, list[str]]) -> tuple[str, list[str] | None, FilterForm]:
        verb = given.get("verb", [""])[-1]
        if verb not in VERBS:
            raise ValueError(f"verb: one of {', '.join(VERBS)} is expected, not {verb!r}")
        self.require(VERBS[verb])
        form = read_filter(given)
        for name, problem in form.errors.items():
            raise ValueError(f"{name}: {problem}")
        ids = [id for id in given.get("ids", []) if id]
        if not ids and not form.where:
            raise ValueError("nothing is selected: tick some jobs, or filter them")
        return verb, ids or None, form

    def _preview(self, verb: Any, ids: list[str] | None, form: FilterForm) -> Preview:
        return self.jobs.preview(verb, ids) if ids else self.jobs.preview(verb, **form.where)

    def act(self, *_: str) -> str | Shown:
        """Begin it, or with dry_run say what it would do."""
        given = self.given(self.request.body_arguments)
        verb, ids, form = self._asked(given)
        self._require_scope(verb)
        try:
            options = self._options(verb)
            self._require_typed(verb)
        except ValueError as error:
            return Shown("bulk.html", self._shown(given, str(error)), 422)
        preview = self._preview(verb, ids, form)
        if verb in FOR_GOOD:
            self._require_same(verb, preview)
        target: dict[str, Any] = {"ids": ids} if ids else dict(form.where)
        if verb == "purge" and not ids:  # what dies meanwhile was not counted
            before = target.get("dead_lettered_before")
            target["dead_lettered_before"] = preview.at if before is None else min(before, preview.at)
        many: Callable[..., Any] = getattr(self.jobs, f"{verb}_many")
        if self.field("dry_run"):
            result = many(dry_run=True, **target, **options)
            return Shown("bulk_dry.html", {"verb": verb, "form": form, "result": result})
        act_id = parse_id(self.field("act_id")) or new_id()
        acts.begin(self.jobs, act_id, many, **target, **options)
        return f"/jobs/acts/{act_id}"

    def _require_scope(self, verb: str) -> None:
        if not self.may(VERBS[verb]):
            raise HTTPError(403, f"{self.grant.name} may not {verb}: the scope {VERBS[verb]} is needed")

    def _options(self, verb: str) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if rate := self.field("rate").strip():
            try:
                options["rate"] = read_rate(rate)
            except ValueError as error:
                raise ValueError(f"rate: {error}") from None
        if verb == "replay":
            options.update(reason=self.reason, force=bool(self.field("force")))
        else:
            self.jobs.reason = self.reason
        if verb == "cancel":
            options["terminate"] = bool(self.field("terminate"))
        return options

    def _require_typed(self, verb: str) -> None:
        typed = self.field("typed").replace(",", "").strip()
        if verb in FOR_GOOD and not self.field("dry_run") and typed != self.field("matched"):
            raise ValueError(f"type the number of jobs, {self.field('matched')}, to {verb} them for good")

    def _require_same(self, verb: str, preview: Preview) -> None:
        if str(preview.matched) != self.field("matched"):
            words = plural(preview.matched, "job")
            raise Changed(f"by now {words} would be {verb}d, not {self.field('matched')}; nothing was done")
        if preview.matched > MOST_FOR_GOOD:
            raise Changed(f"at most {MOST_FOR_GOOD:,} are {verb}d from here; use the command line for more")
