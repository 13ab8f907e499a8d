"""What GitHub Actions shows of a session: Markdown on the page of its job, and an annotation for each test that failed."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..results.measurement import Measurement, Speedup
from ..session import MetalSession
from ..worker.problems import readable
from .markdown import Failed, Page, bad, fitting, page, worst_first
from .rows import rows

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable that names the file whose Markdown the job's page shows."""
LIMIT = 1024 * 1024
"""Bytes of that file above which GitHub shows nothing of it, whoever wrote them (its page "Workflow commands for Actions")."""
ANNOTATES = "pytest_github_actions_annotate_failures"
"""The plugin that annotates failed tests itself, by its name for pytest's plugin manager."""


def lines(
    session: MetalSession,
    reports: Sequence[Any],
    commands: Mapping[str, str],
    folders: tuple[Path, Path],
    environment: Mapping[str, str],
    annotated: bool,
) -> list[str]:
    """Write the summary where the environment names a file for it.

    Args:
        session: that has ended, however it did.
        reports: all that pytest has, of any test.
        commands: that run each of our tests alone, by its node id.
        folders: pytest's rootdir, and where it was started.
        environment: variables of the process.
        annotated: whether somebody else annotates failed tests.

    Returns:
        Lines for the terminal: a sentence where the summary could not be written, then the annotations.
    """
    rootdir, cwd = folders
    failed = failures(reports, commands, rootdir, environment)
    found = []
    if environment.get(SUMMARY):
        left = not_run(reports, commands, session.suspects.waiting)
        found += [text for text in (write(page(session, failed, commands, left), environment[SUMMARY], cwd),) if text]
    if environment.get("GITHUB_ACTIONS") == "true" and not annotated:
        found += commands_that_annotate(failed, session.results, commands)
    return found


def write(shown: Page, named: str, cwd: Path) -> str:
    """Append a page to the file of that name.

    Returns:
        Why that was impossible, in one sentence; empty where it was done.
    """
    path = cwd / named
    try:
        before = path.stat().st_size if path.exists() else 0
        text = fitting(shown, LIMIT - before - 1)
        if not text:
            return f"{SUMMARY}: {path} has {before} bytes, and GitHub shows no more than {LIMIT}: nothing was added"
        with path.open("ab") as file:
            file.write(f"{chr(10) if before else ''}{text}".encode("utf-8", "backslashreplace"))
    except (OSError, ValueError) as error:  # a report never decides how a session ends
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"{SUMMARY}: {path} cannot be written ({reason}): name another file, or unset it"
    return ""


def commands_that_annotate(
    failed: Sequence[Failed], results: Sequence[Measurement | Speedup], commands: Mapping[str, str]
) -> list[str]:
    """A workflow command for each failed test, the worst first, since GitHub shows ten of a step."""
    titles: dict[str, str] = {}
    for row in worst_first(row for result in results if result.failed for row in rows([result]) if bad(row)):
        titles.setdefault(row.result.nodeid, f"{row.verdict}: {row.id}")
    rank = {nodeid: place for place, nodeid in enumerate(titles)}
    ranked = sorted(failed, key=lambda one: rank.get(one.nodeid, len(rank)))
    return [
        _command(one, titles.get(one.nodeid, f"{one.word}: {one.nodeid}"), commands.get(one.nodeid)) for one in ranked
    ]


def _command(one: Failed, title: str, command: str | None) -> str:
    """`::error file=…,line=…,title=…::message`, on one line."""
    properties = {"file": one.file, "line": one.line, "title": title}
    shown = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items() if value)
    said = readable(one.text.strip().partition("\n\n")[0])  # below it stands a log, which the job has anyway
    return f"::error {shown}::{_data(said if command is None else f'{said}{chr(10)}repeat it with  {command}')}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def failures(
    reports: Iterable[Any], nodeids: Container[str], rootdir: Path, environment: Mapping[str, str]
) -> list[Failed]:
    """The tests among `nodeids` that failed, by pytest's reports: one for each, with the first that it said."""
    found: dict[str, Failed] = {}
    for report in reports:  # anyone's: some are of warnings
        nodeid = str(getattr(report, "nodeid", ""))
        if nodeid in nodeids and getattr(report, "failed", False) and nodeid not in found:
            file, line, _ = report.location
            broken = ("metal_verdict", "error") in report.user_properties
            found[nodeid] = Failed(
                nodeid,
                "error" if broken else "failed",
                _said(report),
                _in_workspace(rootdir / file, environment),
                None if line is None else line + 1,
            )
    return list(found.values())


def _said(report: Any) -> str:
    """What a person reads first of a failure: our own text, or the exception of a test that shows its code."""
    text, crash = str(report.longreprtext).strip(), getattr(report.longrepr, "reprcrash", None)
    return text if crash is None or crash.message.strip().endswith(text) else str(crash.message)


def _in_workspace(file: Path, environment: Mapping[str, str]) -> str:
    """A file as GitHub names those of a repository, where it is one of the job's."""
    whole, workspace = Path(os.path.abspath(file)), environment.get("GITHUB_WORKSPACE", "")  # noqa: PTH100 - links stay
    if workspace and whole.is_relative_to(workspace):
        return whole.relative_to(workspace).as_posix()
    return whole.as_posix()


def not_run(reports: Iterable[Any], nodeids: Iterable[str], waiting: Container[str]) -> list[str]:
    """The tests of `nodeids` that did not come to their end, without those in `waiting`, of which it is told why."""
    ended = {report.nodeid for report in reports if getattr(report, "when", "") == "teardown"}
    return [one for one in nodeids if one not in ended and one not in waiting]
