"""The first page: says what is running and where. One HTML file and one style sheet, nothing from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class CityFacts:
    """One served city."""

    tenant: str
    city: str
    name: str
    open: bool
    on_duty: int
    open_orders: int


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What the page says. Nobody has to sign in to read it, so nothing of it is personal.

    Attributes:
        is_local: Whether only this machine can read it. Beyond it the page tells neither tenants nor numbers of people
            and orders (they are somebody's business) nor where the admin listener is.
    """

    version: str
    ready: bool
    uptime_s: float
    hub_url: str
    admin_url: str
    frame: str
    connections: int
    cities: Sequence[CityFacts]
    is_local: bool


def first_page(facts: PageFacts) -> str:
    """The page as HTML."""
    cities = _local_cities(facts.cities) if facts.is_local else _cities(facts.cities)
    connected = f", {facts.connections} connected" if facts.is_local else ""
    admin = (
        f"<dt>Metrics and health</dt><dd><code>{escape(facts.admin_url)}</code> "
        "<small>on this machine only</small></dd>"
        if facts.is_local
        else ""
    )
    state = "ready" if facts.ready else "starting or stopping"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Doorstep</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<main>
<header>
<h1>Doorstep</h1>
<p class="lead">Dispatch and location tracking for services at the customer's door.</p>
<p><span class="state {"good" if facts.ready else "wait"}">{state}</span>
version {escape(facts.version)}, up {_span(facts.uptime_s)}{connected}</p>
</header>
<section aria-labelledby="where">
<h2 id="where">Where things are</h2>
<dl>
<dt>Hub (WebSocket)</dt><dd><code>{escape(facts.hub_url)}</code></dd>
<dt>HTTP API</dt><dd><a href="/openapi.json">OpenAPI 3.1</a></dd>
<dt>Hub messages</dt><dd><a href="/asyncapi.json">AsyncAPI 3.0</a></dd>
<dt>For clients</dt><dd><a href="/config.json">config.json</a></dd>
{admin}
<dt>Coordinates</dt><dd>kept and sent as <code>{escape(facts.frame)}</code></dd>
</dl>
</section>
<section aria-labelledby="cities">
<h2 id="cities">Cities</h2>
{cities}
</section>
<section aria-labelledby="try">
<h2 id="try">Try it</h2>
<p>A token for a customer of the first city:</p>
<pre><code>doorstep token --role customer --user cus_me</code></pre>
<p>and with it, an order or an SOS, as the API document above describes.</p>
</section>
</main>
</body>
</html>
"""


def _local_cities(cities: Sequence[CityFacts]) -> str:
    """For whoever runs the server: each city of each tenant with its numbers."""
    rows = "".join(
        f"<tr><th scope=row>{escape(city.name)}</th><td><code>{escape(city.city)}</code></td>"
        f"<td>{escape(city.tenant)}</td><td>{'open' if city.open else 'closed'}</td>"
        f"<td class=n>{city.on_duty}</td><td class=n>{city.open_orders}</td></tr>"
        for city in cities
    )
    if not rows:
        return (
            "<p>No city is configured: orders cannot be placed yet. Add one under <code>cities</code> in "
            "<code>config.yaml</code>.</p>"
        )
    return (
        "<table><thead><tr><th scope=col>City</th><th scope=col>Id</th><th scope=col>Tenant</th>"
        "<th scope=col>State</th><th scope=col class=n>On duty</th><th scope=col class=n>Open orders</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _cities(cities: Sequence[CityFacts]) -> str:
    """For the world: where there is service at all."""
    names = sorted({city.name for city in cities if city.open})
    return f"<p>{escape(', '.join(names))}</p>" if names else "<p>No city is open.</p>"


def _span(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{int(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


STYLE = """\
:root {
  color-scheme: light dark;
  --ground: #fbfaf7; --text: #1d2427; --quiet: #5a666b; --line: #dcd9d0; --link: #0b5c8a;
  --good: #1c6b3c; --good-ground: #dcefe2; --wait: #7a4b00; --wait-ground: #f6e7c8; --code: #f0eee7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14191b; --text: #e4e8e6; --quiet: #9aa7a8; --line: #2f393c; --link: #7cc1ea;
    --good: #9fdeb5; --good-ground: #173b26; --wait: #f1cd87; --wait-ground: #43310c; --code: #1e2628;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "PingFang SC", "Noto Sans", sans-serif;
}
main { max-width: 46rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { margin: 0; font-size: 2rem; letter-spacing: -0.02em; }
h2 { margin: 2.25rem 0 0.5rem; font-size: 1.1rem; }
p { margin: 0.4rem 0; }
.lead { color: var(--quiet); font-size: 1.1rem; }
.state { padding: 0.1rem 0.55rem; margin-right: 0.4rem; border-radius: 1rem; font-weight: 600; }
.good { color: var(--good); background: var(--good-ground); }
.wait { color: var(--wait); background: var(--wait-ground); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.35rem 1.25rem; margin: 0; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
small { color: var(--quiet); }
a { color: var(--link); }
a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: 0.92em; }
pre { padding: 0.8rem 1rem; overflow-x: auto; background: var(--code); border-radius: 0.5rem; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: 0.4rem 0.6rem 0.4rem 0; border-bottom: 1px solid var(--line); text-align: left; font-weight: 400; }
thead th { color: var(--quiet); font-size: 0.9em; }
tbody th { font-weight: 600; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.6rem; } }
"""
