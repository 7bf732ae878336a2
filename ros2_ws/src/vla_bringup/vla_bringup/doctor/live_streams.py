# SPDX-License-Identifier: Apache-2.0

"""Judging the streams of a profile by what was received: presence, type, quality of service, rate, stamps, losses."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise

from vla_core.codecs import reader
from vla_core.errors import listing, nearest_name
from vla_core.profile import Profile
from vla_core.specs import CameraSpec, RecordSpec

from vla_bringup.doctor.drivers import start_it
from vla_bringup.doctor.findings import Finding, green, red, yellow
from vla_bringup.doctor.samples import BEST_EFFORT, TRANSIENT_LOCAL, VOLATILE, Endpoint, Graph, Sample, Stream, Tap

_NS = 1e9
_RED_RATE, _YELLOW_RATE, _FAST_RATE = 0.8, 0.95, 1.3  # of what the profile says
_GAP = 1.5  # periods between two stamps after which a message is missing
_RED_LOSS = 0.02
_FUTURE_S = 0.005
_OFFSET_S = 0.010
_FEW = 3
_BACKWARDS = 2  # a handover from one sender to the next is one step back
TRANSPORT_REMEDY = (
    "see the lines about DDS in `ros2 run vla_bringup doctor`: Fast DDS needs a profile with a large shared-memory "
    "segment (config/fastdds_shm.xml), and between hosts net.core.rmem_max of 8 MB or more"
)


def judge_streams(profile: Profile, graph: Graph) -> list[Finding]:
    """Return what is found about all streams; cameras, states, then commands."""
    found: list[Finding] = []
    for camera in profile.cameras:
        where = f"camera '{camera.name}' {graph.taps[camera.topic].topic}"
        found += _stream(graph, camera, where, start_it(profile, camera.topic))
    for state in profile.state:
        found += _stream(graph, state, f"state {graph.taps[state.topic].topic}", start_it(profile, state.topic))
    for action in profile.action:
        found += _command(graph, action.record, f"command '{action.name}' {graph.taps[action.record.topic].topic}")
    for topic in profile.record_topics:
        found += _extra(graph.taps[topic.topic])
    for camera in profile.cameras:
        if camera.info_topic:
            found += _extra(graph.taps[camera.info_topic])
    return found


def judge_clock(graph: Graph) -> list[Finding]:
    """Return what is found about simulated time, and about the clocks of other hosts."""
    found = []
    if graph.sim_time:
        first, last = graph.clock_ns
        factor = (last - first) / _NS / graph.seconds if graph.seconds else 0.0
        if last <= first:
            found.append(
                red(
                    "/clock",
                    "simulated time stands still",
                    'in lockstep the cell waits for its participants: start them, or start it with participants:="" '
                    "or clock:=paced",
                )
            )
        else:
            found.append(green("/clock", f"simulated time runs at {factor:.2f} of real time"))
    offsets: dict[str, float] = {}
    for tap in graph.taps.values():
        delays = [(s.received_ns - s.sent_ns) / _NS for s in tap.samples if s.sent_ns]
        if len(delays) >= _FEW and len(tap.publishers) == 1:
            node = tap.publishers[0].node
            offsets[node] = min(offsets.get(node, delays[0]), *delays)
    wrong = {node: offset for node, offset in offsets.items() if not -_FUTURE_S < offset < _OFFSET_S}
    for node, offset in wrong.items():
        way = "ahead of" if offset < 0 else "behind"
        found.append(
            red(
                node,
                f"its host's clock is {abs(offset) * 1e3:.1f} ms {way} this one's (or the network takes as long)",
                "synchronise the hosts with chrony: `chronyc tracking` on both shows offsets below 1 ms",
            )
        )
    if offsets and not wrong:
        worst = max(offsets.values(), key=abs)
        found.append(green("clocks", f"hosts agree within {abs(worst) * 1e3:.1f} ms ({len(offsets)} senders)"))
    return found


def _stream(graph: Graph, spec: Stream, where: str, start: str) -> list[Finding]:
    tap = graph.taps[spec.topic]
    wrong = _absent(graph, tap, where, start) or _mute(tap, where, f"`ros2 topic hz` shows whether it sends; {start}")
    if wrong:
        return wrong
    samples, missing = carrying(tap, spec)
    if missing:
        return [red(where, missing, "correct the names in the profile, or start the driver that publishes them")]
    found = [*_qos(tap, where), *_rate(graph, spec, samples, where), *_stamps(graph, spec, samples, where)]
    found += [*_losses(tap, where), *_senders(tap, spec, samples, where)]
    problems = [finding for finding in found if finding.level != "green"]
    return problems or [_good(graph, spec, samples, tap, where)]


def _command(graph: Graph, spec: RecordSpec, where: str) -> list[Finding]:
    tap = graph.taps[spec.topic]
    if not tap.publishers and not tap.samples:
        return [green(where, "nobody drives now; a command topic is published only while somebody does")]
    wrong = _absent(graph, tap, where, "start who drives")
    if wrong:
        return wrong
    if not tap.samples:
        return [green(where, f"offered by {_names(tap.publishers)}; nobody drives now")]
    samples, missing = carrying(tap, spec)
    if missing:
        return [red(where, missing, "correct the names in the profile, or those of the node that drives")]
    found = [*_qos(tap, where), *_stamps(graph, spec, samples, where)]
    back = _steps_back(tap.samples)
    if len(tap.publishers) > 1 and back > _BACKWARDS:
        found.append(
            red(
                where,
                f"{len(tap.publishers)} nodes send at the same time: {_names(tap.publishers)}",
                "let one drive: end the others, or take the hand off the joystick while a policy runs",
            )
        )
    problems = [finding for finding in found if finding.level != "green"]
    return problems or [green(where, f"{len(tap.samples)} messages from {_names(tap.publishers)}")]


def _extra(tap: Tap) -> list[Finding]:
    others = [kind for kind in tap.types if kind != tap.type]
    if others and tap.publishers:
        return [_wrong_type(tap, tap.topic, others)]
    if not tap.publishers:
        return [
            yellow(
                tap.topic,
                "nobody publishes it",
                "start its driver, or take it out of the profile; frames do not need it, recordings will lack it",
            )
        ]
    return [green(tap.topic, f"published by {_names(tap.publishers)}")]


def _absent(graph: Graph, tap: Tap, where: str, start: str) -> list[Finding]:
    """Why nothing can be received, if so."""
    if tap.error:
        package = tap.type.partition("/")[0].replace("_", "-")
        return [red(where, tap.error, f"install it: sudo apt-get install ros-jazzy-{package}")]
    if not tap.publishers:
        known = [other.topic for other in graph.taps.values() if other.publishers]
        near = nearest_name(tap.topic, known)
        remedy = f"{start}; compare with `ros2 topic list`, and ROS_DOMAIN_ID, namespace and discovery range{near}"
        return [red(where, f"nobody publishes it ({tap.type})", remedy)]
    others = [kind for kind in tap.types if kind != tap.type]
    if others and not tap.samples:
        return [_wrong_type(tap, where, others)]
    return []


def _wrong_type(tap: Tap, where: str, others: Sequence[str]) -> Finding:
    return red(
        where,
        f"published as {listing(others)} by {_names(tap.publishers)}, but the profile says {tap.type}",
        "correct `type` in the profile, or the driver",
    )


def _mute(tap: Tap, where: str, remedy: str) -> list[Finding]:
    if tap.samples:
        return []
    return [red(where, f"{_names(tap.publishers)} offers it, but nothing was received", remedy)]


def carrying(tap: Tap, spec: Stream) -> tuple[list[Sample], str]:
    """Return the messages that carry the fields of a stream, and what is wrong if none does."""
    if isinstance(spec, CameraSpec):
        return tap.samples, ""
    wanted = reader(spec.type, spec.fields, spec.point)
    carried = [sample for sample in tap.samples if wanted.carries(sample.msg) == "all"]
    if carried:
        return carried, ""
    names = dict.fromkeys(name for sample in tap.samples for name in joint_names(sample))
    absent = [field for field in spec.fields if field.partition(".")[2] not in names]
    extra = [name for name in names if name not in {field.partition(".")[2] for field in spec.fields}]
    if not absent:
        return [], f"no single message carries all of {listing(spec.fields)}; they come in several messages"
    near = nearest_name(absent[0].partition(".")[2], extra)
    return [], f"no message carries {listing(absent)}; the messages name {listing(names)}{near}"


def joint_names(sample: Sample) -> tuple[str, ...]:
    """Return the joints that a message names; empty for messages without names."""
    return tuple(getattr(sample.msg, "name", ()) or getattr(sample.msg, "joint_names", ()))


def _qos(tap: Tap, where: str) -> list[Finding]:
    """Subscriptions that can never receive from a publisher (DDS request versus offered, RELIABILITY and DURABILITY)."""
    found = []
    for publisher in tap.publishers:
        for subscription in tap.subscriptions:
            policies = []
            if publisher.reliability == BEST_EFFORT and subscription.reliability != BEST_EFFORT:
                policies.append("reliability: best effort is offered, reliable is asked for")
            if publisher.durability == VOLATILE and subscription.durability == TRANSIENT_LOCAL:
                policies.append("durability: volatile is offered, transient local is asked for")
            if policies:
                found.append(
                    red(
                        where,
                        f"{subscription.node} gets nothing from {publisher.node} ({'; '.join(policies)})",
                        "change the QoS of either node (parameters qos_overrides…), e.g. reliable on the publisher",
                    )
                )
    return found


def rate_hz(samples: Sequence[Sample]) -> float | None:
    """Return the rate over all messages [Hz]: by their stamps, or by the node clock where these say nothing."""
    times = [s.stamp_ns or s.clock_ns for s in samples]
    span = max(times, default=0) - min(times, default=0)
    return (len(samples) - 1) * _NS / span if span > 0 else None


def _rate(graph: Graph, spec: Stream, samples: Sequence[Sample], where: str) -> list[Finding]:
    rate = rate_hz(samples)
    if rate is None or len(samples) < _FEW:
        if graph.sim_time and graph.clock_ns[1] <= graph.clock_ns[0]:
            return []  # the line about /clock says it
        remedy = "is the driver overloaded, or its cable or bus? listen longer with --seconds 10"
        return [red(where, f"only {len(samples)} messages in {graph.seconds:.1f} s", remedy)]
    share = rate / spec.rate_hz
    text = f"{rate:.1f} Hz instead of {spec.rate_hz:g} Hz"
    remedy = (
        "correct the driver's rate or `rate_hz` of the profile; look for a busy machine, a USB 2 port, long exposure"
    )
    if share < _RED_RATE:
        return [red(where, text, remedy)]
    if share < _YELLOW_RATE:
        return [yellow(where, text, remedy)]
    if share > _FAST_RATE and isinstance(spec, CameraSpec):  # more joint states do no harm
        return [yellow(where, text, "correct `rate_hz` of the profile, or look for a second publisher")]
    return []


def _stamps(graph: Graph, spec: Stream, samples: Sequence[Sample], where: str) -> list[Finding]:
    stamps = [s.stamp_ns for s in samples if s.stamp_ns is not None]
    if not stamps:
        return []
    if not all(stamps):
        remedy = "let the driver set it, or write `stamp: receive` in the profile"
        return [] if spec.stamp == "receive" else [red(where, "messages without a stamp", remedy)]
    ages = [((s.clock_ns if graph.sim_time else s.received_ns) - (s.stamp_ns or 0)) / _NS for s in samples]
    return [*_order(stamps, where), *_ages(graph, spec, ages, where)]


def _order(stamps: Sequence[int], where: str) -> list[Finding]:
    steps = [after - before for before, after in pairwise(stamps)]
    if any(step < 0 for step in steps):
        remedy = "two publishers, or a clock that is set: let chrony slew it, and have one publisher per topic"
        return [red(where, f"stamps go back in time {sum(step < 0 for step in steps)} times", remedy)]
    same = sum(step == 0 for step in steps)
    if same:
        return [yellow(where, f"{same} stamps come twice", "the driver repeats old data, or two publish the same")]
    return []


def _ages(graph: Graph, spec: Stream, ages: Sequence[float], where: str) -> list[Finding]:
    if spec.stamp == "receive":
        return []
    middle = statistics.median(ages)
    sync = "synchronise the clocks (chrony), and let the driver stamp with the system's time"
    if graph.sim_time:
        sync = "start the driver or node with use_sim_time:=true"
    if min(ages) < -_FUTURE_S:
        return [red(where, f"stamps lie up to {-min(ages) * 1e3:.0f} ms in the future", sync)]
    if middle > spec.max_age_s:
        text = f"stamps are {_seconds(middle)} old on arrival, max_age_s is {spec.max_age_s:g}, so frames are dropped"
        return [red(where, text, f"{sync}; or raise max_age_s if the sensor is that slow")]
    if max(ages) > spec.max_age_s:
        share = sum(age > spec.max_age_s for age in ages) / len(ages)
        text = f"{share:.1%} of the messages are older than max_age_s {spec.max_age_s:g} on arrival ({_seconds(max(ages))})"
        return [yellow(where, text, "look for a busy machine or network; frames at these moments are dropped")]
    return []


def _seconds(value: float) -> str:
    return f"{value * 1e3:.0f} ms" if value < 10.0 else f"{value:.0f} s"


def lost(samples: Sequence[Sample]) -> int:
    """Return how many messages of a single publisher are missing, by its sequence numbers."""
    numbers = [s.sequence for s in samples if s.sequence is not None]
    if len(numbers) < _FEW:
        return 0
    return max(0, max(numbers) - min(numbers) + 1 - len(set(numbers)))


def _steps_back(samples: Sequence[Sample]) -> int:
    numbers = [s.sequence for s in samples if s.sequence is not None]
    return sum(after <= before for before, after in pairwise(numbers))


def _losses(tap: Tap, where: str) -> list[Finding]:
    if len(tap.publishers) != 1:
        return []
    count = lost(tap.samples)
    if not count:
        return []
    share = count / (count + len(tap.samples))
    make: Callable[[str, str, str], Finding] = red if share > _RED_LOSS else yellow
    return [
        make(
            where,
            f"{count} of {count + len(tap.samples)} messages were lost on the way ({share:.1%})",
            TRANSPORT_REMEDY,
        )
    ]


def _senders(tap: Tap, spec: Stream, samples: Sequence[Sample], where: str) -> list[Finding]:
    """More publishers than there are kinds of messages on the topic."""
    count = len(tap.publishers)
    kinds = 1 if isinstance(spec, CameraSpec) else len({tuple(joint_names(sample)) for sample in tap.samples})
    if count <= kinds:
        return []
    if kinds == 1 or _steps_back(samples) > _BACKWARDS:
        remedy = "end one of them (a driver that was started twice, a bag that is being played?)"
        return [red(where, f"{count} publishers of the same data: {_names(tap.publishers)}", remedy)]
    return []


def _names(publishers: Sequence[Endpoint]) -> str:
    return listing(dict.fromkeys(endpoint.node for endpoint in publishers))


def _good(graph: Graph, spec: Stream, samples: Sequence[Sample], tap: Tap, where: str) -> Finding:
    rate = rate_hz(samples)
    parts = [f"{rate:.1f} Hz" if rate is not None else "the clock stands", f"{len(samples)} messages"]
    ages = [((s.clock_ns if graph.sim_time else s.received_ns) - s.stamp_ns) / _NS for s in samples if s.stamp_ns]
    if ages:
        parts.append(f"age {statistics.median(ages) * 1e3:.0f} ms, at most {max(ages) * 1e3:.0f} ms")
    parts.append(f"by {_names(tap.publishers)}")
    return green(where, ", ".join(parts))
