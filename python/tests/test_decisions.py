"""The client's decisions without I/O: how long to wait, when to retry, and what to remember about
nodes that do not answer."""
import pytest
from ndring import ClusterDownError, ConnectionError, NodeDownError, TimeoutError
from ndring._core.outages import Outages, cause_key
from ndring._core.wait_limits import WaitLimits
from ndring._core.retry import Attempts, Policy

DOWN = ConnectionError("refused")


# How long to wait


def test_silence_ends_a_wait():
    p = WaitLimits(30.0, 100.0)
    assert p.remaining(100) == 30 and p.remaining(129) == 1 and p.remaining(131) == -1
    assert not p.made_progress(100_000) or p.restart(129) is None  # many bytes are progress
    assert p.remaining(129) == 30 and not p.deadline_passed(1e9) and "silent for" in p.describe(160)


def test_a_byte_now_and_then_is_not_progress():
    p = WaitLimits(1.0, 0.0)
    for tenth in range(10):
        assert not p.made_progress(1)
        assert p.remaining(tenth / 10) == pytest.approx(1 - tenth / 10)
    assert p.remaining(1.1) < 0
    assert p.made_progress(16 << 10)


def test_the_deadline_ends_a_wait_despite_progress():
    p = WaitLimits(30.0, 0.0, 5.0)
    p.restart(4.9)
    assert p.remaining(4.9) == pytest.approx(0.1) and p.deadline_passed(5.0) and "deadline" in p.describe(5.0)
    p.begin(6.0, None)  # the next call on this connection has its own limits
    assert p.remaining(6.0) == 30


def test_another_node_is_asked_once_a_second():
    p = WaitLimits(30.0, 0.0)
    assert p.until_silence_check(0.25) == 0.75 and not p.silence_check_due(0.5)
    assert p.silence_check_due(1.0) and not p.silence_check_due(1.5) and p.silence_check_due(2.0)
    p.restart(2.5)
    assert not p.silence_check_due(3.0)


# When to retry


def attempts(retry_for, deadline=None):
    return Attempts(Policy(retry_for, deadline, "raise"), 0.0)


def test_retries_end_after_retry_for():
    a = attempts(10)
    waits = [a.next_pause() for _ in range(12)]
    assert waits[0] <= 0.01 and max(waits) <= 0.25 and waits[-1] >= 0.125
    assert not a.out_of_time(9.7) and a.out_of_time(9.9)


def test_a_conditional_write_is_not_repeated_once_its_request_id_may_be_forgotten():
    """The node remembers a request id for 60 s."""
    a = attempts(1000)
    a.next_pause()
    assert not a.out_of_time(44.9, conditional=True) and a.out_of_time(45.1, conditional=True)
    assert not a.out_of_time(45.1) and not a.out_of_time(999)


def test_a_write_waits_for_copies_for_3_s_at_most():
    a = attempts(1000)
    a.next_pause()
    assert not a.out_of_time(12.9, no_replicas=10.0) and a.out_of_time(13.1, no_replicas=10.0)
    assert not a.out_of_time(13.1)
    assert attempts(1).out_of_time(1.1, no_replicas=1.0)  # or less, if the call has less time


def test_the_deadline_ends_the_retries():
    a = attempts(1000, 2.0)
    assert a.end == 2.0 and not a.out_of_time(1.9) and a.out_of_time(2.0)
    assert not a.too_late(1.94) and a.too_late(1.96)  # another try would end in a timeout that hides the reason
    assert not attempts(10, 0.01).too_late(0.008) and attempts(10, 0.01).too_late(0.0095) and not attempts(10).too_late(1e9)
    assert attempts(10).end is None


def test_a_call_with_a_short_deadline_has_not_waited_long():
    assert attempts(10).time_given(9.9) == 10 and attempts(10, 60.0).time_given(9.9) == 10
    short = attempts(10, 0.2)
    assert short.time_given(0.2) == pytest.approx(0.2)
    o = Outages()
    o.record_failure("n", 0.0, 0.2, TimeoutError("silent"))
    o.record_give_up("n", short.time_given(0.2))
    assert not o.get("n").blocks_tries(0.3, 10)  # calls with a longer retry_for still try
    assert o.get("n").blocks_tries(10.1, 10)


# What to remember


