"""Draws ``docs/pictures/demo.svg``: what ``doorstep demo`` shows after half a minute of a real run."""

import asyncio
import io
import re
from pathlib import Path

from rich.console import Console

from cli.demo import view
from sim.demo import Demo, DemoPlan, demo_server

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "demo.svg"
SECONDS = 40.0


def main() -> None:
    """Run a demo on free ports and draw its last view."""
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    with demo_server(0, 0) as server:
        running = Demo(server, DemoPlan())
        asyncio.run(running.run(SECONDS, lambda: None))
    console.print("[bold]$ make demo[/bold]\nWhat is running, and where: http://127.0.0.1:8080/", highlight=False)
    console.print(view(running.state))
    console.print("[green]the SOS reached the console and the nearest responders; a human acknowledged it")
    PICTURE.parent.mkdir(exist_ok=True)
    svg = console.export_svg(title="doorstep demo")
    # The reader's own monospace font will do: a picture fetches nothing.
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
