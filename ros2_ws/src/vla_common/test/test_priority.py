# SPDX-License-Identifier: Apache-2.0

"""Real-time priority: taken where it is allowed, and said where not."""

import os
import threading

import pytest
from vla_common.priority import prefer_this_thread


def on_a_thread(work):
    """The result of `work()` on a thread of its own, whose priority ends with it."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(5.0)
    return found[0]


def test_a_thread_gets_the_priority_or_is_told_why_not():
    def work():
        problem = prefer_this_thread(7)
        return problem, os.sched_getscheduler(0), os.sched_getparam(0).sched_priority

    problem, policy, priority = on_a_thread(work)
    if problem is None:
        assert (policy, priority) == (os.SCHED_FIFO, 7)
    else:
        assert policy == os.SCHED_OTHER
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "the other threads stay as they are"


def test_without_permission_the_thread_goes_on_and_the_remedy_is_said(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    problem = prefer_this_thread(7)
    assert "Operation not permitted" in problem
    assert "rtprio" in problem
    assert "thread_priority:=0" in problem


def test_zero_asks_for_nothing(monkeypatch):
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: pytest.fail("asked"))
    assert prefer_this_thread(0) is None
