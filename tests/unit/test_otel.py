import asyncio
import functools
from collections import Counter
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from rig import Rig

from chatmark import Conversation, ConversationMark, MarkChange, RequestEnded
from chatmark.codes import Command
from chatmark.emulator import Delay, Refuse, Status
from chatmark.otel import OpenTelemetryHook

FAVORITE = ConversationMark.FAVORITE
BOB = Conversation.one_to_one("bob")


class Backend:
    """A place where spans and metrics can be looked at."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = tracers.get_tracer("test")
        self.reader = InMemoryMetricReader()
        self.hook = OpenTelemetryHook(tracers, MeterProvider([self.reader]), **options)

    def spans(self) -> list[Any]:
        """Return the spans of requests, in the order in which they ended."""
        return [each for each in self.exporter.get_finished_spans() if "POST" in each.name]

    def values(self) -> dict[str, Counter[tuple[tuple[str, Any], ...]]]:
        """Return each metric's value by its labels; a histogram's is its count."""
        found: dict[str, Counter[tuple[tuple[str, Any], ...]]] = {}
        data = self.reader.get_metrics_data()
        assert data is not None
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    values = found.setdefault(metric.name, Counter())
                    for point in metric.data.data_points:
                        labels = tuple((point.attributes or {}).items())
                        values[labels] += getattr(point, "count", getattr(point, "value", 0))
        return found


@pytest.fixture
def backend() -> Backend:
    """Give a backend of its own to each test."""
    return Backend()


def changes(count: int, user: str = "alice") -> list[MarkChange]:
    """Return changes of different conversations of one user."""
    peers = (Conversation.one_to_one(f"p{n}") for n in range(count))
    return [MarkChange(user, peer, FAVORITE) for peer in peers]


def labels(code: str, outcome: str = "", command: str = "mark_contact") -> Any:
    """Return the labels of a value, in their order."""
    given = {"command": command, "outcome": outcome, "code": code}
    return tuple((name, value) for name, value in given.items() if value)


class TestSpans:
    async def test_follow_the_conventions(self, rig: Rig, backend: Backend) -> None:
        """Each request is one, as of an HTTP client that sends a batch; a failed one says why."""
        rig.emulator.script.next(Status(502))
        async with rig.session(hooks=[backend.hook]) as session:
            await session.apply(changes(3))
            assert 3 == len([each async for each in session.marked("alice")])
        failed, sent, read = backend.spans()
        path = "/v4/recentcontact/mark_contact"
        expected = {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "url.template": path,
            "url.full": rig.emulator.url + path,
            "server.address": "127.0.0.1",
            "server.port": int(rig.emulator.url.rpartition(":")[2]),
            "messaging.system": "tencent_cloud_chat",
            "messaging.operation.name": "mark_contact",
            "messaging.operation.type": "send",
            "messaging.batch.message_count": 3,
        }
        failure = {"http.response.status_code": 502, "error.type": "502"}
        reading = {
            "messaging.operation.name": "get_contact_group",
            "messaging.operation.type": "receive",
        }

        assert expected == {k: v for k, v in sent.attributes.items() if k != "chatmark.request_id"}
        assert failure.items() <= failed.attributes.items()
        assert reading.items() <= read.attributes.items()
        assert f"POST {path}" == sent.name
        assert [StatusCode.ERROR, StatusCode.UNSET] == [
            each.status.status_code for each in (failed, sent)
        ]
        for each in (failed, sent, read):
            assert each.kind is SpanKind.CLIENT
            assert each.end_time > each.start_time
            # No span holds a query or a signature.
            assert "usersig" not in each.to_json()
            assert "?" not in each.to_json()

    async def test_link_to_the_callers(self, rig: Rig, backend: Backend) -> None:
        """A request of several callers links to each span once, retries too, and has no parent."""
        rig.emulator.script.next(Delay(0.1))
        rig.emulator.script.next(Status(502))
        callers = []

        async def call(session: Any, numbers: range) -> None:
            with backend.tracer.start_as_current_span("caller") as span:
                callers.append(span.get_span_context())
                for number in numbers:
                    where = Conversation.group(f"g{number}")
                    session.submit_nowait(MarkChange("alice", where, FAVORITE))

        async with rig.session(hooks=[backend.hook]) as session:
            with backend.tracer.start_as_current_span("first") as first:
                session.submit_nowait(MarkChange("alice", BOB, FAVORITE))
            while not session.stats.in_flight:
                await asyncio.sleep(0)
            # One caller has no span.
            session.submit_nowait(changes(1)[0])
            for start in range(3):
                await asyncio.create_task(call(session, range(start, 9, 3)))
            await session.flush()
        alone, *batches = backend.spans()

        assert [first.get_span_context()] == [link.context for link in alone.links]
        assert first.get_span_context().span_id == alone.parent.span_id
        assert [10, 10] == [each.attributes["messaging.batch.message_count"] for each in batches]
        for each in batches:
            assert callers == [link.context for link in each.links]
            assert each.parent is None

    async def test_every_way_has_its_caller(self, rig: Rig, backend: Backend) -> None:
        """Marks of every kind and readings link to the span of their own caller."""

        async def stream() -> list[Any]:
            return [each async for each in session.stream(changes(3))]

        async def marked() -> list[Any]:
            return [each async for each in session.marked("alice")]

        async with rig.session(hooks=[backend.hook]) as session:
            # The session's tasks begin in the span of another caller.
            with backend.tracer.start_as_current_span("other"):
                await session.mark("alice", BOB, set_mark=FAVORITE)
            for call in (
                functools.partial(session.mark, "bob", BOB, set_mark=FAVORITE),
                functools.partial(session.mark_many, "bob", [BOB], set_mark=FAVORITE),
                functools.partial(session.apply, changes(3)),
                stream,
                marked,
                functools.partial(session.search, "alice", [BOB]),
            ):
                with backend.tracer.start_as_current_span("caller") as span:
                    await call()
                own = backend.spans()[-1]
                assert [span.get_span_context()] == [link.context for link in own.links]
                assert span.get_span_context().span_id == own.parent.span_id
            # And outside of any span.
            await session.mark("carol", BOB, set_mark=FAVORITE)
        outside = backend.spans()[-1]

        assert not outside.links
        assert outside.parent is None

    @pytest.mark.parametrize("user_ids", [False, True])
    async def test_user_ids(self, rig: Rig, *, user_ids: bool) -> None:
        """A span names the user only when asked, and no label ever does."""
        backend = Backend(user_ids=user_ids)
        rig.emulator.script.next(Status(502))
        async with rig.session(hooks=[backend.hook]) as session:
            await session.apply(changes(3, "zoe-1234"))
        named = {each.attributes.get("user.id") for each in backend.spans()}

        assert {"zoe-1234" if user_ids else None} == named
        assert user_ids or not any("zoe-1234" in each.to_json() for each in backend.spans())
        assert "zoe-1234" not in str(backend.values())

    async def test_of_a_transport_of_the_callers(self, backend: Backend) -> None:
        """A server that is not known is left out, as is what has no value."""
        ended = RequestEnded(Command.MARK_CONTACT, "alice", 1, "timeout", 0.5, server="MyTransport")
        backend.hook(ended)
        (span,) = backend.spans()

        assert not {"server.address", "server.port", "url.full", "http.response.status_code"} & {
            *span.attributes
        }
        assert "timeout" == span.attributes["error.type"]

    async def test_a_caller_that_raises(self, rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
        """A hook whose `caller` raises is logged and disturbs no caller."""

        class Hook:
            def caller(self) -> None:
                raise RuntimeError("secret")

            def __call__(self, event: Any) -> None:
                pass

        async with rig.session(hooks=[Hook()]) as session:
            assert (await session.mark("alice", BOB, set_mark=FAVORITE)).ok

        assert "a hook raised RuntimeError" in caplog.text
        assert "secret" not in caplog.text


class TestMetrics:
    async def test_labels_are_bounded(self, rig: Rig, backend: Backend) -> None:
        """Each value has its command, outcome and code, and no label is None."""
        rig.emulator.script.next(Refuse(70001))
        rig.emulator.script.item((1, "p1"), 51008)
        rig.emulator.script.item((1, "p2"), 50004)
        async with rig.session(hooks=[backend.hook]) as session:
            (await session.submit(changes(9)[8])).cancel()
            await session.apply(changes(5))
            rig.emulator.script.next(Refuse(60007))
            await session.apply(changes(1))
        values = backend.values()
        expected = {
            "chatmark.changes": {
                labels("0", "succeeded"): 5,
                labels("51008", "failed"): 1,
                labels("WithdrawnError", "withdrawn"): 1,
            },
            "chatmark.retries": {labels("70001"): 5, labels("50004"): 1, labels("60007"): 1},
            "chatmark.request.duration": {
                labels("0", "succeeded"): 3,
                labels("70001", "failed"): 1,
                labels("60007", "failed"): 1,
            },
            "chatmark.signature.renewals": {(("forced", False),): 1, (("forced", True),): 1},
        }

        assert [labels("60007")] == list(values.pop("chatmark.pauses"))
        assert expected == values
        assert "None" not in str(values)

    @pytest.mark.parametrize("reason", ["987654321", "12345", "51008", "503", "timeout"])
    async def test_unknown_codes_are_one(self, backend: Backend, reason: str) -> None:
        """A server that invents codes makes one label of all."""
        backend.hook(RequestEnded(Command.MARK_CONTACT, "alice", 1, reason, 0.5))

        code = reason if reason in ("51008", "503", "timeout") else "other"
        assert {labels(code, "failed"): 1} == backend.values()["chatmark.request.duration"]

    async def test_a_failure_without_a_code(self, rig: Rig, backend: Backend) -> None:
        """Its code is the kind of its error."""
        rig.emulator.script.always(Status(502))
        async with rig.session(hooks=[backend.hook], deadline=0.01) as session:
            await session.apply(changes(1))
        expected = {labels("DeadlineExceededError", "failed"): 1}

        assert expected == backend.values()["chatmark.changes"]


@pytest.mark.parametrize("command", Command)
def test_commands_print_as_on_the_wire(command: Command) -> None:
    """`str` and `format` give the last word of the path, for labels and messages."""
    word = command.value.rpartition("/")[2]

    assert (word, f"{word:>30}", word) == (str(command), f"{command:>30}", "%s" % command)  # noqa: UP031
