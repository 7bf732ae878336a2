# SPDX-License-Identifier: Apache-2.0

"""Messages of one stream on one timeline, and the choice of the one that belongs to a tick.

The choice depends on the stamps and the tick only, never on when it is asked for, as long as everything up to the tick
plus the look-ahead has been pushed. That is what makes live frames and frames from a bag the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from math import ceil

import numpy as np

from vla_core.stamps import to_ns, to_s

OK = "ok"
EMPTY = "empty"
STALE = "stale"
# Ages kept for the percentile; at 30 frames per second this is the last 2.3 minutes.
_KEPT_AGES = 4096
_KEPT_AFTER_MAX_AGE_S = 1.0
_RATE_MARGIN = 2.0
_SPARE = 16
_LOOKAHEAD_PERIODS = 1.5


@dataclass(frozen=True, slots=True)
class Found[T]:
    """The answer of a buffer.

    Attributes:
        status: ``ok``, ``empty`` (no message in reach) or ``stale`` (the nearest is older than allowed).
        item: The message, or the one before the tick when interpolating; None when the status is empty.
        after: The message after the tick when interpolating, else None.
        weight: Weight of `after`, in [0, 1).
        age_ns: Tick minus stamp of the message used, of two the one farther away; negative if it is newer than the tick.
    """

    status: str
    item: T | None = None
    after: T | None = None
    weight: float = 0.0
    age_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStats:
    """Counts of one stream; ages are distances from the tick, older or newer, in seconds, 0 before the first hit."""

    pushed: int
    late: int
    tried: int
    hit: int
    empty: int
    stale: int
    age_mean_s: float
    age_p95_s: float
    age_max_s: float


class StreamBuffer[T]:
    """Keeps the recent messages of one stream, sorted by stamp, in bounded memory.

    Args:
        strategy: ``hold`` takes the last message at or before the tick; ``nearest`` the one nearest to it (of two at the
            same distance, the earlier); ``interpolate`` the two around it.
        max_age_s: No message farther than this from the tick is ever used.
        rate_hz: Expected rate; sets the look-ahead and the memory.
    """

    def __init__(self, *, strategy: str, max_age_s: float, rate_hz: float) -> None:
        self._strategy = strategy
        self._max_age_ns = to_ns(max_age_s)
        self.lookahead_s = 0.0 if strategy == "hold" else min(max_age_s, _LOOKAHEAD_PERIODS / rate_hz)
        self._lookahead_ns = to_ns(self.lookahead_s)
        keep_s = max_age_s + self.lookahead_s + _KEPT_AFTER_MAX_AGE_S
        self._keep_ns = to_ns(keep_s)
        self._max_count = ceil(keep_s * rate_hz * _RATE_MARGIN) + _SPARE
        self._times: list[int] = []
        self._items: list[T] = []
        self._counts = {"pushed": 0, "late": 0, "tried": 0, OK: 0, EMPTY: 0, STALE: 0}
        self._ages: deque[int] = deque(maxlen=_KEPT_AGES)
        self._age_sum = self._age_max = 0

    def __len__(self) -> int:
        return len(self._times)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest message, None before the first."""
        return self._times[-1] if self._times else None

    @property
    def oldest_ns(self) -> int | None:
        """Messages with a stamp before this are not kept any more; None before the first."""
        return self._times[-1] - self._keep_ns if self._times else None

    def push(self, t_ns: int, item: T) -> bool:
        """Add a message; the order of arrival does not matter, of two with the same stamp the later arrival counts.

        Returns:
            False if the message is older than everything that could still be asked for, and was dropped.
        """
        times, items = self._times, self._items
        if not times or t_ns >= times[-1]:
            times.append(t_ns)
            items.append(item)
        elif t_ns < times[-1] - self._keep_ns:
            self._counts["late"] += 1
            return False
        else:
            index = bisect_right(times, t_ns)
            times.insert(index, t_ns)
            items.insert(index, item)
        self._counts["pushed"] += 1
        oldest = times[-1] - self._keep_ns
        if times[0] < oldest or len(times) > self._max_count:
            cut = max(bisect_right(times, oldest - 1), len(times) - self._max_count)
            del times[:cut]
            del items[:cut]
        return True

    def clear(self) -> None:
        """Forget all messages; the counts stay."""
        self._times.clear()
        self._items.clear()

    def find(self, t_ns: int) -> Found[T]:
        """Return the message for a tick; one exactly on the tick belongs to it."""
        found = self._find(t_ns)
        self._counts["tried"] += 1
        self._counts[found.status] += 1
        if found.status == OK:
            distance = abs(found.age_ns)
            self._ages.append(distance)
            self._age_sum += distance
            self._age_max = max(self._age_max, distance)
        return found

    def _find(self, t_ns: int) -> Found[T]:
        times, items = self._times, self._items
        index = bisect_right(times, t_ns) - 1
        before = index if index >= 0 else None
        after = index + 1 if index + 1 < len(times) and times[index + 1] <= t_ns + self._lookahead_ns else None
        if self._strategy == "interpolate" and not (before is not None and times[before] == t_ns):
            if before is None or after is None:
                return Found(EMPTY)
            age = max(t_ns - times[before], t_ns - times[after], key=abs)
            weight = (t_ns - times[before]) / (times[after] - times[before])
            status = OK if abs(age) <= self._max_age_ns else STALE
            return Found(status, items[before], items[after], weight, age)
        chosen = before
        if (
            self._strategy == "nearest"
            and after is not None
            and (before is None or times[after] - t_ns < t_ns - times[before])
        ):
            chosen = after
        if chosen is None:
            return Found(EMPTY)
        age = t_ns - times[chosen]
        return Found(OK if abs(age) <= self._max_age_ns else STALE, items[chosen], age_ns=age)

    def stats(self) -> StreamStats:
        """Return the counts so far."""
        counts, hits = self._counts, self._counts[OK]
        return StreamStats(
            pushed=counts["pushed"],
            late=counts["late"],
            tried=counts["tried"],
            hit=hits,
            empty=counts[EMPTY],
            stale=counts[STALE],
            age_mean_s=to_s(self._age_sum) / hits if hits else 0.0,
            age_p95_s=float(np.percentile(self._ages, 95)) / 1e9 if hits else 0.0,
            age_max_s=to_s(self._age_max),
        )
