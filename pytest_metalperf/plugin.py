"""pytest glue and nothing else: options, fixtures, hooks of a few lines that delegate.

Nothing heavy is imported here: a suite that has the plugin installed and does not use it pays only for this file.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import settings as options
from . import suspects
from .items import device_and_backend, marked, ours, target, whole
from .settings import MARKER, SettingError, Settings

if TYPE_CHECKING:
    from .bench import MetalBench, MetalLive, MetalSpeedup, Test
    from .report.files import Files
    from .report.pytest_benchmark import Row
    from .results.measurement import Measurement, Speedup
    from .session import MetalSession

XDIST = (
    "not measured under pytest-xdist: workers that share the machine spoil each other's times;"
    " run the performance tests alone, pytest -m metal_bench -n 0"
)

_settings = pytest.StashKey[Settings]()
_session = pytest.StashKey["MetalSession"]()
_flags = pytest.StashKey[str]()
_mine = pytest.StashKey[list[pytest.Item]]()
_files: pytest.StashKey[Files] = pytest.StashKey()
_word = "metal_verdict"
_NOT_REPEATED = (
    "update", "metal", "strict", "timeout", "max_runs", "on_missing", "against", "force", "plan", "json", "html", "history",
)  # fmt: skip
"""Options that the command which a message suggests leaves to its reader."""
_PATHS = tuple(f"--metal-{name}" for name in ("against", "baselines", "json", "html", "history"))
"""Options that name files and folders."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from . import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("metalperf", "performance of neural-network training")
    for option in options.options():
        text = option.metadata["help"].replace("%", "%%")
        default = ",".join(option.default) if isinstance(option.default, tuple) else option.default
        shown = f" (default: {default})" if default not in ("", False, None) else ""
        keywords: dict[str, Any] = {"dest": f"metal_flag_{option.name}", "default": None, "help": text + shown}
        if isinstance(option.default, bool):
            group.addoption(options.flag(option), action="store_true", **keywords)
        else:
            group.addoption(options.flag(option), metavar=option.metadata["metavar"], **keywords)
        parser.addini(options.ini_key(option), f"default of {options.flag(option)}", default=None)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Before a conftest that may miss its ini file breaks, with a message that says nothing of why."""
    for flag, value in pairwise(args):
        if flag in _PATHS and _hides_the_ini_file(early_config, Path(value)):
            raise pytest.UsageError(
                f"write {flag}={value} with an equals sign: after a blank pytest takes the path for tests when it looks for"
                " its ini file"
            )


def _hides_the_ini_file(config: pytest.Config, value: Path) -> bool:
    """Whether pytest, which takes a value after a blank for a folder of tests, found no ini file of where it was started."""
    here = config.invocation_params.dir
    if config.known_args_namespace.inifilename:  # which the user named
        return False
    try:
        (there := here / value).stat()
    except (OSError, ValueError):  # nothing is there, or no path has this name
        return False
    if there.resolve().is_relative_to(here.resolve()):
        return False
    return config.inipath is None or config.inipath.parent not in (here, *here.parents)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARKER}(batches, warmup, runs, tolerance, …): a performance test of training; keys are options of this test",
    )
    config.stash[_settings] = _settings_of(config)
    config.pluginmanager.register(_rows_of(config)(), "metalperf-rows")


def _settings_of(config: pytest.Config) -> Settings:
    flags, ini = {}, {}
    shown = [f"-c {_quoted(config.option.inifilename)}"] if config.option.inifilename else []
    shown += [f"-o {_quoted(pair)}" for pair in config.option.override_ini or ()]
    try:
        for option in options.options():
            value = config.getoption(f"metal_flag_{option.name}")
            if value is not None:
                where = options.flag(option)
                try:
                    flags[option.name] = option.metadata["parse"](value)
                except SettingError as error:
                    raise SettingError(f"{where}: {error}") from None
                if not option.name.startswith(_NOT_REPEATED):
                    # a path after a blank would be refused where pytest takes it for a folder of tests
                    blank = "=" if where in _PATHS else " "
                    shown.append(where if value is True else f"{where}{blank}{_quoted(str(value))}")
            value = config.getini(options.ini_key(option))
            if value is not None:
                ini[option.name] = value
        config.stash[_flags] = " ".join(shown)
        settings = options.resolve(flags, ini)
        typed = {str(argument).partition("=")[0] for argument in config.invocation_params.args}
        if "--metal-update-mode" in typed and not settings.update_baselines:
            raise SettingError(
                "--metal-update-mode stores nothing by itself: add --metal-update-baselines, or leave it out"
                " (in the ini file it may stand for good)"
            )
        return settings
    except SettingError as error:
        raise pytest.UsageError(str(error)) from None


# which tests are ours


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if ours(item)]
    mode = config.stash[_settings].metal
    for item in mine:
        if item.get_closest_marker(MARKER) is None:
            item.add_marker(MARKER)
        if mode == "off":
            item.add_marker(pytest.mark.skip(reason="--metal off"))
        if _rows_of(config) is _Rows:
            from .report.pytest_benchmark import mark

            mark(item)
    if mode == "only" and len(mine) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if not ours(item)])
        items[:] = mine


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "metal_device" not in metafunc.fixturenames:
        return
    try:
        settings = marked(metafunc.definition, metafunc.config.stash[_settings])
    except SettingError:  # told by the fixture, as a failure of that test alone
        settings = metafunc.config.stash[_settings]
    devices = [(device, backend) for backend in settings.backends for device in settings.devices]
    several = len(settings.backends) > 1
    ids = [f"{device}-{backend}" if several else device for device, backend in devices]
    metafunc.parametrize("metal_device", devices, ids=ids, indirect=True)


def _asked_for(item: pytest.Item, config: pytest.Config) -> Settings:
    """The settings of one test, or the failure that its marker deserves."""
    try:
        return marked(item, config.stash[_settings])
    except SettingError as error:
        sentence = str(error)
    pytest.fail(sentence, pytrace=False)


# fixtures


class _NoRows:
    """Without pytest-benchmark."""

    @pytest.fixture
    def _metal_row(self) -> None:
        return None


class _Rows:
    """With pytest-benchmark: its fixture must stand among the test's own, or its flags do not see the test."""

    @pytest.fixture
    def _metal_row(self, request: pytest.FixtureRequest, benchmark: Any) -> Iterator[Row]:
        from .report.pytest_benchmark import Row

        row = Row(benchmark, request.node)
        yield row
        row.close(keep=not suspects.is_put_off(request.node))


