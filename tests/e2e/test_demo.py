import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
def test_the_demo_serves_orders_answers_an_sos_and_ends_by_itself() -> None:
    command = [sys.executable, "-m", "cli.main", "demo", "--seconds", "30", "--technicians", "60"]
    done = subprocess.run(
        [*command, "--http-port", "0", "--hub-port", "0"], capture_output=True, text=True, timeout=110, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The demo succeeded:" in done.stdout
