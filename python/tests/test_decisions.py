"""What the client decides without I/O: how long to wait, when to try again, what it remembers of nodes that do not answer."""
import pytest
from ndring import ClusterDownError, ConnectionError, NodeDownError, TimeoutError
from ndring._outages import Outages, same_cause
from ndring._patience import Patience
from ndring._retry import Attempts, Policy

DOWN = ConnectionError("refused")


# How long to wait


def test_silence_ends_a_wait():
    p = Patience(30.0, 100.0)
    assert p.left(100) == 30 and p.left(129) == 1 and p.left(131) == -1
    assert not p.moved(100_000) or p.renew(129) is None  # much has come: that is progress
    assert p.left(129) == 30 and not p.ended(1e9) and "silent for" in p.reason(160)


def test_a_byte_now_and_then_is_no_progress():
    p = Patience(1.0, 0.0)
    for tenth in range(10):
        assert not p.moved(1)
        assert p.left(tenth / 10) == pytest.approx(1 - tenth / 10)
    assert p.left(1.1) < 0
    assert p.moved(16 << 10)


def test_the_deadline_ends_a_wait_whatever_comes():
    p = Patience(30.0, 0.0, 5.0)
    p.renew(4.9)
    assert p.left(4.9) == pytest.approx(0.1) and p.ended(5.0) and "deadline" in p.reason(5.0)
    p.begin(6.0, None)  # the next call on this connection has its own limits
    assert p.left(6.0) == 30


def test_another_node_is_asked_once_a_second():
    p = Patience(30.0, 0.0)
    assert p.until_doubt(0.25) == 0.75 and not p.doubts(0.5)
    assert p.doubts(1.0) and not p.doubts(1.5) and p.doubts(2.0)
    p.renew(2.5)
    assert not p.doubts(3.0)


# When to try again


def attempts(retry_for, deadline=None):
    return Attempts(Policy(retry_for, deadline, "raise"), 0.0)


def test_tries_end_after_retry_for():
    a = attempts(10)
    waits = [a.pause() for _ in range(12)]
    assert waits[0] <= 0.02 and max(waits) <= 1.0 and waits[-1] >= 0.5
    assert not a.is_over(8.9) and a.is_over(9.6)


def test_a_conditional_write_is_not_repeated_when_its_request_id_may_be_forgotten():
    """The node remembers it for 60 s."""
    a = attempts(1000)
    a.pause()
    assert not a.is_over(44.9, conditional=True) and a.is_over(45.1, conditional=True)
    assert not a.is_over(45.1) and not a.is_over(999)


def test_the_deadline_ends_the_tries():
    a = attempts(1000, 2.0)
    assert a.end == 2.0 and not a.is_over(1.9) and a.is_over(2.0)
    assert attempts(10).end is None


def test_a_call_with_a_short_deadline_has_not_waited_long():
    assert attempts(10).waited(9.9) == 10 and attempts(10, 60.0).waited(9.9) == 10
    short = attempts(10, 0.2)
    assert short.waited(0.2) == pytest.approx(0.2)
    o = Outages()
    o.failed("n", 0.0, 0.2, TimeoutError("silent"))
    o.gave_up("n", short.waited(0.2))
    assert not o.get("n").bars(0.3, 10)  # those that are more patient go on trying
    assert o.get("n").bars(10.1, 10)


# What is remembered


def test_calls_wait_until_one_has_given_up():
    o = Outages()
    assert not o.known
    o.failed("n", 0.0, 0.001, DOWN)
    assert o.known and not o.get("n").is_over(5.0, 10.0)
    o.failed("n", 1.5, 1.501, DOWN)
    assert o.gave_up("n", 10.0) is not None and o.gave_up("n", 10.0) is None  # news once
    assert o.get("n").is_over(1.6, 10.0) and not o.get("n").is_over(1.6, 20.0)


