"""What every kind of test shares: no example is judged by how long it took, and a failure is named when it happens."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("doorstep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", settings.get_profile("doorstep"), max_examples=5_000)
settings.load_profile("doorstep")


class NamesFailures:
    """The summary comes at the end, and a run that is cut off has none."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.write_line(f"\nFAILED {report.nodeid} ({report.when})")
            self._terminal.write_line(str(report.longreprtext)[-600:])


@pytest.hookimpl(trylast=True)  # the terminal is made first
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(NamesFailures(terminal), "names-failures")
