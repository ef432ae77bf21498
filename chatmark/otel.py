"""
A session's events as OpenTelemetry spans and metrics. Needs the extra `otel`.

    session = MarkSession(credentials, region=region, hooks=[OpenTelemetryHook()])
"""

import time
import urllib.parse
from collections import Counter
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from chatmark.codes import CODES, MARKING, Command
from chatmark.events import (
    ChangesSettled,
    Event,
    Paused,
    RequestEnded,
    RetryPlanned,
    SignatureRenewed,
)

_NANOSECONDS: Final = 1_000_000_000
# As the conventions have them for requests of HTTP, in seconds.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_MOST_STATUS: Final = 599


class OpenTelemetryHook:
    """
    A hook that makes a span of each request, and counts the rest.

    A span follows the conventions of HTTP clients and of messaging. It links to the spans in which
    its changes were submitted, and is the child of that span if there is only one. The metrics are
    `chatmark.request.duration`, `chatmark.changes`, `chatmark.retries`, `chatmark.pauses` and
    `chatmark.signature.renewals`. Their labels are bounded: `command`, `outcome` and `code`.

    Args:
        tracer_provider: Where spans go, None for the global one.
        meter_provider: Where metrics go, None for the global one.
        user_ids: Whether spans name the user of a request, as `user.id`.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        user_ids: bool = False,
    ) -> None:
        self._user_ids = user_ids
        self._tracer = trace.get_tracer("chatmark", tracer_provider=tracer_provider)
        meter = metrics.get_meter("chatmark", meter_provider=meter_provider)
        told = "chatmark.request.duration", "s", "Requests, from their sending to their answer"
        self._duration = meter.create_histogram(*told, explicit_bucket_boundaries_advisory=_BUCKETS)
        self._changes = meter.create_counter("chatmark.changes", "{change}", "Settled changes")
        self._retries = meter.create_counter("chatmark.retries", "{change}", "Changes sent again")
        self._pauses = meter.create_counter("chatmark.pauses", "s", "Pauses that the server wants")
        name = "chatmark.signature.renewals"
        self._renewals = meter.create_counter(name, "{signature}", "UserSigs made")

    def caller(self) -> SpanContext | None:
        """Return the span of the running task, to which spans of its requests link."""
        context = trace.get_current_span().get_span_context()
        return context if context.is_valid else None

    def __call__(self, event: Event) -> None:
        """Take one event of a session."""
        match event:
            case RequestEnded():
                self._request(event)
            case ChangesSettled():
                self._settled(event)
            case RetryPlanned():
                self._retries.add(event.items, _labels(Command.MARK_CONTACT, event.reason))
            case Paused():
                self._pauses.add(event.seconds, _labels(event.command, event.reason))
            case SignatureRenewed():
                self._renewals.add(1, {"forced": event.forced})

    def _request(self, event: RequestEnded) -> None:
        ended = time.time_ns()
        is_ok = event.reason == "0"
        outcome = "succeeded" if is_ok else "failed"
        labels = _labels(event.command, event.reason, outcome=outcome)
        self._duration.record(event.duration, labels)
        parent = Context()
        if len(event.callers) == 1:
            parent = trace.set_span_in_context(trace.NonRecordingSpan(event.callers[0]), parent)
        span = self._tracer.start_span(
            f"POST /{event.command.value}",
            # A request runs in a task of the session, whose own context is another caller's.
            parent,
            SpanKind.CLIENT,
            self._attributes(event, is_ok=is_ok),
            [Link(caller) for caller in event.callers],
            start_time=ended - int(event.duration * _NANOSECONDS),
        )
        if not is_ok:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def _attributes(self, event: RequestEnded, *, is_ok: bool) -> dict[str, Any]:
        server = urllib.parse.urlsplit(event.server)
        path, command = f"/{event.command.value}", str(event.command)
        found: dict[str, Any] = {
            "http.request.method": "POST",
            "http.response.status_code": event.status,
            "url.template": path,
            # Without the query, which holds the signature.
            "url.full": f"{event.server}{path}" if server.hostname else None,
            "server.address": server.hostname,
            "server.port": server.port or (443 if server.scheme == "https" else None),
            "messaging.system": "tencent_cloud_chat",
            "messaging.operation.name": command,
            "messaging.operation.type": "send" if command == MARKING else "receive",
            "messaging.batch.message_count": event.items,
            "error.type": None if is_ok else event.reason,
            "user.id": event.account if self._user_ids else None,
            "chatmark.request_id": event.request_id or None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _settled(self, event: ChangesSettled) -> None:
        counts = Counter(
            (
                "withdrawn" if result.withdrawn else "succeeded" if result.ok else "failed",
                type(result.error).__name__ if result.code is None else str(result.code),
            )
            for result in event.results
        )
        for (outcome, reason), count in counts.items():
            self._changes.add(count, _labels(Command.MARK_CONTACT, reason, outcome=outcome))


def _labels(command: Command, reason: str, **outcome: str) -> dict[str, str]:
    """Return labels; the code is one that is known, an HTTP status, or the kind of a fault."""
    if reason.isdecimal() and int(reason) > _MOST_STATUS and int(reason) not in CODES:
        reason = "other"
    return {"command": str(command), **outcome, "code": reason}
