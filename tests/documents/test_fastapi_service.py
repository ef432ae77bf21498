"""The service of `examples/fastapi_service.py`: its statuses, metrics, traces, and its end."""

import asyncio
import functools
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from paths import ROOT

from chatmark import MarkSession
from chatmark.emulator import EmulatorThread, Fault, Refuse, Status

httpx = pytest.importorskip("httpx")
for needed in ("fastapi", "uvicorn", "prometheus_client", "opentelemetry.sdk"):
    pytest.importorskip(needed)

PUT = "/users/amy/conversations/c2c_bob"
FAVORITE = {"set_mark": ["favorite"]}


@pytest.fixture
def service(emulator_environment: pytest.MonkeyPatch) -> Any:
    """Load the example."""
    import prometheus_client  # noqa: PLC0415 - it may be absent.

    emulator_environment.setattr(
        prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry()
    )
    counter = functools.partial(prometheus_client.Counter, registry=prometheus_client.REGISTRY)
    gauge = functools.partial(prometheus_client.Gauge, registry=prometheus_client.REGISTRY)
    emulator_environment.setattr(prometheus_client, "Counter", counter)
    emulator_environment.setattr(prometheus_client, "Gauge", gauge)
    path = ROOT / "examples" / "fastapi_service.py"
    spec = importlib.util.spec_from_file_location("fastapi_service", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    emulator_environment.setitem(sys.modules, "fastapi_service", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def client(service: Any) -> AsyncIterator[Any]:
    """Give a client of the service, which runs in this process."""
    app = service.app
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        yield client


class TestService:
    async def test_marks_and_shows(self, client: Any) -> None:
        """A mark that is put is got."""
        assert 204 == (await client.put(PUT, json=FAVORITE | {"custom_mark": "vip"})).status_code

        [shown] = (await client.get("/users/amy/conversations")).json()
        assert {"conversation": "c2c_bob", "mark": ["favorite"], "custom_mark": "vip"} == shown

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("/users/amy/conversations/bob", FAVORITE, 422),
            (PUT, {}, 422),
            (PUT, {"set_mark": ["favourite"]}, 422),
        ],
    )
    async def test_wrong(self, client: Any, path: str, body: object, status: int) -> None:
        """A wrong request is the caller's fault."""
        assert status == (await client.put(path, json=body)).status_code

    @pytest.mark.parametrize(
        ("fault", "status", "text"),
        [
            (Refuse(51008), 409, "51008"),
            (Refuse(70009), 500, "70009"),
            (Status(503), 504, "HTTP 503"),
        ],
    )
    async def test_faults(
        self,
        client: Any,
        service: Any,
        chatmark_emulator: EmulatorThread,
        fault: Fault,
        status: int,
        text: str,
    ) -> None:
        """A fault of the server has a status of its own, and no text has the key."""
        chatmark_emulator.script.always(fault)
        async with MarkSession.from_env(deadline=0.01) as session:
            service.app.state.session = session
            answer = await client.put(PUT, json=FAVORITE)

        assert (status, True) == (answer.status_code, text in answer.json()["detail"])
        assert chatmark_emulator.settings.secret_key not in answer.text

    async def test_full_and_closed(self, client: Any, service: Any) -> None:
        """A full session asks to come again; so does one that is closed."""
        async with MarkSession.from_env(max_pending=1) as session:
            service.app.state.session = session
            answers = await asyncio.gather(*[client.put(PUT, json=FAVORITE) for _ in range(5)])
        assert [204, 503] == sorted({each.status_code for each in answers})
        assert {"1"} == {a.headers["Retry-After"] for a in answers if a.status_code == 503}
        assert 503 == (await client.put(PUT, json=FAVORITE)).status_code

    async def test_metrics_and_traces(
        self, service: Any, monkeypatch: pytest.MonkeyPatch, chatmark_emulator: EmulatorThread
    ) -> None:
        """Outcomes are counted by code; each request has a span."""
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above.
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: PLC0415
            InMemorySpanExporter,
        )

        spans = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(spans))
        hook = functools.partial(service.OpenTelemetryHook, tracer_provider=provider)
        monkeypatch.setattr(service, "OpenTelemetryHook", hook)
        chatmark_emulator.script.item((1, "full"), 51008)
        app = service.app
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            await client.put(PUT, json=FAVORITE)
            await client.put("/users/amy/conversations/c2c_full", json=FAVORITE)
            text = (await client.get("/metrics")).text

        assert 'chatmark_changes_total{code="0",outcome="succeeded"} 1.0' in text
        assert 'chatmark_changes_total{code="51008",outcome="failed"} 1.0' in text
        assert "chatmark_pending 0.0" in text
        assert 2 == sum("mark_contact" in span.name for span in spans.get_finished_spans())

    async def test_end(self, emulator_environment: pytest.MonkeyPatch) -> None:
        """A service that gets SIGTERM answers the requests that it has accepted."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "fastapi_service:app", "--app-dir", "examples"),
            *("--port", str(port), "--log-level", "warning"),
            cwd=ROOT,
            env=dict(os.environ),
        )
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            while True:
                try:
                    await client.get("/metrics")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.01)
            puts = [
                asyncio.create_task(client.put(f"/users/amy/conversations/c2c_{n}", json=FAVORITE))
                for n in range(50)
            ]
            await asyncio.wait(puts, return_when=asyncio.FIRST_COMPLETED)
            process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*puts, return_exceptions=True)

        # uvicorn ends with the signal that it got.
        assert await process.wait() in (0, -signal.SIGTERM)
        # It has not accepted the others.
        answered = [each for each in answers if not isinstance(each, BaseException)]
        assert answered
        assert {204} == {each.status_code for each in answered}