def test_a_try_that_costs_nothing_is_always_made():
    o = Outages()
    o.failed("n", 0.0, 0.001, DOWN)
    o.gave_up("n", 10)
    assert not o.get("n").bars(1.0, 10)
    o.failed("n", 1.0, 3.0, TimeoutError("silent"))
    assert o.get("n").bars(3.1, 10) and not o.get("n").bars(3.1, 1000)


def test_one_caller_a_second_looks():
    o = Outages()
    outage = o.failed("n", 0.0, 2.0, DOWN)
    assert not outage.look(2.9) and outage.look(3.0) and not outage.look(3.9) and outage.look(4.0)


def test_an_answer_ends_an_outage():
    o = Outages()
    o.failed("n", 0.0, 0.1, DOWN)
    assert o.answered("n") is not None and o.answered("n") is None and not o.known


def test_failures_far_apart_are_two_outages():
    o = Outages()
    o.failed("n", 0.0, 0.1, DOWN)
    node = ("n", 1)
    for what, kept in ((node, 300), ("CLUSTERDOWN", 60)):
        assert o.failed(what, 100.0, 100.1, DOWN).since == 100.0
        assert o.failed(what, 110.0, 110.1, DOWN).since == 110.0
        o.gave_up(what, 10)
        assert o.failed(what, 109.0 + kept, 110.0 + kept, DOWN).since == 110.0  # this one was waited for in vain: it goes on
        assert o.failed(what, 111.0 + 2 * kept, 111.1 + 2 * kept, DOWN).since == 111.0 + 2 * kept


def test_what_is_remembered_is_bounded():
    o = Outages()
    for n in range(5000):
        o.failed(n, 0.0, 0.1, DOWN)
    assert len(o.known) <= 1000


def test_an_outage_says_what_was_tried():
    o = Outages()
    for at in (0.0, 1.0, 2.0):
        o.failed("n", at, at + 0.1, DOWN)
    error = o.get("n").describe("10.0.0.1:7379", 12.5)
    assert isinstance(error, NodeDownError) and isinstance(error, ClusterDownError) and isinstance(error, ConnectionError)
    assert error.prefix == "CLUSTERDOWN" and "10.0.0.1:7379" in str(error) and "12.5 s (3 tries; the last one: refused)" in str(error)
    assert str(error.__cause__) == "refused" and type(error.__cause__) is ConnectionError


def test_what_is_remembered_is_no_news():
    """A look at a silent node may end with the error that others have left."""
    o = Outages()
    first = o.failed("n", 0.0, 2.0, DOWN)
    o.gave_up("n", 10)
    said = str(first.describe("n", 10.0))
    for n in range(10):
        assert o.failed("n", 3.0 + n, 4.0 + n, first.describe("n", 10.0)) is first
    error = first.describe("n", 10.0)
    assert str(error) == said.replace("1 try", "11 tries") and first.last == 13.0
    assert error.__cause__ is not None and error.__cause__.__cause__ is None
    o.answered("n")
    assert "has not answered" not in str(o.failed("n", 20.0, 21.0, error).describe("n", 21.0)).split("last one: ")[1]


def test_what_is_remembered_holds_nothing_of_the_call():
    try:
        try:
            raise OSError("refused")
        except OSError as exc:
            raise ConnectionError("refused") from exc
    except ConnectionError as exc:
        caught = exc
    caught.unreachable = True
    kept = Outages().failed("n", 0.0, 0.1, caught).error
    assert str(kept) == "refused" and type(kept) is ConnectionError and kept.unreachable
    assert kept.__traceback__ is kept.__cause__ is kept.__context__ is None


def test_slots_of_one_node_have_one_cause():
    text = 'CLUSTERDOWN Hash slot {} is not served: its node "{}" is down'
    assert same_cause(ClusterDownError(text.format(1, "a"))) == same_cause(ClusterDownError(text.format(16000, "a")))
    assert same_cause(ClusterDownError(text.format(1, "a"))) != same_cause(ClusterDownError(text.format(1, "b")))
