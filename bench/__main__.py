"""``python -m bench``: runs each measurement in a process of its own and writes ``bench/results/latest.json``.

A module of this package with ``main() -> dict`` is a measurement; its keys go into the one result as they are. A
process each, so that one measurement's memory and compiled caches are not in the next one's figures.
"""

import argparse
import ast
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results"


def measurements() -> list[str]:
    """Names of the modules that define ``main``, in order; read without importing them."""
    found = []
    for path in sorted(HERE.glob("*.py")):
        if path.stem.startswith("_"):
            continue
        body = ast.parse(path.read_text()).body
        if any(_is_measurement(node) for node in body):
            found.append(path.stem)
    return found


def _is_measurement(node: ast.stmt) -> bool:
    """``def main() -> dict[...]``; other programs here have a ``main`` that returns something else."""
    if not isinstance(node, ast.FunctionDef) or node.name != "main" or node.returns is None:
        return False
    return ast.unparse(node.returns).startswith("dict")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((line.partition(":")[2].strip() for line in info.open() if line.startswith("model name")), "")
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "measured_at": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
    }


def run_one(name: str) -> tuple[dict[str, Any] | None, float]:
    """One measurement's figures, None when it failed, and how long it took. Its own output is passed on."""
    began = time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        done = subprocess.run([sys.executable, "-m", "bench", "--in-process", name, result.name], check=False)
        text = Path(result.name).read_text()
    figures = json.loads(text) if done.returncode == 0 and text else None
    return figures, round(time.monotonic() - began, 1)


def run_in_process(name: str, target: Path) -> None:
    """The child's side of ``run_one``."""
    figures = importlib.import_module(f"bench.{name}").main()
    target.write_text(json.dumps(figures))


def run_all(names: list[str]) -> int:
    """Run measurements in turn and write the result; 1 when any failed."""
    figures: dict[str, Any] = {}
    took_s: dict[str, float] = {}
    failed: list[str] = []
    for name in names:
        print(f"-- {name}", flush=True)
        found, took_s[name] = run_one(name)
        if found is None:
            failed.append(name)
            continue
        for key in sorted(figures.keys() & found.keys()):
            print(f"   {key} was measured twice; the later figure counts")
        figures.update(found)
        print("\n".join(f"   {key}: {json.dumps(value)}" for key, value in found.items()), flush=True)
    RESULTS.mkdir(exist_ok=True)
    result = {**figures, "machine": machine(), "took_s": took_s, "failed": failed}
    (RESULTS / "latest.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(names) - len(failed)} of {len(names)} measurements done: bench/results/latest.json")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    """Read the command line."""
    present = measurements()
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Doorstep on this machine.")
    parser.add_argument("--only", action="append", metavar="NAME", help="run only this one (may be repeated)")
    parser.add_argument("--list", action="store_true", help="say which measurements there are and stop")
    parser.add_argument("--in-process", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.in_process:
        run_in_process(given.in_process[0], Path(given.in_process[1]))
        return 0
    if given.list:
        print("\n".join(present))
        return 0
    unknown = sorted(set(given.only or ()) - set(present))
    if unknown:
        parser.error(f"no measurement {', '.join(unknown)}; there are {', '.join(present) or 'none'}")
    return run_all([name for name in present if given.only is None or name in given.only])


if __name__ == "__main__":
    sys.exit(main())
