"""The objects behind the fixtures, and the one path: ask -> measure -> gate -> verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import pytest

from .judge.against_baseline import judged
from .judge.against_reference import compared
from .judge.replay import system_differs
from .judge.speedup import NOT_WANTED, compare, variants
from .judge.sustained import sustained, sustained_plan
from .measure.home import home_of
from .measure.live import LiveRuns, LiveWorkload
from .measure.plan import plan_of
from .measure.worker import WorkerError
from .report import metrics as gated
from .report import replays, speedups, words
from .report import sustained as long_run
from .results.measurement import Measurement, Speedup
from .results.run import Run
from .session import MetalSession
from .settings import SettingError, Settings, call_keys, marker_keys
from .worker.observers import observer
from .workloads.workload import Workload, WorkloadError, checked_axes, checked_name

_OF_ONE_WORKLOAD = {"metrics", "on_missing", "strict_work", "sustained", "sustained_tolerance"}
"""Settings of a call that say nothing of two variants."""


class Broken(pytest.fail.Exception):  # type: ignore[misc, name-defined]
    """A measurement that broke: an error, never `slower`."""

    __module__ = "builtins"  # as pytest's own outcomes do: short in the summary


@dataclass(frozen=True)
class Test:
    """The test that asks.

    Attributes:
        nodeid: pytest's name of it.
        command: the command line that runs it alone, for messages.
        device: the device it is parametrised with; None in a unittest class.
        backend: likewise.
        live: what `metal_live` needs to run this test alone in another process.
        publish: takes a finished result to the reports that hang on the test (a table row, properties).
        later: whether it can be run again at the end of the session, after other tests that measure.
    """

    nodeid: str
    command: str
    device: str | None
    backend: str
    live: LiveRuns
    publish: Callable[[Measurement | Speedup], None]
    later: bool = False


class _OfTest:
    """What every fixture's object knows: the session, this test's settings, the test."""

    def __init__(self, session: MetalSession, settings: Settings, test: Test) -> None:
        self._session = session
        self._settings = settings
        self._test = test

    def _asked(self, keywords: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
        """Settings and axes of a call. A child of `metal_live` is there for that alone: one batch of all else will do."""
        __tracebackhide__ = True
        settings, axes = _split(self._settings, keywords)
        return settings if self._test.live.child is None else replace(settings, metal="smoke"), axes


class MetalBench(_OfTest):
    """`metal_bench(model, …)`: train in fresh processes, compare with the baseline, fail when slower."""

    def __call__(
        self,
        model: str | Callable[..., Any],
        /,
        *,
        name: str | None = None,
        device: str | None = None,
        backend: str | None = None,
        **keywords: Any,
    ) -> Measurement:
        """Measure one workload and judge it.

        Args:
            model: the name of a reference or registered model, or a function that returns a compiled `keras.Model`
                with one batch, what its framework's users train in the place of one, a `Step`, or a zero-argument step.
            name: under which the baseline is stored; the model's or function's own by default.
            device: `cpu`, `gpu`, `gpu:1`, in a unittest class; elsewhere it is the test's parameter, and no other.
            backend: likewise.
            keywords: axes (`batch_size`, `image_size`, `precision`, `jit_compile`, any that the builder declares)
                and settings (`batches`, `warmup`, `runs`, `tolerance`, `max_runs`, `size`, …).

        Returns:
            The measurement, with its verdict. Seconds are per batch.

        Raises:
            pytest.fail.Exception: when it is slower, broke, or misses a baseline that it must have.
            pytest.skip.Exception: when the device is not there.
        """
        __tracebackhide__ = True
        settings, axes = self._asked(keywords)
        long = settings.sustained is not None and settings.metal != "smoke"
        if long:
            _not_against(
                self._session,
                self._test.nodeid,
                settings,
                "a sustained run is judged by itself, not by --metal-against",
            )
        test = self._test
        device = test.device if device is None else device
        if device is None:
            raise Broken(words.not_parametrised(test.nodeid), pytrace=False)
        backend = test.backend if backend is None else backend
        try:
            device = self._session.checked_device(device, backend)
            if test.device is not None and (device, backend) != (test.device, test.backend):
                raise WorkloadError(words.of_another_test(test.nodeid, (test.device, test.backend), (device, backend)))
            workload = self._session.workload(
                model, name=name, device=device, backend=backend, axes=axes, settings=settings, nodeid=self._test.nodeid
            )
            theirs = self._session.reference.workload(workload) if settings.against else None
            missing = self._session.missing_device(workload.device, workload.backend)
        except WorkloadError as error:
            raise Broken(str(error), pytrace=False) from None
        except WorkerError as error:
            raise Broken(words.broken(error.message, error.details), pytrace=False) from None
        if missing:
            refuse_or_skip(self._session, self._test.nodeid, missing, settings)

        plan = sustained_plan(settings) if long else plan_of(settings)

        def measure(count: int) -> list[Run]:
            return self._session.runs(workload, plan, count)

        if long:
            measurement = sustained(self._session, workload, settings, measure, self._test.nodeid)
        elif theirs is not None:
            measurement = compared(self._session, workload, settings, plan, self._test.nodeid, theirs)
        else:
            measurement = judged(self._session, workload, settings, measure, self._test.nodeid, later=self._test.later)
        measurement.peak = self._session.peak(workload)
        measurement.notes += filter(None, [words.unknown(measurement)])
        conclude(self._session, self._test, measurement, settings)
        return measurement


class MetalLive(_OfTest):
    """`metal_live(step, name=…)`: objects of the pytest process, trained where they are."""

    def __init__(self, session: MetalSession, settings: Settings, test: Test) -> None:
        super().__init__(session, settings, test)
        self._called: set[str] = set()

    def __call__(self, step: Callable[[], Any], /, *, name: str, **keywords: Any) -> Measurement:
        """Measure `step`, a zero-argument function that trains one batch and returns a device value or a loss.

        The first look happens in this process. Baselines and confirmations come from child processes that run this
        test alone. Whether weights change cannot be checked, and the result says so.

        Raises:
            pytest.fail.Exception: when it is slower, broke, or misses a baseline that it must have.
        """
        __tracebackhide__ = True
        settings, axes = _split(self._settings, keywords)
        _not_against(self._session, self._test.nodeid, settings)
        if not self._session.local:
            refuse_or_skip(self._session, self._test.nodeid, "metal_live trains here, not on --metal-host", settings)
        try:
            called = checked_name(name)
            _no_settings(axes)
            source = {"kind": "live", "name": self._test.nodeid}
            backend, where = home_of(step)
            workload = Workload(called, "live", backend, checked_axes(axes, called), source, where=where)
            self._session.claim(workload, self._test.nodeid)
            if workload.label in self._called:  # no child could tell the second from the first
                raise WorkloadError(
                    f"metal_live was called twice with name={called!r} in one test: give each its own name"
                )
            self._called.add(workload.label)
        except WorkloadError as error:
            raise Broken(str(error), pytrace=False) from None
        if not callable(step):
            raise Broken(
                f"metal_live takes a function that trains one batch, got {type(step).__name__}:"
                " write metal_live(lambda: model.train_on_batch(x, y), name=…)",
                pytrace=False,
            )
        child = self._test.live.child
        if child is not None and child.label != workload.label:  # it is here for another call of the same test
            settings = replace(settings, metal="smoke")
        long = settings.sustained is not None and settings.metal != "smoke"
        plan = sustained_plan(settings) if long else plan_of(settings)
        runs = LiveWorkload(
            self._test.live,
            workload,
            step,
            plan,
            settings,
            self._session.kept(workload, plan),
            self._session.id,
            self._session.on_progress,
        )
        if child is not None and child.label == workload.label:
            child.serve(runs, self._session.waits)
        watching = observer()  # pytest --cov, a debugger: what trained here would be timed with it
        if long:
            measurement = sustained(self._session, workload, settings, runs.fresh, self._test.nodeid)
        else:
            measurement = judged(
                self._session,
                workload,
                settings,
                runs.fresh,
                self._test.nodeid,
                None if watching else runs.first_look,
                later=self._test.later,
            )
        measurement.notes.append("weights not checked: metal_live cannot see them")
        if watching:
            measurement.notes.append(f"measured in child processes alone, since {watching} is on in pytest's own")
        conclude(self._session, self._test, measurement, settings)
        return measurement


class MetalSpeedup(_OfTest):
    """`metal_speedup(model, at_least=3.0)`: two variants interleaved, and a promise about their ratio."""

    def __call__(
        self,
        model: str | Callable[..., Any],
        /,
        *,
        at_least: float | None = None,
        of: Mapping[str, Any] | None = None,
        over: Mapping[str, Any] | str | Callable[..., Any] | None = None,
        name: str | None = None,
        device: str | None = None,
        backend: str | None = None,
        parity: bool = True,
        **keywords: Any,
    ) -> Speedup:
        """Compare variant `of` with variant `over`: by default the GPU with the CPU.

        Where both have the same data they must first agree on loss and gradient norm from the same weights. Two models
        must begin with the same ones by themselves. A ratio that is stored for this machine must not shrink, whatever
        was promised.

        Args:
            model: as for `metal_bench`.
            at_least: the promised ratio of seconds, over / of; None measures without a promise.
            of: axes (and `device`, `backend`) of the variant that should be faster.
            over: those of the other; or another model in the place of `model`, by its name or its function.
            name: as for `metal_bench`; that of `model`.
            device: of both variants, where they do not name one.
            backend: of both variants, where they do not name one.
            parity: False compares times alone, of variants that need not compute the same.
            keywords: axes of both variants, and settings.

        Returns:
            The speedup with its 95 % interval, and the memory and energy of both sides.

        Raises:
            pytest.fail.Exception: when the interval lies below `at_least`, the speedup shrank, or something broke.
            pytest.skip.Exception: when a device is not there.
        """
        __tracebackhide__ = True
        settings, axes = self._asked(keywords)
        _not_against(self._session, self._test.nodeid, settings)
        if without := sorted(_OF_ONE_WORKLOAD & keywords.keys()):
            raise Broken(f"metal_speedup has no {', '.join(without)}: ask metal_bench for it", pytrace=False)
        backend = backend or self._test.backend
        try:
            two = variants(model, of, over, device=device, backend=backend, axes=axes, at_least=at_least)
            faster, slower = (
                self._session.workload(
                    v.model,
                    name=name if v.model is model else None,
                    device=v.device,
                    backend=v.backend,
                    axes=v.axes,
                    settings=settings,
                    nodeid=self._test.nodeid,
                )
                for v in two
            )
            missing = next(
                (why for w in (faster, slower) if (why := self._session.missing_device(w.device, w.backend))), ""
            )
            if faster.id == slower.id:
                raise WorkloadError(
                    f"metal_speedup compares {faster.id} with itself: say what differs, of={{…}}, over={{…}}"
                )
        except WorkloadError as error:
            raise Broken(str(error), pytrace=False) from None
        except WorkerError as error:
            raise Broken(words.broken(error.message, error.details), pytrace=False) from None
        if missing:
            refuse_or_skip(self._session, self._test.nodeid, missing, settings)
        unwanted = "" if parity else NOT_WANTED
        speedup = Speedup(of=faster, over=slower, at_least=at_least, nodeid=self._test.nodeid, parity=unwanted)
        compare(self._session, speedup, settings)
        self._session.finish(speedup, settings, self._test.command)
        self._test.publish(speedup)
        fails = speedup.verdict == "slower" or (speedup.verdict == "inconclusive" and settings.strict)
        speedup.failed = bool(speedup.error) or fails
        if speedup.error:
            raise Broken(speedup.error, pytrace=False)
        if fails:
            pytest.fail(speedups.failure(speedup, self._test.command), pytrace=False)
        return speedup


def conclude(session: MetalSession, test: Test, measurement: Measurement, settings: Settings) -> None:
    """Hand the result to the reports, then fail the test where it must fail.

    Raises:
        pytest.fail.Exception: with the whole story as its text.
    """
    __tracebackhide__ = True
    session.finish(measurement, settings, test.command)
    test.publish(measurement)
    measurement.failed = bool(measurement.error)
    if measurement.error:
        raise Broken(f"{measurement.workload.id}: {measurement.error}", pytrace=False)
    if texts := failures(session, measurement, settings, test.command):
        measurement.failed = True
        pytest.fail("\n".join(texts), pytrace=False)


def failures(session: MetalSession, measurement: Measurement, settings: Settings, command: str) -> list[str]:
    """Why a test fails whose measurement did not break, a text for each reason; empty where it passes."""
    texts = []
    long = measurement.sustained
    kind = words if measurement.replayed is None else replays
    if measurement.verdict == "slower":
        texts.append(kind.slower(measurement, command) if long is None else long_run.slower(measurement, long, command))
    if measurement.verdict == "inconclusive" and settings.strict:
        text = (
            kind.inconclusive(measurement, command)
            if long is None
            else long_run.inconclusive(measurement, long, command)
        )
        texts.append(text)
    if measurement.verdict == "machine" and settings.strict and (differs := system_differs(measurement)):
        texts.append(replays.on_another_system(measurement, differs, command))
    if measurement.verdict == "no baseline" and settings.fails_on_missing:
        store = session.store
        near = "" if settings.machine else store.near()  # a name that a person gave says nothing of memory
        texts.append(words.no_baseline(measurement, store.path.name, command, store.workloads, near))
    texts += [gated.worse(measurement, one, command) for one in measurement.metrics if one.worse]
    unsure = [one for one in measurement.metrics if one.verdict == "inconclusive" and settings.strict]
    texts += [gated.inconclusive(measurement, one, command) for one in unsure]
    explained = measurement.verdict in ("slower", "recorded")  # in its own text, or accepted
    if settings.strict_work and not explained and measurement.fingerprint_changes:
        texts.append(words.other_work(measurement, command))
    return texts


def refuse_or_skip(session: MetalSession, nodeid: str, reason: str, settings: Settings) -> None:
    """A device that is not there skips the test with the reason, or fails it where that was asked.

    Raises:
        pytest.fail.Exception: with --metal-require-gpu or --metal-strict.
        pytest.skip.Exception: otherwise.
    """
    __tracebackhide__ = True
    if settings.require_gpu or settings.strict:
        session.refused.append((nodeid, reason))
        option = "--metal-require-gpu" if settings.require_gpu else "--metal-strict"
        pytest.fail(f"{reason} ({option} is on, so this fails instead of skipping)", pytrace=False)
    session.skipped.append((nodeid, reason))
    pytest.skip(reason)


def _not_against(
    session: MetalSession, nodeid: str, settings: Settings, why: str = "--metal-against compares metal_bench alone"
) -> None:
    """Only what trains in fresh processes can train in a reference's."""
    __tracebackhide__ = True
    if settings.against:
        session.skipped.append((nodeid, why))
        pytest.skip(why)


def _no_settings(axes: Mapping[str, Any]) -> None:
    """Axes of `metal_live` are words of a name, which a misspelt setting must not become.

    Raises:
        WorkloadError: in one sentence.
    """
    wrong = [key for key in axes if key in ("device", "backend") or get_close_matches(key, call_keys(), cutoff=0.8)]
    if wrong:
        raise WorkloadError(
            f"metal_live: {', '.join(wrong)} is no setting of a call: there are {', '.join(sorted(call_keys()))}"
        )


def _split(settings: Settings, keywords: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """A call's keywords: settings go over the marker's, the rest are axes."""
    __tracebackhide__ = True
    own = {key: value for key, value in keywords.items() if key in marker_keys()}
    try:
        return settings.over(own, "this call", allowed=call_keys()), {k: v for k, v in keywords.items() if k not in own}
    except SettingError as error:
        raise Broken(str(error), pytrace=False) from None