class _RowsOfCodSpeed:
    """Under pytest-codspeed, which runs again what it measures: no row, and a test that it does not deselect."""

    @pytest.fixture
    def _metal_row(self, codspeed_benchmark: Any) -> None:  # noqa: ARG002 - it looks for that name
        return None


def _rows_of(config: pytest.Config) -> type[_NoRows | _Rows | _RowsOfCodSpeed]:
    """Whose table a measured test is a row of."""
    if getattr(config.pluginmanager.get_plugin("codspeed_plugin"), "is_codspeed_enabled", False):
        return _RowsOfCodSpeed
    return _Rows if config.pluginmanager.has_plugin("benchmark") else _NoRows


@pytest.fixture
def metal_device(request: pytest.FixtureRequest) -> str | None:
    """The device this test trains on: `cpu`, `gpu`, …; None in a unittest class. Skips where it is not there."""
    _refuse_xdist(request.config)
    settings = _asked_for(request.node, request.config)
    where = getattr(request, "param", None)
    if where is None:
        return None
    from .bench import Broken, refuse_or_skip
    from .measure.worker import WorkerError
    from .report import words
    from .workloads.workload import WorkloadError

    session, problem, missing = _open(request.config), "", ""
    try:
        missing = session.missing_device(*where)
    except WorkloadError as error:
        problem = str(error)
    except WorkerError as error:
        problem = words.broken(error.message, error.details)
    if problem:
        raise Broken(problem, pytrace=False)
    if missing and not (
        settings.require_gpu or settings.strict
    ):  # else the call fails: a failed test, not a failed fixture
        refuse_or_skip(session, request.node.nodeid, missing, settings)
    device: str = where[0]
    return device


@pytest.fixture
def metal_bench(request: pytest.FixtureRequest, metal_device: str | None, _metal_row: Row | None) -> MetalBench:
    """Train a model in fresh processes on this test's device and compare it with its baseline."""
    from .bench import MetalBench

    return MetalBench(*_asked(request, metal_device, _metal_row))


@pytest.fixture
def metal_live(request: pytest.FixtureRequest, _metal_row: Row | None) -> MetalLive:
    """Train objects that the suite's own fixtures made, in the pytest process."""
    from .bench import MetalLive

    return MetalLive(*_asked(request, None, _metal_row))


@pytest.fixture
def metal_speedup(request: pytest.FixtureRequest, _metal_row: Row | None) -> MetalSpeedup:
    """Compare two variants of a workload, interleaved: by default the GPU with the CPU."""
    from .bench import MetalSpeedup

    return MetalSpeedup(*_asked(request, None, _metal_row))


