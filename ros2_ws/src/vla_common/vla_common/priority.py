# SPDX-License-Identifier: Apache-2.0

"""Real-time priority of one thread, as the controllers of ros2_control ask for it."""

import os


def prefer_this_thread(priority: int) -> str | None:
    """Let the calling thread run before all ordinary ones (Linux: SCHED_FIFO), for threads that mostly wait.

    Args:
        priority: 1 to 99, more goes first; 0 leaves the thread as it is.

    Returns:
        Why nothing changed, with the remedy; None after success and for 0.
    """
    if priority == 0:
        return None
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (AttributeError, OSError) as error:
        return (
            f"no real-time priority for the control thread ({error}), so other programs may delay it by some milliseconds. "
            f"Linux grants it with `@realtime - rtprio 99` in /etc/security/limits.d and your user in the group realtime; "
            f"thread_priority:=0 asks for none"
        )
    return None
