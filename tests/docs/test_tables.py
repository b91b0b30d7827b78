"""The site's tables say what the code says: settings, events, JSON forms, errors, names, commands, options."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import click
import pytest

import celery_jobs
import celery_jobs.testing
from celery_jobs import bulk, erasing, errors, events, logs, options, replaying, settings, states, verbs
from celery_jobs.cli import jobs as jobs_command
from celery_jobs.doctor import CHECKS
from celery_jobs.outside import ClaimedJob, Lease
from celery_jobs.run_events import DETAILS, RunEvent
from celery_jobs.runs import make_run
from celery_jobs.services import SERVICES
from celery_jobs.store import dead_letters
from celery_jobs.store.rows import Job
from celery_jobs.store.stats import ErrorGroup
from celery_jobs.store.tokens import Token
from celery_jobs.testing.responses import Fault
from celery_jobs.tokens import NewToken
from celery_jobs.what_if import Forecast, WhatIf
from tests.docs.pages import blocks_of, cells, code_in, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def words(text: str) -> str:
    """A docstring as one line of Markdown."""
    return " ".join(text.split()).replace("|", "\\|")


def meanings(cls: type) -> dict[str, str]:
    """What stands under each field of a class."""
    (tree,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for given, said in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(given, ast.AnnAssign) and isinstance(given.target, ast.Name) and isinstance(said, ast.Expr):
            found[given.target.id] = words(ast.literal_eval(said.value))
    return found


def defaults(cls: Any) -> dict[str, str]:
    """Each field's default as it is written in a settings file."""
    made = cls()
    return {field.name: _written(getattr(made, field.name)) for field in dataclasses.fields(cls)}


def _written(value: Any) -> str:
    if isinstance(value, settings.QueueSettings):
        return "see below"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{value!r}`"


def settings_table(cls: Any, prefix: str) -> list[list[str]]:
    """The rows that the page is to have."""
    said = meanings(cls)
    return [[f"`{prefix}{name}`", default, said[name]] for name, default in defaults(cls).items()]


@pytest.mark.parametrize(
    ("heading", "cls", "prefix"),
    [("Settings of the app", settings.Settings, "jobs_"), ("Settings of a queue", settings.QueueSettings, "")],
)
def test_the_settings_are_those_of_the_code(heading: str, cls: type, prefix: str) -> None:
    wanted = settings_table(cls, prefix)
    table = "\n".join(f"| {' | '.join(row)} |" for row in wanted)
    assert cells("settings.md", heading) == wanted, f"the table is to be:\n{table}"


def test_the_events_are_those_of_the_code() -> None:
    rows = cells("events.md", "Kinds")
    assert [code_in(row[0]) for row in rows] == [[str(kind)] for kind in events.Kind]
    for kind, (_, _, details, level) in zip(events.Kind, rows, strict=True):
        assert tuple(code_in(details)) == events.DETAILS.get(kind, ()), kind
        assert level == logging.getLevelName(logs._WORDINGS[kind][0]).lower(), kind


def test_the_events_of_a_run_are_those_of_the_code() -> None:
    rows = cells("following.md", "Events")
    assert [(code_in(row[0])[0], tuple(code_in(row[2]))) for row in rows] == [*DETAILS.items()]


def test_the_fields_of_a_log_record_are_those_of_the_code(caplog: pytest.LogCaptureFixture) -> None:
    documented = [name for row in cells("events.md", "Log records") for name in code_in(row[0])]
    with caplog.at_level(logging.WARNING, "celery_jobs"):
        logs.log(events.Event(events.Kind.WORKER_DEAD, details={"worker": "one"}))
    (record,) = caplog.records
    ordinary = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime"}
    assert set(documented) == record.__dict__.keys() - ordinary


def json_forms() -> Iterator[tuple[str, dict[str, Any]]]:
    moment = datetime(2026, 4, 10, 12, tzinfo=UTC)
    required = [field.name for field in dataclasses.fields(Job) if field.default is dataclasses.MISSING]
    values: dict[str, Any] = {name: name for name in required if not name.endswith("_at")}
    job = Job(**values, created_at=moment, scheduled_at=moment)
    run = make_run([job]).to_json()
    claimed: dict[str, Any] = dict.fromkeys((field.name for field in dataclasses.fields(ClaimedJob)), moment)
    outcome = celery_jobs.EnqueueOutcome(0, error=errors.InvalidJob("delay", "is wrong")).to_json()
    yield "A run", run
    yield "An attempt", run["attempts"][0]
    yield "A claimed job", ClaimedJob(**claimed).to_json()
    yield "A lease", Lease("id", moment, cancel_requested=False).to_json()
    yield "Arguments", celery_jobs.Arguments().to_json()
    yield "What became of an item", outcome
    yield "The error of an item", outcome["error"]
    yield "A group of errors", ErrorGroup("t", "E", None, None, 1, moment, moment).to_json()
    forecast = Forecast("celery", "t")
    yield "A forecast", forecast.to_json()
    yield "All forecasts", WhatIf(moment, True, 60, 1, (forecast,)).to_json()
    event = RunEvent(events.Kind.STARTED, moment, "1", "1", "1", 1, "celery", None)
    yield "An event of a run", event.to_json()
    token = Token("1", "ci", "cjk_1", "abcd", ["read"], None, 600, moment, None, None, None, None, None)
    yield "An API token", token.to_json()
    yield "A new API token", NewToken("cjk_", token).to_json()
    said: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(celery_jobs.Act))
    act = celery_jobs.Act(**said)
    yield "An act", act.to_json()
    yield "What a bulk verb did", celery_jobs.BulkResult("replay", 0, 0, {}).to_json()


@pytest.mark.parametrize(("heading", "form"), [pytest.param(*form, id=form[0]) for form in json_forms()])
def test_the_json_forms_are_those_of_the_code(heading: str, form: dict[str, Any]) -> None:
    rows = cells("reference/json.md", heading)
    documented = [name for row in rows for name in code_in(row[0])]
    assert sorted(documented) == sorted(form)
    assert all(row[1] for row in rows), "a key has no meaning"


def test_the_reasons_of_a_bulk_verb_are_the_errors_of_the_verbs() -> None:
    known = {**vars(verbs), **vars(replaying), **vars(erasing), **vars(dead_letters)}.values()
    raised = {kind for kind in known if isinstance(kind, type) and issubclass(kind, celery_jobs.JobsError)}
    said = text_of("reference/json.md").partition("The reasons are the errors")[2]
    wanted = {bulk._reason(kind.__new__(kind)) for kind in raised - {celery_jobs.JobsError}}
    assert set(code_in(said)) == wanted


@pytest.mark.parametrize(
    ("heading", "kind"),
    [("States", states.Status), ("States", states.FinalStatus), ("States", states.FailureReason)],
)
def test_the_states_are_those_of_the_code(heading: str, kind: Any) -> None:
    section = text_of("semantics.md").partition(f"# {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {str(state) for state in kind} <= {name for row in rows for name in code_in(row)}


def test_the_options_of_an_enqueue_are_those_of_the_code() -> None:
    documented = {name for row in cells("enqueueing.md", "Options") for name in code_in(row[0])}
    assert documented == options.NAMES - {"job_priority"}


def test_the_filters_and_their_options_are_those_of_the_code() -> None:
    rows = cells("repairing.md", "Lists and filters")
    fields = [field.name for field in dataclasses.fields(celery_jobs.Filter)]
    assert [code_in(row[0]) for row in rows] == [[name] for name in fields]
    assert isinstance(jobs_command, click.Group)
    of_list = {str(given.name): given.opts for given in jobs_command.commands["list"].params}
    assert [code_in(row[1]) for row in rows] == [of_list.get(name, []) for name in fields]


def test_the_services_are_those_of_the_code() -> None:
    assert [code_in(row[0]) for row in cells("operating.md", "The services")] == [[name] for name in SERVICES]


def test_the_checks_of_the_doctor_are_those_of_the_code() -> None:
    documented = [(row[0].strip("`"), row[1]) for row in cells("operating.md", "The checks")]
    assert documented == [(check.name, check.severity) for check in CHECKS]


