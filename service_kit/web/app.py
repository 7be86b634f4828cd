"""Puts a service together: its routes, its database, and the middleware around them."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import ParamSpec, TypeVar

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from service_kit import VERSION
from service_kit.database import Database, DatabaseUnavailable, open_database, production
from service_kit.database.errors import is_transient
from service_kit.database.interface import Work
from service_kit.process import tracing
from service_kit.process.metrics import Metrics
from service_kit.process.retention import Kept, keep_pruning
from service_kit.process.settings import IntrospectionSettings, ServiceSettings
from service_kit.process.stopping import Stopping
from service_kit.web import docs as pages
from service_kit.web import health, home, me, openapi
from service_kit.web.auth import FindToken, IdentityProvider, Tokens, refuse_unguarded
from service_kit.web.edge import Cors, Edge, Prefixed
from service_kit.web.hosts import AllowedHosts
from service_kit.web.hot import is_hot
from service_kit.web.idempotency import StoredAnswers
from service_kit.web.overload import UNLIMITED, Bounded, Capacity, Slots
from service_kit.web.problems import install_problem_handlers
from service_kit.web.rate_limits import RateLimits

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_COMMON = (home.router, me.router, health.router, pages.router)

OPEN_SECONDS = 10.0
# After a stop was requested; less than the server gives running requests.
GIVE_UP_SECONDS = 5.0

# What a service does between the opening of its database and the closing.
Running = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_service(
    *,
    name: str,
    description: str,
    settings: ServiceSettings,
    routers: Sequence[APIRouter],
    running: Running | None = None,
    prefix: str = "",
    find_token: FindToken | None = None,
    stored_answers: StoredAnswers | None = None,
    kept: Sequence[Kept] = (),
) -> FastAPI:
    """Build one service's app. Raises RuntimeError for a route that does not say who may call it.

    Paths that start with `prefix` are answered without it too. Routes that take Idempotency-Keys
    need `stored_answers`. What is `kept` for some time is deleted after that.
    """
    # One flat list: an included router is searched, and its path matched, twice for each request.
    routes = [route for router in (*routers, *_COMMON) for route in router.routes]
    refuse_unguarded(routes)
    database = _database(name, settings)
    capacity, limits = Capacity(), RateLimits(settings.caller_rate)
    providers = list(_identity_providers(settings))
    app = FastAPI(
        title=name,
        description=description,
        version=VERSION,
        lifespan=_lifespan(name, settings, database, running, providers, kept),
        routes=sorted(routes, key=is_hot, reverse=True),  # they are tried in order
        middleware=list(_middleware(settings, limits, capacity, prefix, routes)),
        redirect_slashes=False,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    _fill_state(app, settings, database, capacity, limits, stored_answers)
    sources = [*filter(None, [find_token]), *(one.find for one in providers)]
    app.state.tokens = Tokens(settings, limits, sources)
    install_problem_handlers(app)
    openapi.install(app, routes)
    return app


def _database(name: str, settings: ServiceSettings) -> Database:
    return open_database(
        settings.database_url,
        name,
        pool_size=settings.database_pool_size - 1,  # one more hears of commits
        direct_url=settings.database_direct_url,
    )


def _identity_providers(settings: ServiceSettings) -> Iterator[IdentityProvider]:
    """Build what knows whose token it is, of the kinds that the settings ask for."""
    if isinstance(settings, IntrospectionSettings) and settings.token_introspection_url:
        from service_kit.web.introspection import Introspection

        yield Introspection(
            settings.token_introspection_url, settings.introspection_token, settings.ca_file
        )
    if settings.oidc_issuer:
        from service_kit.web.oidc import OpenIdProvider

        yield OpenIdProvider(settings, settings.ca_file)


def _lifespan(
    name: str,
    settings: ServiceSettings,
    database: Database,
    running: Running | None,
    providers: Sequence[IdentityProvider],
    kept: Sequence[Kept],
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        endpoint = settings.otel_exporter_otlp_endpoint
        sending = tracing.sending(name, endpoint, settings.ca_file) if endpoint else nullcontext()
        with sending:
            await retry_while_starting(database.open)
            stopping = app.state.stopping
            give_up_task = asyncio.create_task(_give_up_in_time(stopping, database))
            pruning = asyncio.create_task(keep_pruning(settings, database, stopping, kept))
            try:
                async with running(app) if running else nullcontext():
                    if settings.environment == "production":
                        await _remember_production(database)
                    yield
            finally:
                pruning.cancel()
                await asyncio.gather(pruning, return_exceptions=True)
                for provider in providers:
                    await provider.close()
                await database.close()
                give_up_task.cancel()

    return lifespan


async def _give_up_in_time(stopping: Stopping, database: Database) -> None:
    """Keep no process alive for a database that does not answer."""
    await stopping.wait()
    await asyncio.sleep(GIVE_UP_SECONDS)
    database.abort()


async def retry_while_starting(
    work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run what a start needs of its database, and retry while the server is coming back.

    Raises DatabaseUnavailable after ten seconds, or at once where waiting does not help.
    """
    give_up_at = time.monotonic() + OPEN_SECONDS
    while True:
        try:
            return await work(*args, **kwargs)
        except DatabaseUnavailable as error:
            if not is_transient(error) or time.monotonic() > give_up_at:
                raise
        await asyncio.sleep(0.5)


async def _remember_production(database: Database) -> None:
    """Write it down at the first start alone: a full disk keeps no service from reading."""
    if await retry_while_starting(database.read, production.served_since) is None:
        await retry_while_starting(database.write, production.remember)


async def add_demo_data(
    database: Database, seed: Work[P, None], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Fill an empty database, but none that has served in production."""
    since = await retry_while_starting(database.read, production.served_since)
    if since is None:
        await retry_while_starting(lambda: database.write(seed, *args, **kwargs))
    else:
        logger.info("No demo data: the database has served in production since %s.", since.date())


def _fill_state(
    app: FastAPI,
    settings: ServiceSettings,
    database: Database,
    capacity: Capacity,
    limits: RateLimits,
    stored_answers: StoredAnswers | None,
) -> None:
    app.state.name = app.title
    app.state.pages = "/docs"  # where a browser is sent that asks for no page
    app.state.settings = settings
    app.state.database = database
    app.state.capacity = capacity
    app.state.limits = limits
    app.state.stored_answers = stored_answers
    app.state.metrics = Metrics()
    app.state.stopping = Stopping()
    # Each returns what is wrong with something the service can't work without, or None.
    app.state.readiness_checks = []
    database.on_failure = app.state.stopping.fail


def _middleware(
    settings: ServiceSettings,
    limits: RateLimits,
    capacity: Capacity,
    prefix: str,
    routes: Sequence[BaseRoute],
) -> Iterator[Middleware]:
    """List what is around every route, the outermost first."""
    yield Middleware(Edge)
    if settings.otel_exporter_otlp_endpoint:
        yield Middleware(tracing.Traced, untraced=UNLIMITED)
    yield Middleware(Slots, capacity=capacity)
    if settings.allowed_hosts:
        yield Middleware(AllowedHosts, allowed=settings.allowed_hosts)
    if settings.cors_origins:
        yield Middleware(
            Cors,
            allow_origins=list(settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    # Within CORS, so that a page may read its refusals.
    yield Middleware(Bounded, limits=limits)
    if prefix:
        paths = [route.path for route in routes if isinstance(route, Route)]
        below = {path.split("/")[2] for path in paths if path.startswith(prefix + "/")}
        yield Middleware(Prefixed, prefix=prefix, segments=below)
