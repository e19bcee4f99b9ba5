"""`perdure ui` and `perdure dev`: serve the pages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Final

import typer

from perdure._gateway.serve import serving, serving_engine
from perdure.cli.target import Broker, Engine, Namespace, TaskQueue, target
from perdure.cli.user_modules import CONVENTION, Traffic, load
from perdure.cli.worker_commands import (
    MetricsPort,
    Verbose,
    chosen_of,
    queue_of,
    say,
    serve_worker,
    set_up_logging,
    stop_on_signals,
)
from perdure.client import Client
from perdure_topics.task_queue_topics import ensure_topics
from perdure_views.gateway.principals import Register, TokenList, Verifier
from perdure_views.gateway.settings import Settings

UI_PORT: Final = 8080
DEV_DATA: Final = Path(".perdure")
TOKENS: Final = "PERDURE_AUTH_TOKENS"

Jaeger = Annotated[
    str,
    typer.Option("--jaeger-url", envvar="JAEGER_URL", help="Where a run's trace is looked up."),
]

Insights = Annotated[
    list[str] | None,
    typer.Option(
        "--insights",
        metavar="QUEUE=URL",
        envvar="PERDURE_INSIGHTS",
        help="Where `perdure insights` of a task queue shows its figures; may be given again.",
    ),
]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")]
AuthTokens = Annotated[
    Path | None,
    typer.Option(
        "--auth-tokens",
        help=f"File with a line `read|operate|admin NAME TOKEN` each. [env: {TOKENS}: lines]",
    ),
]
OidcIssuer = Annotated[
    str, typer.Option("--oidc-issuer", help="Identity provider whose tokens are taken.")
]
OidcAudience = Annotated[str, typer.Option("--oidc-audience", help="For whom its tokens must be.")]
OidcRoleClaim = Annotated[
    str, typer.Option("--oidc-role-claim", help="The claim with read, operate or admin.")
]
HostNames = Annotated[
    list[str] | None,
    typer.Option("--host-name", help="A name that browsers call this gateway by."),
]
AuditLog = Annotated[
    Path | None,
    typer.Option(
        "--audit-log",
        help="File that gets a line of JSON for each sign-in, denial and change.",
    ),
]
AuditReads = Annotated[
    bool, typer.Option("--audit-reads", help="With --audit-log: a line for each read, too.")
]
SecureCookie = Annotated[bool, typer.Option("--secure-cookie", help="Browsers come through TLS.")]


def ui(
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    host: Host = "127.0.0.1",
    port: Port = UI_PORT,
    auth_tokens: AuthTokens = None,
    oidc_issuer: OidcIssuer = "",
    oidc_audience: OidcAudience = "",
    oidc_role_claim: OidcRoleClaim = "roles",
    host_name: HostNames = None,
    secure_cookie: SecureCookie = False,  # noqa: FBT002 - an option
    jaeger_url: Jaeger = "",
    insights: Insights = None,
    audit_log: AuditLog = None,
    audit_reads: AuditReads = False,  # noqa: FBT002 - an option
    metrics_port: MetricsPort = None,
    verbose: Verbose = False,  # noqa: FBT002 - an option
) -> None:
    """Serve the pages and the JSON API of a namespace, in front of a broker or an engine.

    It listens on loopback; another --host needs --auth-tokens or --oidc-issuer.
    """
    set_up_logging(verbose=verbose)
    settings = Settings(
        host=host,
        port=port,
        host_names=tuple(host_name or ()),
        register=Register(
            _verifiers(
                auth_tokens,
                issuer=oidc_issuer,
                audience=oidc_audience,
                role_claim=oidc_role_claim,
            )
        ),
        audits_reads=audit_reads,
        secure_cookie=secure_cookie,
        jaeger_url=jaeger_url,
        insights=_addresses(insights),
    )
    settings.check()
    _keep_audit(audit_log)
    if metrics_port is not None:
        from perdure._telemetry import environment

        say(f"metrics at {environment.serve_metrics(metrics_port, 'perdure-gateway')}")

    async def go() -> None:
        client = await Client.connect(target(broker, engine), namespace=namespace)
        try:
            async with serving(client, settings) as address:
                say(f"pages of namespace {namespace!r} on {client.log.address}: {address}")
                await stop_on_signals().wait()
        finally:
            await client.close()

    asyncio.run(go())


def dev(
    module: Annotated[str, typer.Argument(metavar="MODULE", help=CONVENTION)],
    data: Annotated[
        Path, typer.Option("--data", help="The directory that is kept between runs.")
    ] = DEV_DATA,
    port: Port = UI_PORT,
    task_queue: TaskQueue = None,
    namespace: Namespace = "default",
    no_traffic: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--no-traffic", help="Do not run the module's `dev(client)`.")
    ] = False,
    jaeger_url: Jaeger = "",
    verbose: Verbose = False,  # noqa: FBT002 - an option
) -> None:
    """Run MODULE with everything it needs, without a broker, and show it in the browser.

    An `async def dev(client)` in the module runs beside it and may start workflows.
    """
    set_up_logging(verbose=verbose)
    found = load(module)
    queue = queue_of(module, found, task_queue)
    chosen = chosen_of(module, found, workflows_only=False, activities_only=False)
    settings = Settings(port=port, jaeger_url=jaeger_url)
    settings.check()

    async def go() -> None:
        client = await Client.connect(
            f"file:{data}", namespace=namespace, data_converter=found.data_converter
        )
        try:
            await asyncio.to_thread(ensure_topics, client.log, namespace, queue)
            async with (
                serving_engine(client, settings) as address,
                _traffic(client, None if no_traffic else found.traffic),
            ):
                say(f"watch it at {address.replace('127.0.0.1', 'localhost')}; data in {data}")
                await serve_worker(client, queue, chosen, state_dir=None, slots=100, grace_s=2.0)
        finally:
            await client.close()

    asyncio.run(go())


@contextlib.asynccontextmanager
async def _traffic(client: Client, traffic: Traffic | None) -> AsyncIterator[None]:
    """The module's own workflows starting, for as long as it runs."""
    if traffic is None:
        yield
        return

    async def run() -> None:
        try:
            await traffic(client)
        except Exception:
            logging.getLogger("perdure.dev").exception("the module's dev(client) failed")

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _addresses(given: list[str] | None) -> tuple[tuple[str, str], ...]:
    return tuple((queue, url) for queue, _, url in (one.partition("=") for one in given or ()))


def _keep_audit(path: Path | None) -> None:
    """Write the audit log to a file, if there is to be one. Raises OSError."""
    if path is not None:
        from perdure_views.gateway.audit import write_to

        write_to(path)


def _verifiers(
    auth_tokens: Path | None, *, issuer: str, audience: str, role_claim: str
) -> list[Verifier]:
    found: list[Verifier] = []
    if auth_tokens is not None:
        found.append(TokenList.of_file(auth_tokens))
    if text := os.environ.get(TOKENS):
        found.append(TokenList.of_text(text, where=TOKENS))
    if issuer:
        # Here, because what it checks tokens with takes long to load, and few need it.
        from perdure_views.gateway.oidc import OidcSettings, OidcVerifier

        settings = OidcSettings(issuer=issuer, audience=audience, role_claim=role_claim)
        found.append(OidcVerifier(settings))
    return found