def test_calls_wait_until_one_of_them_has_given_up():
    o = Outages()
    assert not o.known
    o.record_failure("n", 0.0, 0.001, DOWN)
    assert o.known and not o.get("n").is_exhausted(5.0, 10.0)
    o.record_failure("n", 1.5, 1.501, DOWN)
    assert o.record_give_up("n", 10.0) is not None and o.record_give_up("n", 10.0) is None  # reported once
    assert o.get("n").is_exhausted(1.6, 10.0) and not o.get("n").is_exhausted(1.6, 20.0)


def test_a_try_that_fails_fast_is_always_made():
    o = Outages()
    o.record_failure("n", 0.0, 0.001, DOWN)
    o.record_give_up("n", 10)
    assert not o.get("n").blocks_tries(1.0, 10)
    o.record_failure("n", 1.0, 3.0, TimeoutError("silent"))
    assert o.get("n").blocks_tries(3.1, 10) and not o.get("n").blocks_tries(3.1, 1000)


def test_one_caller_a_second_probes():
    o = Outages()
    outage = o.record_failure("n", 0.0, 2.0, DOWN)
    assert not outage.probe_due(2.9) and outage.probe_due(3.0) and not outage.probe_due(3.9) and outage.probe_due(4.0)


def test_an_answer_ends_an_outage():
    o = Outages()
    o.record_failure("n", 0.0, 0.1, DOWN)
    assert o.record_answer("n") is not None and o.record_answer("n") is None and not o.known


def test_failures_far_apart_are_two_outages():
    o = Outages()
    o.record_failure("n", 0.0, 0.1, DOWN)
    node = ("n", 1)
    for what, kept in ((node, 300), ("CLUSTERDOWN", 60)):
        assert o.record_failure(what, 100.0, 100.1, DOWN).since == 100.0
        assert o.record_failure(what, 110.0, 110.1, DOWN).since == 110.0
        o.record_give_up(what, 10)
        assert o.record_failure(what, 109.0 + kept, 110.0 + kept, DOWN).since == 110.0  # a call has given up on this outage, so it continues
        assert o.record_failure(what, 111.0 + 2 * kept, 111.1 + 2 * kept, DOWN).since == 111.0 + 2 * kept


def test_outages_are_bounded():
    o = Outages()
    for n in range(5000):
        o.record_failure(n, 0.0, 0.1, DOWN)
    assert len(o.known) <= 1000


def test_an_outage_reports_what_was_tried():
    o = Outages()
    for at in (0.0, 1.0, 2.0):
        o.record_failure("n", at, at + 0.1, DOWN)
    error = o.get("n").to_error("10.0.0.1:7379", 12.5)
    assert isinstance(error, NodeDownError) and isinstance(error, ClusterDownError) and isinstance(error, ConnectionError)
    assert error.prefix == "CLUSTERDOWN" and "10.0.0.1:7379" in str(error) and "12.5 s (3 tries; the last one: refused)" in str(error)
    assert str(error.__cause__) == "refused" and type(error.__cause__) is ConnectionError


def test_a_repeated_error_does_not_replace_its_cause():
    """A probe of a silent node may end with the error that earlier tries have left."""
    o = Outages()
    first = o.record_failure("n", 0.0, 2.0, DOWN)
    o.record_give_up("n", 10)
    said = str(first.to_error("n", 10.0))
    for n in range(10):
        assert o.record_failure("n", 3.0 + n, 4.0 + n, first.to_error("n", 10.0)) is first
    error = first.to_error("n", 10.0)
    assert str(error) == said.replace("1 try", "11 tries") and first.last == 13.0
    assert error.__cause__ is not None and error.__cause__.__cause__ is None
    o.record_answer("n")
    assert "has not answered" not in str(o.record_failure("n", 20.0, 21.0, error).to_error("n", 21.0)).split("last one: ")[1]


def test_an_outage_keeps_no_reference_to_the_call():
    try:
        try:
            raise OSError("refused")
        except OSError as exc:
            raise ConnectionError("refused") from exc
    except ConnectionError as exc:
        caught = exc
    caught.unreachable = True
    kept = Outages().record_failure("n", 0.0, 0.1, caught).error
    assert str(kept) == "refused" and type(kept) is ConnectionError and kept.unreachable
    assert kept.__traceback__ is kept.__cause__ is kept.__context__ is None


def test_slots_of_one_node_share_one_cause():
    text = 'CLUSTERDOWN Hash slot {} is not served: its node "{}" is down'
    assert cause_key(ClusterDownError(text.format(1, "a"))) == cause_key(ClusterDownError(text.format(16000, "a")))
    assert cause_key(ClusterDownError(text.format(1, "a"))) != cause_key(ClusterDownError(text.format(1, "b")))