def _asked(request: pytest.FixtureRequest, device: str | None, row: Row | None) -> tuple[MetalSession, Settings, Test]:
    _refuse_xdist(request.config)
    from .bench import Test
    from .measure.arguments import of_child
    from .measure.live import Child, LiveRuns

    item, config = request.node, request.config
    session, settings = _open(config), _asked_for(item, config)
    where, alone = device_and_backend(item), target(item)

    before = session.waits.mark()

    def publish(result: Measurement | Speedup) -> None:
        from .report.junit import attach

        if row is not None:
            row.fill(result)
        attach(item, result, *session.waits.since(before))

    live = LiveRuns(
        lambda: of_child(config, item),
        alone,
        config.invocation_params.dir,
        _apart(config),
        Child.of_environment(),
    )
    backend = where[1] if where else settings.backends[0]
    return (
        session,
        settings,
        Test(item.nodeid, _command(item), device, backend, live, publish, suspects.can_be_put_off(item)),
    )


def _command(item: pytest.Item) -> str:
    """What runs a test alone, for messages."""
    return " ".join(word for word in ("pytest", *map(_quoted, target(item)), item.config.stash[_flags]) if word)


def _quoted(word: str) -> str:
    """As one word of a command line."""
    if re.fullmatch(r"[\w./:=+,%@~\\-]*", word):
        return word
    return shlex.quote(word) if set(word) & set('"$`\\!') else f'"{word}"'  # double quotes are for every shell


def _apart(config: pytest.Config) -> list[str]:
    """Arguments of a child that keep it from what is this session's own: pytest empties some of it when it starts."""
    arguments = []
    if config.pluginmanager.has_plugin("cacheprovider"):
        arguments += ["-o", "cache_dir={}/cache"]  # what failed last is ours to remember
    if getattr(config.option, "basetemp", None):
        arguments.append("--basetemp={}/tmp")
    if getattr(config.option, "log_file", None) or (
        config.pluginmanager.has_plugin("logging") and config.getini("log_file")
    ):
        arguments.append("--log-file={}/log-file")
    return arguments


