from __future__ import annotations

import pytest

from celery_jobs.states import FAILED_VERDICTS, LIVE, FailureReason, FinalStatus, Status, parse_filter


def test_the_states_are_the_documented_words() -> None:
    assert list(Status) == ["pending", "processing", "completed", "failed", "cancelled"]
    assert set(FinalStatus) == {
        "success",
        "retrying",
        "failed_with_retries",
        "failed_no_retries",
        "dead_lettered",
        "cancelled",
    }
    assert set(FailureReason) == {
        "exception",
        "timeout",
        "worker_lost",
        "expired",
        "no_retry",
        "unknown_task",
        "undecodable",
        "connection_error",
        "dns_error",
        "ssl_error",
        "http_client_error",
        "http_server_error",
        "http_redirect",
        "invalid_url",
        "blocked_address",
        "assertion_failed",
    }


def test_a_job_lives_while_it_waits_or_runs() -> None:
    assert set(LIVE) == {"pending", "processing"}
    assert set(FAILED_VERDICTS) == {"dead_lettered", "failed_no_retries"}


@pytest.mark.parametrize("state", [*Status, *FinalStatus])
def test_every_state_is_read_as_itself_in_either_case(state: str) -> None:
    assert parse_filter(state) == parse_filter(f" {state.upper()} ") == state


@pytest.mark.parametrize(
    "spelling", ["deadletter", "dead_lettered", "DEAD", "dead-lettered", "Dead_Letter", "DEADLETTER", "dead-letter"]
)
def test_the_dead_letter_queue_is_known_under_every_documented_spelling(spelling: str) -> None:
    assert parse_filter(spelling) is FinalStatus.DEAD_LETTERED


@pytest.mark.parametrize("state", ["", "lost", "pend"])
def test_an_unknown_state_is_refused_with_the_known_ones(state: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown state {state!r}; known are pending, .*dead_lettered"):
        parse_filter(state)
