"""`celery -A app jobs …`: the admin script. Each command parses, calls one verb of `Jobs`, and renders."""

from __future__ import annotations

import click

from celery_jobs.cli.alert import alert
from celery_jobs.cli.audit import audit
from celery_jobs.cli.callback import callback
from celery_jobs.cli.dlq import dlq
from celery_jobs.cli.enqueue import enqueue
from celery_jobs.cli.enqueue_http import enqueue_http
from celery_jobs.cli.enqueue_payload import enqueue_payload
from celery_jobs.cli.follow import follow
from celery_jobs.cli.keys import release_key
from celery_jobs.cli.maintenance import check, migrate, promote, reap, sweep
from celery_jobs.cli.order import InOrder
from celery_jobs.cli.pauses import drain, pause, resume
from celery_jobs.cli.queues import queues, stats
from celery_jobs.cli.runs import list_runs, show, wait
from celery_jobs.cli.schedules import schedule
from celery_jobs.cli.tokens import tokens
from celery_jobs.cli.verbs import cancel, delete, erase, fire, replay

__all__ = ["jobs"]


@click.group(name="jobs", cls=InOrder)
def jobs() -> None:
    """See and repair jobs.

    \b
      celery -A shop jobs list --status failed --since 2h
      celery -A shop jobs show 0199b2f4
      celery -A shop jobs dlq replay --task charge_card --reason "the bank is back"

    An ID is a job's id, a Celery task id, or a beginning that only one job has. Moments are ISO 8601, in UTC where
    they do not say otherwise, or an age such as 30m, 2h or 7d. Every command takes --json.

    \b
    Exit codes:
      0    done; what a bulk command skipped is told
      1    refused, or something is wrong: also where every ID given was skipped
      2    wrong usage
      3    no such job or schedule, or no job with such a key
      4    the database does not answer or has the wrong schema
      5    timeout
      130  interrupted; a bulk command says how to go on

    \b
    Completion, for this shell:
      bash:  eval "$(_CELERY_COMPLETE=bash_source celery)"
      zsh:   eval "$(_CELERY_COMPLETE=zsh_source celery)"
      fish:  _CELERY_COMPLETE=fish_source celery | source
    """


_LOOKING = (list_runs, show, wait, follow, queues, stats)
_ACTING = (
    *(enqueue, enqueue_http, enqueue_payload, replay, cancel, fire, delete, erase, release_key, dlq),
    *(pause, resume, drain, schedule, callback, alert),
)
_KEEPING = (tokens, audit, promote, sweep, reap, migrate, check)

for command in (*_LOOKING, *_ACTING, *_KEEPING):
    jobs.add_command(command)
