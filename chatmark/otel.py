"""
A session's events as OpenTelemetry spans and metrics. Needs the extra `otel`.

    session = MarkSession(credentials, region=region, hooks=[OpenTelemetryHook()])
"""

import time
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from chatmark.events import (
    ChangesSettled,
    Event,
    Paused,
    RequestEnded,
    RetryPlanned,
    SignatureRenewed,
)

_NANOSECONDS: Final = 1_000_000_000


class OpenTelemetryHook:
    """
    A hook that makes a span of each request, and counts the rest.

    Spans: `chatmark mark_contact` and so on, with `chatmark.items` and, where it failed,
    `error.type` (the code, HTTP status or kind of fault). Metrics: `chatmark.request.duration`
    (seconds), `chatmark.changes` by `outcome` and `code`, `chatmark.retries` by `reason`,
    `chatmark.pauses` (seconds) and `chatmark.signature.renewals`. Accounts are on no metric: there
    are too many.

    Args:
        tracer_provider: Where spans go, None for the global one.
        meter_provider: Where metrics go, None for the global one.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("chatmark", tracer_provider=tracer_provider)
        meter = metrics.get_meter("chatmark", meter_provider=meter_provider)
        self._duration = meter.create_histogram("chatmark.request.duration", unit="s")
        self._changes = meter.create_counter("chatmark.changes")
        self._retries = meter.create_counter("chatmark.retries")
        self._pauses = meter.create_counter("chatmark.pauses", unit="s")
        self._renewals = meter.create_counter("chatmark.signature.renewals")

    def __call__(self, event: Event) -> None:
        """Take one event of a session."""
        match event:
            case RequestEnded():
                self._request(event)
            case ChangesSettled():
                self._settled(event)
            case RetryPlanned():
                self._retries.add(event.items, {"reason": event.reason})
            case Paused():
                self._pauses.add(event.seconds, {"reason": event.reason})
            case SignatureRenewed():
                self._renewals.add(1, {"forced": event.forced})

    def _request(self, event: RequestEnded) -> None:
        name = str(event.command)
        ended = time.time_ns()
        labels = {"chatmark.command": name}
        if event.reason != "0":
            labels["error.type"] = event.reason
        self._duration.record(event.duration, labels)
        span = self._tracer.start_span(
            f"chatmark {name}",
            kind=SpanKind.CLIENT,
            start_time=ended - int(event.duration * _NANOSECONDS),
            attributes={
                **labels,
                "chatmark.items": event.items,
                "chatmark.from_account": event.account,
            },
        )
        if event.reason != "0":
            span.set_status(Status(StatusCode.ERROR, event.reason))
        span.end(ended)

    def _settled(self, event: ChangesSettled) -> None:
        for result in event.results:
            outcome = "withdrawn" if result.withdrawn else "succeeded" if result.ok else "failed"
            code = "none" if result.code is None else str(result.code)
            self._changes.add(1, {"outcome": outcome, "code": code})