def _refuse_xdist(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        if config.stash[_settings].strict:
            pytest.fail(XDIST + " (--metal-strict is on)", pytrace=False)
        pytest.skip(XDIST)


# the session


def _open(config: pytest.Config) -> MetalSession:
    session = config.stash.get(_session, None)
    if session is None:
        from .session import open_session
        from .workloads.workload import WorkloadError

        hook = config.hook
        try:
            session = open_session(
                config.stash[_settings],
                config.rootpath,
                _answers(hook, "pytest_metalperf_models"),
                _answers(hook, "pytest_metalperf_backends"),
                _answers(hook, "pytest_metalperf_machine_facts"),
                _answers(hook, "pytest_metalperf_prepare"),
                _conftests(config),
            )
        except WorkloadError as error:
            raise pytest.UsageError(str(error)) from None
        session.on_measured = lambda measurement: hook.pytest_metalperf_measured(measurement=measurement)
        live = _live_line(config)
        if live is not None:
            session.show = live
        config.stash[_session] = session
    return session


def _conftests(config: pytest.Config) -> list[Path]:
    """The conftest.py files of the suite's folders, as far as they were loaded."""
    files = (Path(getattr(plugin, "__file__", None) or "") for plugin in config.pluginmanager.get_plugins())
    return sorted(file for file in files if file.name == "conftest.py")


def _answers(hook: Any, name: str) -> list[Any]:
    """What all that implement a hook return; one that fails is told by name and line, and ends the session."""
    try:
        found: list[Any] = getattr(hook, name)()
    except Exception as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        raise pytest.UsageError(
            f"{name} fails at {last.filename}:{last.lineno}: {type(error).__name__}: {error}"
        ) from error
    return found


def _live_line(config: pytest.Config) -> Callable[[Any], None] | None:
    from .report.terminal import Live

    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not reporter.isatty:
        return None
    return Live(reporter, config.pluginmanager.get_plugin("capturemanager"))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    mine = [item for item in session.items if ours(item)]
    if config.option.collectonly or hasattr(config, "workerinput"):
        return
    if not mine or _spread(config) or config.stash[_settings].metal == "off":
        _open_files(config)  # which then says that nothing was measured
        return
    from .baselines.errors import BaselineError
    from .measure.worker import WorkerError
    from .references.reference import BadReference

    config.stash[_mine] = mine
    opened = _open(config)
    try:  # a file or a reference that cannot be read ends the session before anything is measured
        if opened.settings.against:
            opened.reference  # noqa: B018
        elif opened.settings.update_baselines and opened.settings.metal != "smoke":
            opened.store.prepare()
        else:
            opened.store  # noqa: B018
    except (BaselineError, BadReference, WorkerError) as error:
        raise pytest.UsageError(str(error)) from None
    _open_files(config)
    opened.whole_suite = whole(config)
    _sigterm_is_ctrl_c(config)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and config.stash[_settings].metal != "smoke":
        from .judge.plan import expectations
        from .report import words

        expected = expectations(config, mine, opened, config.stash[_settings])
        reporter.write_line(words.announcement(len(mine), expected))
        if config.stash[_settings].plan:
            for line in words.plan(expected):
                reporter.write_line(line)


def _open_files(config: pytest.Config) -> None:
    """Begin the files of reports, so that one which cannot be written is found before anything is measured."""
    settings = config.stash[_settings]
    if not (settings.json or settings.html or settings.history) or settings.plan:
        return
    from .measure.live import CHILD
    from .report.files import Files, Unwritable

    if CHILD in os.environ:  # a child of metal_live: what it measures is in its parent's files
        return
    opened = _open(config)
    try:
        files = Files(opened, config.invocation_params.dir)
    except Unwritable as error:
        raise pytest.UsageError(str(error)) from None
    opened.on_finished, opened.on_put_off = files.add, files.write
    config.stash[_files] = files


def _sigterm_is_ctrl_c(config: pytest.Config) -> None:
    """A cancelled CI job ends by SIGTERM: what was measured until then is printed too. A second one ends at once."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return
    mine = os.getpid()

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() != mine:  # a fork of this process, which its parent ends
            os.kill(os.getpid(), signal.SIGTERM)
        raise KeyboardInterrupt

    def restore() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, end)
    config.add_cleanup(restore)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    config = session.config
    if not config.stash[_settings].plan:
        return None
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if config.stash.get(_session, None) is None and reporter is not None:
        reporter.write_line(
            "metalperf: nothing to plan: no performance tests are measured here (--metal off, pytest-xdist?)"
        )
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """One of our tests; a suspect runs again at the end of the session."""
    opened = item.config.stash.get(_session, None)
    if opened is None:
        return None
    return suspects.run_test(item, nextitem, opened.suspects, opened.unavailable, opened.forget) or None


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Of pytest-timeout: our own waits do not count."""
    suspects.timed(item, settings)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    suspects.timed(item, None)


def _spread(config: pytest.Config) -> bool:
    return bool(getattr(config.option, "numprocesses", None)) or getattr(config.option, "dist", "no") != "no"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    opened, files = session.config.stash.get(_session, None), session.config.stash.get(_files, None)
    if files is not None:
        ran = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
        files.end(whole=exitstatus in ran and not (session.shouldstop or session.shouldfail))
    if opened is not None:
        if session.shouldstop or session.shouldfail:
            opened.whole_suite = False
        if opened.settings.metal != "smoke" and opened.results:
            from .judge.plan import remember

            remember(session.config, opened.took_by_test())
        opened.close()


# reports


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    opened = item.config.stash.get(_session, None)
    suspects.note(item, report, None if opened is None else opened.suspects)
    if call.excinfo is not None and ours(item):
        from .bench import Broken

        if call.excinfo.errisinstance(Broken):
            report.user_properties = [*report.user_properties, (_word, "error")]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """`error` for what broke, and its own word for what passed without having been gated."""
    if report.when not in ("setup", "call"):  # others have no properties
        return None
    verdicts = [
        value
        for name, value in report.user_properties  # anyone's: a name may be of any type
        if isinstance(name, str) and name.startswith("metal_") and name.endswith("verdict")
    ]
    if suspects.PROPERTY[1] in verdicts:
        return "", "s", "SUSPECTED"
    if report.when != "call":
        return None
    if report.failed and "error" in verdicts:
        return "error", "E", "ERROR"
    if report.passed:
        for word, letter in (("inconclusive", "i"), ("no baseline", "n"), ("machine", "m")):
            if word in verdicts:
                return word, letter, word.upper()
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    opened, files = config.stash.get(_session, None), config.stash.get(_files, None)
    for problem in files.problems if files is not None else ():
        terminalreporter.write_line(problem, yellow=True)
    if opened is None:
        return
    if opened.results or opened.skipped or opened.refused or opened.suspects.waiting:
        from .report.terminal import closing, table

        terminalreporter.section("training performance")
        rows = table(opened.results) if opened.results else []
        for line, colour in [*rows, *closing(opened)]:
            terminalreporter.write_line(line, **({colour: True} if colour else {}))
    for line in _on_github(terminalreporter, config, opened):
        terminalreporter.write_line(line)


def _on_github(reporter: pytest.TerminalReporter, config: pytest.Config, opened: MetalSession) -> list[str]:
    """Tell GitHub what was found; lines for the terminal. A child of metal_live leaves that to its parent."""
    if not {"GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"} & os.environ.keys():
        return []
    from .measure.live import CHILD
    from .report.github import ANNOTATES, lines

    if opened.settings.plan or CHILD in os.environ:
        return []
    return lines(
        opened,
        [report for reports in reporter.stats.values() for report in reports],
        {item.nodeid: _command(item) for item in config.stash.get(_mine, [])},
        (config.rootpath, config.invocation_params.dir),
        os.environ,
        annotated=config.pluginmanager.has_plugin(ANNOTATES),
    )
