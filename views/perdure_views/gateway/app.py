"""The gateway as an ASGI application: middleware, authentication, endpoints and pages."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from perdure_schemas.version import VERSION
from perdure_views.gateway import (
    activities,
    health,
    live,
    messages,
    queues,
    schedules,
    workflow_commands,
    workflows,
)
from perdure_views.gateway.audit import note
from perdure_views.gateway.backend import BackendError, GatewayBackend
from perdure_views.gateway.bodies import SignIn
from perdure_views.gateway.endpoints import Call, Endpoint, Said
from perdure_views.gateway.gateway_metrics import GatewayMeter
from perdure_views.gateway.middleware import RequestChecks
from perdure_views.gateway.openapi import CSRF_HEADER, openapi
from perdure_views.gateway.pages import page_routes
from perdure_views.gateway.principals import COOKIE, SESSION_S, Principal, SignInError
from perdure_views.gateway.problems import ProblemError, problem_of
from perdure_views.gateway.settings import (
    BODY_BYTES_MAX,
    BODY_S,
    STREAMS_EACH,
    STREAMS_MAX,
    Settings,
)
from perdure_views.gateway.shapes import Me, Problem, Shape
from perdure_views.gateway.shares import Shares
from perdure_views.gateway.sign_in_limits import SignInLimiter
from perdure_views.gateway.streams import EventStream

_LOG = logging.getLogger("perdure.gateway")
ENDPOINTS: Final = (
    *workflows.ENDPOINTS,
    *workflow_commands.ENDPOINTS,
    *messages.ENDPOINTS,
    *activities.ENDPOINTS,
    *queues.ENDPOINTS,
    *schedules.ENDPOINTS,
    *health.ENDPOINTS,
    *live.ENDPOINTS,
)
GUESS_S: Final = 1.0
"""So long a wrong token waits for its answer, once too many of an address were wrong."""
_Handler = Callable[[Request], Awaitable[Response]]


class Gateway:
    """What the endpoints of one gateway share."""

    def __init__(self, backend: GatewayBackend, settings: Settings) -> None:
        self._backend = backend
        self._settings = settings
        self._meter = GatewayMeter(backend.namespace)
        self._limiter = SignInLimiter()
        self._live = Shares("live views")
        self._shared: dict[Any, Any] = {}

    def application(self, more_routes: Sequence[BaseRoute] = ()) -> ASGIApp:
        """The whole application, behind its middleware."""
        described = msgspec.json.encode(openapi(ENDPOINTS))
        routes: list[BaseRoute] = [
            Route(row.path, self._serving(row), methods=[row.method], name=row.name)
            for row in ENDPOINTS
        ]
        routes += [
            Route("/api/v1/me", self._measured("me", self._me), methods=["GET"]),
            Route("/api/v1/session", self._measured("signIn", self._sign_in), methods=["POST"]),
            Route("/api/v1/session/end", _answering(self._sign_out), methods=["POST"]),
            Route("/api/v1/openapi.json", _constant(described), methods=["GET"]),
            Route("/healthz", lambda _: PlainTextResponse("ok\n"), methods=["GET"]),
            *more_routes,
            *page_routes(),
        ]
        handlers = {404: _not_found, 405: _wrong_method}
        return RequestChecks(Starlette(routes=routes, exception_handlers=handlers), self._settings)

    # Endpoints.

    def _serving(self, row: Endpoint) -> _Handler:
        async def serve(request: Request) -> Response:
            principal = await self.principal_of(request)
            who = {"name": principal.name, "role": principal.role, "peer": _peer(request)}
            if not principal.may(row.role):
                note("denied", **who, what=row.name, status=403, why=f"needs {row.role}")
                raise ProblemError(
                    "permission_denied",
                    f"{principal.name} has the role {principal.role!r}; this needs {row.role!r}",
                )
            if row.method != "GET":
                self._check_csrf(request, principal)
            given = request.query_params
            call = Call(
                backend=self._backend,
                settings=self._settings,
                principal=principal,
                shared=self._shared,
                params={param.name: param.read(given.get(param.name)) for param in row.params},
                body=None if row.body is None else await _body(request, row.body),
                resume=request.headers.get("last-event-id", ""),
            )
            if row.method != "GET" or self._settings.audits_reads:
                kind = "read" if row.method == "GET" else "change"
                note(kind, **who, what=row.name, about=_about(call))
            if row.streams is not None:
                return await self._stream(row, call)
            assert row.answers is not None, f"{row.name} has no handler"
            return _json(await row.answers(call), row.status)

        return self._measured(row.name, serve)

    def _measured(self, name: str, handler: _Handler) -> _Handler:
        """A handler whose errors are answers, and whose answers are measured."""
        answering = _answering(handler)

        async def answer(request: Request) -> Response:
            began_s = time.monotonic()
            response = await answering(request)
            self._meter.answered(name, response.status_code, time.monotonic() - began_s)
            return response

        return answer

    async def _stream(self, row: Endpoint, call: Call) -> Response:
        """Begin a stream; what is wrong with its first event is an answer like any other."""
        assert row.streams is not None
        name = call.principal.name
        each = STREAMS_MAX if self._settings.register.is_open else STREAMS_EACH
        self._live.take(name, most=STREAMS_MAX, each=each)
        self._meter.streams(1)
        events = row.streams(call)
        try:
            first: Said | None = await anext(events)
        except BaseException:
            self._end_stream(name)
            raise
        events = self._while_held(events, call.principal)
        return _Streaming(EventStream(first, events), lambda: self._end_stream(name))

    async def _while_held(
        self, events: AsyncIterator[Said | None], principal: Principal
    ) -> AsyncIterator[Said | None]:
        """A stream, as long as its reader is who they were; it has something every few seconds."""
        async for said in events:
            if not self._settings.register.holds(principal):
                raise ProblemError("unauthenticated", "signed out, or the token is over")
            yield said

    def _end_stream(self, name: str) -> None:
        self._live.give_back(name)
        self._meter.streams(-1)

    # Who asks.

    async def principal_of(self, request: HTTPConnection) -> Principal:
        """Who asks. Raises ProblemError when that is not proven and must be."""
        register = self._settings.register
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            if scheme:
                if scheme.lower() != "bearer":
                    raise SignInError("only bearer tokens are known here")
                return await self._by_token(token.strip(), _peer(request))
            if register.is_open:
                return register.nobody()
            if cookie := request.cookies.get(COOKIE):
                return register.by_session(cookie)
            return register.nobody()
        except SignInError as error:
            raise ProblemError("unauthenticated", str(error)) from error

    async def _by_token(self, token: str, peer: str) -> Principal:
        """Who a token is; whoever guesses at them is slowed down, and who has one is not.

        Raises SignInError, ProblemError after too many.
        """
        try:
            return await self._settings.register.by_token(token)
        except SignInError as error:
            try:
                self._limiter.check(peer)
            except ProblemError:
                self._meter.signed_in("limited")
                await asyncio.sleep(GUESS_S)
                raise
            self._limiter.failed(peer)
            self._meter.signed_in("refused")
            note("denied", peer=peer, what="token", status=401, why=str(error))
            _LOG.warning("a request from %s with a token that nobody has: %s", peer, error)
            raise

    def _check_csrf(self, request: Request, principal: Principal) -> None:
        if principal.by_header:
            return
        given = request.headers.get(CSRF_HEADER, "")
        if not self._settings.register.is_csrf(_session(request), given):
            raise ProblemError(
                "foreign", f"the header {CSRF_HEADER} lacks the token of GET /api/v1/me"
            )

    async def _me(self, request: Request) -> Response:
        register = self._settings.register
        principal = await self.principal_of(request)
        return _json(
            Me(
                name=principal.name,
                role=principal.role,
                signs_in=not register.is_open,
                csrf=register.csrf_of(_session(request)),
                namespace=self._backend.namespace,
                address=self._backend.address,
                release=VERSION,
                trace_url=self._settings.jaeger_url.rstrip("/"),
            )
        )

    async def _sign_in(self, request: Request) -> Response:
        body: SignIn = await _body(request, SignIn)
        register, peer = self._settings.register, _peer(request)
        try:
            self._limiter.check(peer)
        except ProblemError:
            self._meter.signed_in("limited")
            raise
        try:
            principal = await register.by_token(body.token.strip())
        except SignInError as error:
            self._limiter.failed(peer)
            self._meter.signed_in("refused")
            note("denied", peer=peer, what="sign_in", status=401, why=str(error))
            _LOG.warning("a sign-in from %s failed: %s", peer, error)
            raise ProblemError("unauthenticated", str(error)) from error
        self._meter.signed_in("ok")
        note("sign_in", name=principal.name, role=principal.role, peer=peer)
        response = Response(status_code=204)
        response.set_cookie(
            COOKIE,
            register.session_of(principal),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=self._settings.secure_cookie,
        )
        return response

    async def _sign_out(self, request: Request) -> Response:
        left = self._settings.register.end_session(_session(request))
        if left is not None:
            note("sign_out", name=left.name, role=left.role, peer=_peer(request))
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response


class _Streaming(Response):
    """A stream as Starlette sends it; whoever counts is told when it has ended."""

    def __init__(self, stream: EventStream, on_end: Callable[[], None]) -> None:
        super().__init__()
        self._stream = stream
        self._on_end = on_end

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._stream(scope, receive, send)
        finally:
            self._on_end()


def _session(request: Request) -> str:
    return request.cookies.get(COOKIE, "")


def _about(call: Call) -> str:
    """The workflow, schedule or task queue that a request is about."""
    for name in ("workflow_id", "schedule_id", "task_queue"):
        if found := getattr(call.body, name, ""):
            return str(found)
    return str(call.params.get("id") or call.params.get("queue") or "")


def _peer(request: HTTPConnection) -> str:
    return request.client.host if request.client else "somewhere"


def _answering(handler: _Handler) -> _Handler:
    """A handler whose errors are answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ProblemError as problem:
            return _problem(problem)
        except BackendError as error:
            return _problem(problem_of(error))
        except ClientDisconnect:
            return Response(status_code=400)
        except (ValueError, TypeError) as error:
            return _problem(ProblemError("invalid", str(error)))
        except (ArithmeticError, RecursionError) as error:
            # A number that no clock or machine has, or a nest of something.
            return _problem(ProblemError("invalid", f"a value is out of range: {error}"))
        except Exception:
            _LOG.exception("answering %s failed by an error of our own", request.url.path)
            return _problem(ProblemError("internal", "an error of the gateway; its log says which"))

    return answer


async def _body(request: Request, kind: type[Any]) -> Any:
    """A JSON body as its Struct. Raises ProblemError for any other, or one that is too large."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise ProblemError("wrong_media", "the body must be application/json")
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > BODY_BYTES_MAX:
                    raise ProblemError("too_large", f"a body has at most {BODY_BYTES_MAX} bytes")
    except TimeoutError:
        raise ProblemError(
            "too_slow", f"the body did not come whole within {BODY_S:.0f} s"
        ) from None
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProblemError("invalid", f"the body cannot be read: {error}") from error


def _json(value: Shape, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _problem(problem: ProblemError) -> Response:
    shape = Problem(code=problem.code, message=problem.message, status=problem.status)
    response = _json(shape, problem.status)
    if problem.retry_after_s:
        response.headers["retry-after"] = str(problem.retry_after_s)
    return response


def _constant(body: bytes) -> _Handler:
    async def answer(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return answer


async def _not_found(_: Request, __: Exception) -> Response:
    return _problem(ProblemError("not_found", "there is nothing at this address"))


async def _wrong_method(request: Request, _: Exception) -> Response:
    return _problem(ProblemError("wrong_method", f"{request.method} is not for this address"))
