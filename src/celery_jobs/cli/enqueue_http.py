"""The command that makes HTTP jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from celery_jobs.cli.door import as_json, door, jobs_of
from celery_jobs.cli.enqueue import job_options, print_enqueued, with_options, with_wait
from celery_jobs.cli.parameters import DURATION, JsonType

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["enqueue_http", "given_of", "request_options"]


def _headers(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, str] | None:
    pairs = [header.partition(":") for header in value]
    for name, colon, _ in pairs:
        if not colon:
            raise click.BadParameter(f"'Name: value' is expected, not {name!r}", context, parameter)
    return {name.strip(): text.strip() for name, _, text in pairs} or None


_REQUEST = (
    click.option("-X", "--method", help="GET, POST, PUT, PATCH or DELETE; POST where nothing is said."),
    click.option(
        "-H", "--header", "headers", multiple=True, callback=_headers, help="'Name: value'; may be given again."
    ),
    click.option("--payload", type=JsonType(object, "JSON"), help="The body, as JSON: '{\"order\": 7}'."),
    click.option("--body", help="The body, as a text."),
    click.option("--timeout", type=DURATION, help="For the whole request: 10s, 2m; else its queue's, else 30 s."),
    click.option(
        "--assert",
        "assertions",
        multiple=True,
        type=JsonType(dict, "an object"),
        help='What must be so besides 2xx: \'{"type": "body", "contains": "ok"}\'; may be given again.',
    ),
    click.option("--follow-redirects", is_flag=True, default=None, help="Follow redirects, to allowed addresses."),
    click.option("--sign", is_flag=True, default=None, help="Sign it with jobs_callback_secrets."),
    click.option(
        "--no-retry-status", "no_retry_statuses", multiple=True, type=int, help="Ends the chain; else 410 does."
    ),
)


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a request."""
    return with_options(command, *_REQUEST)


def given_of(options: dict[str, Any]) -> dict[str, Any]:
    """What was given of them, and of a job's."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    return {name: list(value) if name in _LISTS else value for name, value in given.items()}


_LISTS = ("assertions", "no_retry_statuses")


@click.command("enqueue-http")
@click.argument("url")
@request_options
@click.option("--body-from", type=click.File("rb"), help="A file with the body; - for stdin.")
@job_options
@with_wait
@as_json
@door
def enqueue_http(
    context: click.Context,
    url: str,
    body: str | None,
    body_from: BinaryIO | None,
    wait: float | None,
    json: bool,
    **given: Any,
) -> None:
    """Enqueue a request to URL.

    The job succeeds where the answer is 2xx and every assertion holds.

    \b
      celery -A shop jobs enqueue-http https://api.example.com/hook --queue webhooks --payload '{"order": 7}'
      celery -A shop jobs enqueue-http https://example.com/health -X GET --assert '{"type": "body", "contains": "ok"}'
    """
    if body is not None and body_from is not None:
        raise click.UsageError("give either --body or --body-from")
    options = given_of(given)
    if body is not None or body_from is not None:
        options["body"] = body if body_from is None else body_from.read()
    jobs = jobs_of(context)
    print_enqueued(jobs, jobs.enqueue_http(url, **options), wait, json)
