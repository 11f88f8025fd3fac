"""Of the standard tests, a class names those that it skips, with the reason; a list that is not true is a failure."""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    skips = getattr(item.cls, "SKIPS", None)
    if skips is None or report.when == "teardown":
        return report
    reason = skips.get(item.originalname)
    if report.skipped and reason is None:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped and SKIPS does not say why"
    elif report.skipped:
        path, line, _ = item.location
        report.longrepr = (path, line or 0, f"Skipped: {reason}")
    elif report.when == "call" and report.passed and reason is not None:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} passes: take it out of SKIPS"
    return report
