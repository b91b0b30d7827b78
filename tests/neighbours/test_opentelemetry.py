"""OpenTelemetry's instrumentation: a job's attempts are in the trace of the call, however long it waited in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from celery_jobs import Jobs
from celery_jobs.events import Kind
from celery_jobs.plugin import plugin_of
from celery_jobs.services import make_service
from celery_jobs.store.db import now
from celery_jobs.store.tables import jobs
from tests.apps import working
from tests.neighbours.conftest import hearing, send_again
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery
    from opentelemetry.sdk.trace import ReadableSpan


class Traces:
    """Spans of this process, in memory."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def span(self, name: str) -> Any:
        """A span of the app's own, to be entered."""
        return self.provider.get_tracer("shop").start_as_current_span(name)

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans of a name that have ended, in order of their start."""
        found = [span for span in self._exporter.get_finished_spans() if span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)


def identity(span: Any) -> Any:
    """The span's ids, its trace's among them."""
    return span.get_span_context()


@pytest.fixture
def traces() -> Iterator[Traces]:
    """Celery instrumented; the instrumentation's receivers of signals are gone afterwards."""
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    traces = Traces()
    instrumentor: Any = CeleryInstrumentor()  # type: ignore[no-untyped-call]
    instrumentor.instrument(tracer_provider=traces.provider)
    yield traces
    instrumentor.uninstrument()
    traces.provider.shutdown()


@pytest.fixture
def app(new_app: Callable[..., Celery]) -> Celery:
    app = new_app(jobs_queue_defaults={"retry_delays": [0.1]})

    @app.task(name="charge", bind=True)
    def charge(self: Any) -> str:
        if self.request.retries == 0:
            raise ConnectionError("the bank does not answer")
        return "charged"

    @app.task(name="ask_again", bind=True)
    def ask_again(self: Any) -> str:
        if self.request.retries == 0:
            raise self.retry(countdown=0.1)
        return "answered"

    return app


def promote(app: Celery, traces: Traces, job_id: str) -> None:
    """Let a job that is held in SQL fall due, and have the promoter send it in the course of a trace of its own."""
    plugin = plugin_of(app)
    with plugin.db.transaction() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(scheduled_at=now()))
    with traces.span("promoter"):
        assert make_service(plugin, "promoter").run_once() == 1


def test_a_trace_goes_on_through_promotion_retry_and_replay(app: Celery, traces: Traces) -> None:
    with traces.span("request") as request:
        job_id = app.tasks["charge"].apply_async(delay=3600).job_id
    promote(app, traces, job_id)
    with working(app):
        run = Jobs(app).wait(job_id, 40)
        again = Jobs(app).wait(Jobs(app).replay(job_id).id, 20)
    assert [(run.final_status, run.attempt_number), (again.final_status, again.attempt_number)] == [("success", 2)] * 2

    [call], attempts = traces.named("apply_async/charge"), traces.named("run/charge")
    assert [identity(span).trace_id for span in (call, *attempts)] == [identity(request).trace_id] * 5
    # The promoter sends what the call has written; it takes no place between the two.
    assert {span.parent.span_id for span in attempts if span.parent} == {identity(call).span_id}
    assert [(span.attributes or {}).get("celery.retries") for span in attempts] == [None, 1, None, 1]
    assert "ConnectionError" in str((attempts[0].attributes or {})["celery.retry.reason"])
    assert {span.status.is_ok for span in attempts} == {True}


@pytest.mark.matrix
def test_a_duplicate_makes_no_span(app: Celery, traces: Traces) -> None:
    result = app.tasks["ask_again"].delay()
    send_again(app, result.job_id)
    with hearing(Kind.DROPPED) as dropped, working(app):
        run = Jobs(app).wait(result.job_id, 40)
        wait_until(lambda: dropped)
    assert (run.final_status, len(traces.named("run/ask_again"))) == ("success", 2)