def test_the_exit_codes_are_those_of_the_command() -> None:
    documented = [row[0].strip("`") for row in cells("operating.md", "Exit codes")]
    said = (jobs_command.help or "").partition("Exit codes:")[2].split("\n\n")[0]
    assert documented == [line.split()[0] for line in said.strip().splitlines()]


def test_the_arguments_of_a_canned_response_are_those_of_the_code() -> None:
    rows = {name: row for row in cells("testing.md", "HTTP jobs") for name in code_in(row[0])}
    assert list(rows) == list(inspect.signature(celery_jobs.testing.Sandbox.respond).parameters)[1:]
    assert set(get_args(Fault)) <= set(code_in(rows["fault"][1]))


def test_every_public_name_is_in_the_reference() -> None:
    shown = reference()
    assert set(celery_jobs.__all__) <= shown
    assert set(celery_jobs.testing.__all__) <= shown


def test_every_error_is_in_the_reference() -> None:
    assert set(errors.__all__) <= reference()


def reference() -> set[str]:
    """The names that the Python reference shows."""
    lines = "".join(block.text for block in blocks_of("reference/python.md")).splitlines()
    return {line.rpartition(".")[2].split()[-1] for line in lines if line.startswith(".. auto")}


def test_the_reference_of_the_command_line_is_made_of_the_commands() -> None:
    (block,) = (block for block in blocks_of("reference/cli.md") if block.language == "{eval-rst}")
    assert block.text.splitlines()[0] == ".. click:: celery_jobs.cli:jobs"
    assert "   :nested: full" in block.text.splitlines()


def test_the_pages_use_public_names() -> None:
    for page in (
        "quickstart.md",
        "adopting.md",
        "callbacks.md",
        "semantics.md",
        "enqueueing.md",
        "repairing.md",
        "events.md",
        "operating.md",
    ):
        for block in blocks_of(page):
            if block.language == "python":
                for node in ast.walk(ast.parse(block.text)):
                    if isinstance(node, ast.ImportFrom) and str(node.module).startswith("celery_jobs"):
                        module = {"celery_jobs": celery_jobs, "celery_jobs.events": events}[str(node.module)]
                        assert {name.name for name in node.names} <= set(module.__all__), page
