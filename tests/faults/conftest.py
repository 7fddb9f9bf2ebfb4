"""What the fault tests say beside passing: figures that a test recorded are printed at the end."""

import pytest

RECORDED = ("model states",)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name in RECORDED and report.when == "call":
                terminalreporter.write_line(f"{name}: {value}")
