"""Autobahn's case files (through kosoku) against the echo endpoint on the hub's own transport.

Groups 9 (performance), 12 and 13 (compression, which is not offered) are left out: 247 cases remain.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KOSOKU = Path(sys.executable).with_name("kosoku")
CASES = 247

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_case_of_autobahn_fails(loop: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "echo_server.py"), "--loop", loop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline())
            tester = KOSOKU
            excluded = [word for group in ("9.*", "12.*", "13.*") for word in ("-x", group)]
            subprocess.run(
                [tester, "-m", "fuzzingclient", *excluded, "-o", tmp_path, f"127.0.0.1:{port}"],
                check=False,
                timeout=100,
                capture_output=True,
            )
        finally:
            server.stdin.close()
            server.wait(10)
    behaviour: Counter[str] = Counter()
    failed: list[str] = []
    for path in sorted(tmp_path.glob("*_case_*.json")):
        report = json.loads(path.read_text())
        for word in (report["behavior"], report["behaviorClose"]):
            behaviour[word] += 1
            if word not in {"OK", "NON-STRICT", "INFORMATIONAL"}:
                failed.append(f"{report.get('id', path.name)}: {word}")
    print(dict(behaviour))
    assert failed == []
    assert behaviour.total() == 2 * CASES
