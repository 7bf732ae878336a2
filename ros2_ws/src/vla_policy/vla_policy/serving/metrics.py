# SPDX-License-Identifier: Apache-2.0

"""What a server counts, in Prometheus' form, in a registry of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
STAGES = ("decode", "queued", "model", "infer", "served")


class Metrics:
    """Counters, gauges and histograms of one server.

    Attributes:
        sessions: Open sessions, by protocol.
        opened: Sessions opened since the start, by protocol.
        inferences: Answers given, by protocol.
        errors: Errors, by kind: observation, wire, inference, checkpoint, token, superseded.
        seconds: How long each stage of an answer took [s].
        loads: Checkpoints loaded since the start.
        loaded: 1 for the checkpoint that is loaded.
    """

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self.sessions = Gauge("vla_policy_sessions", "Open sessions.", ["protocol"], registry=own)
        self.opened = Counter(
            "vla_policy_sessions_opened", "Sessions opened since the start.", ["protocol"], registry=own
        )
        self.inferences = Counter("vla_policy_inferences", "Answers given.", ["protocol"], registry=own)
        self.errors = Counter("vla_policy_errors", "Errors, by kind.", ["kind"], registry=own)
        self.seconds = Histogram(
            "vla_policy_stage_seconds",
            "Time of each stage of an answer: decode, queued (waiting for the model), model, infer (queued, model and "
            "encoding), served (all of it).",
            ["stage"],
            buckets=_SECONDS,
            registry=own,
        )
        self.loads = Counter("vla_policy_loads", "Checkpoints loaded since the start.", registry=own)
        self.loaded = Gauge(
            "vla_policy_loaded_checkpoint", "1 for the loaded checkpoint.", ["checkpoint"], registry=own
        )

    def now_loaded(self, checkpoint: str | None) -> None:
        """Note which checkpoint is loaded."""
        self.loaded.clear()
        if checkpoint is not None:
            self.loaded.labels(checkpoint).set(1)
            self.loads.inc()

    def observe(self, timing_ms: dict[str, float]) -> None:
        """Note the times of one answer; keys are `<stage>_ms`."""
        for stage in STAGES:
            if f"{stage}_ms" in timing_ms:
                self.seconds.labels(stage).observe(timing_ms[f"{stage}_ms"] / 1e3)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
