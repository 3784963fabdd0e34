"""The admin listener: /metrics, /healthz, /readyz, on a port of its own that the world must not reach."""

from collections.abc import Callable, Sequence

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from server.metrics import Metrics


def make_admin_app(
    metrics: Metrics,
    is_healthy: Callable[[], bool],
    is_ready: Callable[[], bool],
    closed_cities: Callable[[], Sequence[str]] = tuple,
) -> web.Application:
    """The application.

    Args:
        is_healthy: Whether the process does its work; false asks whoever watches to restart it.
        is_ready: Whether it wants traffic; false while starting and draining.
        closed_cities: Cities that could not be read at the start. They are told, and do not make the node unready:
            without traffic it could take no SOS either.
    """

    async def scrape(request: web.Request) -> web.Response:
        del request
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(request: web.Request) -> web.Response:
        del request
        return _word("ok", "unhealthy", is_healthy())

    async def ready(request: web.Request) -> web.Response:
        del request
        closed = closed_cities()
        return _word(f"ready without {', '.join(closed)}" if closed else "ready", "not ready", is_ready())

    app = web.Application()
    app.router.add_get("/metrics", scrape)
    app.router.add_get("/healthz", health)
    app.router.add_get("/readyz", ready)
    return app


def _word(good: str, bad: str, is_good: bool) -> web.Response:
    return web.Response(text=(good if is_good else bad) + "\n", status=200 if is_good else 503)
