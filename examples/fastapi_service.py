"""
A web service that marks conversations: one session, errors as HTTP statuses, metrics and traces.

    pip install 'chatmark[cli,otel]' fastapi uvicorn prometheus-client
    chatmark serve                        # in one terminal; it prints the environment
    uvicorn fastapi_service:app --app-dir examples
    curl -X PUT localhost:8000/users/amy/conversations/c2c_bob -H 'content-type: application/json' \
        -d '{"set_mark": ["favorite"]}'
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import REGISTRY, Counter, Gauge, generate_latest
from pydantic import BaseModel

from chatmark import (
    ChangesSettled,
    ChatmarkError,
    Conversation,
    ConversationMark,
    DeadlineExceededError,
    Event,
    InputError,
    ItemRefusedError,
    MarkChange,
    MarkSession,
    OutcomeUnknownError,
    QueueFullError,
    SessionClosedError,
)
from chatmark.otel import OpenTelemetryHook

# The status that a caller of this service gets; other errors are faults of the service.
STATUSES = {
    InputError: 422,
    ItemRefusedError: 409,
    QueueFullError: 503,
    SessionClosedError: 503,
    OutcomeUnknownError: 502,
    DeadlineExceededError: 504,
}
NOTHING = ConversationMark(0)

changes = Counter("chatmark_changes", "Settled changes", ["outcome", "code"])
pending = Gauge("chatmark_pending", "Changes without an outcome")


def count(event: Event) -> None:
    """Count what became of each change."""
    for result in event.results if isinstance(event, ChangesSettled) else ():
        outcome = "withdrawn" if result.withdrawn else "succeeded" if result.ok else "failed"
        code = "none" if result.code is None else str(result.code)
        changes.labels(outcome, code).inc()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one session for the life of the process; its end waits for accepted changes."""
    hooks = [count, OpenTelemetryHook()]
    # Callers go away after half a minute: 15 seconds in the queue at worst, and 15 of attempts.
    async with MarkSession.from_env(deadline=15.0, max_pending=3_000, hooks=hooks) as session:
        pending.set_function(lambda: session.stats.pending)
        app.state.session = session
        yield


app = FastAPI(lifespan=lifespan)


def get_session(request: Request) -> MarkSession:
    """Return the session of this process."""
    session: MarkSession = request.app.state.session
    return session


Session = Annotated[MarkSession, Depends(get_session)]


class Marks(BaseModel):
    """A change of the marks of one conversation."""

    set_mark: ConversationMark = NOTHING
    clear_mark: ConversationMark = NOTHING
    custom_mark: str | None = None


class Marked(BaseModel):
    """A conversation that has marks."""

    conversation: str
    mark: ConversationMark
    custom_mark: str


@app.put("/users/{user}/conversations/{conversation}", status_code=204)
async def put(user: str, conversation: str, marks: Marks, session: Session) -> Response:
    """Change the marks of a conversation, such as `c2c_bob` or `group_team`."""
    # A full session refuses at once: a service that queues without end answers no caller in time.
    where = Conversation.parse(conversation)
    change = MarkChange(user, where, marks.set_mark, marks.clear_mark, marks.custom_mark)
    await session.submit_nowait(change)
    return Response(status_code=204)


@app.get("/users/{user}/conversations")
async def get(user: str, session: Session) -> list[Marked]:
    """Show the marked conversations of a user."""
    return [
        Marked(conversation=str(each.conversation), mark=each.mark, custom_mark=each.custom_mark)
        async for each in session.marked(user)
    ]


@app.get("/metrics")
async def metrics() -> Response:
    """Show the counters to Prometheus."""
    return Response(generate_latest(REGISTRY), media_type="text/plain; version=0.0.4")


@app.exception_handler(ChatmarkError)
async def on_error(request: Request, error: ChatmarkError) -> JSONResponse:
    """Answer with the status for an error, and never with a secret: no text has one."""
    status = next((number for kind, number in STATUSES.items() if isinstance(error, kind)), 500)
    body = {"error": type(error).__name__, "detail": str(error)}
    headers = {"Retry-After": "1"} if status == STATUSES[QueueFullError] else None
    return JSONResponse(body, status, headers)
