# SPDX-License-Identifier: Apache-2.0

"""When joints count as standing still."""

from vla_common.stillness import Stillness

MS = 1_000_000


def fed(judge, values, begin_ms=0, step_ms=2):
    for i, value in enumerate(values):
        judge.note((begin_ms + i * step_ms) * MS, [value, 1.0])
    return (begin_ms + (len(values) - 1) * step_ms) * MS


def test_a_whole_window_at_rest_is_needed():
    judge = Stillness(["a", "b"])
    assert judge.why_not(0) == "nothing is known about a, b"
    now = fed(judge, [0.5] * 30)
    assert judge.why_not(now) == "they were watched for 0.06 s only"
    now = fed(judge, [0.5] * 22, begin_ms=60)
    assert judge.still(now)


def test_noise_is_rest_and_a_slow_creep_is_not():
    judge = Stillness(["a", "b"])
    assert judge.still(fed(judge, [0.5 + 0.0005 * (-1) ** i for i in range(60)]))
    creeping = Stillness(["a", "b"])
    now = fed(creeping, [0.03 * 0.002 * i for i in range(80)])
    assert creeping.why_not(now) == "a moved 0.0030 in the last 0.1 s"


def test_rest_is_noticed_one_window_after_the_end_of_a_motion():
    judge = Stillness(["a", "b"])
    moving = [0.001 * i for i in range(100)]
    end = fed(judge, moving)
    found = None
    for i in range(1, 100):
        judge.note(end + i * 2 * MS, [moving[-1], 1.0])
        if found is None and judge.still(end + i * 2 * MS):
            found = i * 2
    assert 90 <= found <= 102


def test_silence_is_no_rest():
    judge = Stillness(["a", "b"])
    now = fed(judge, [0.5] * 60)
    assert judge.why_not(now + 150 * MS) == "the joint states are 0.15 s old"


def test_a_clock_that_goes_back_and_a_restart_begin_anew():
    judge = Stillness(["a", "b"])
    fed(judge, [0.5] * 60)
    judge.note(2 * MS, [0.5, 1.0])
    assert judge.why_not(2 * MS) == "they were watched for 0.00 s only"
    judge.restart()
    assert not judge.still(2 * MS)
