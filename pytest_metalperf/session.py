"""What one pytest session gathers: who measures, what is asked, what was measured and what is said at the end."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .baselines.file import Store
from .baselines.update import Updates
from .measure.budget import Budget
from .measure.forecast import Took, took
from .measure.plan import Plan, Progress
from .measure.preparing import functions, set_by
from .measure.waits import Waits
from .references.git import Revision, refusal, revision
from .results.measurement import Measurement, Speedup
from .results.metrics import PREPARED_BESIDE
from .results.peak import Peak, peak_of
from .results.run import Run
from .settings import AUTO, SettingError, Settings, baselines_folder, call_keys, devices, installed
from .suspects import Suspects
from .worker.backends import BACKENDS
from .worker.clock import RealTime
from .worker.machine import MachineFacts, machine_facts, slug
from .workloads.builders import own_defaults, parameters_of, plain_defaults, source_of
from .workloads.models import Known, Model, find, known_models
from .workloads.workload import DEFAULTS, Axis, Workload, WorkloadError, checked_axes, checked_name

if TYPE_CHECKING:
    from .baselines.schema import Entry
    from .gate import Judgement
    from .measure.fleet import Fleet
    from .measure.in_turn import Turns
    from .measure.worker import WorkerError
    from .references.environment import Environments
    from .references.reference import Reference
    from .references.replay import Recipes, Today

Listener = Callable[[Measurement | Speedup], None]
Finished = Callable[[Measurement | Speedup, Settings, str], None]
"""Is called with a result, the settings of its call, and the command that runs its test alone."""


@dataclass
class _Claim:
    """Whose an id is: the builder and the whole axes, and the tests that have asked for them."""

    source: Mapping[str, Any]
    axes: Mapping[str, Axis]
    tests: set[str] = field(default_factory=set)


@dataclass
class MetalSession:
    """One invocation of pytest.

    Attributes:
        settings: session-wide options.
        rootdir: of pytest; baselines and commits are its.
        models: by name.
        backends: name -> how a worker finds it (our own: the name alone).
        calls: how a worker finds the functions that set its framework up.
        set_elsewhere: what conftest.py files set of frameworks, which no worker sees; empty where the suite prepares them.
        show: shows how far measuring is.
        results: every measurement and speedup, in order, one per call of a fixture.
        unavailable: places such as `gpu:tensorflow` that were skipped, with the reason.
        skipped: tests that could not be measured, with the reason of each.
        refused: those of them that failed for it, since a device was required.
        suspects: tests whose first look was suspicious.
        waits: what was waited for so far.
        budget: time for what a first look leaves open.
        looks: what the stored figures say of each workload's fresh runs so far, by id, also of tests that were put off;
            without runs under unusual load, and without workloads whose work is known to have changed.
    """

    settings: Settings
    rootdir: Path
    models: Mapping[str, Known]
    backends: Mapping[str, Mapping[str, Any] | str]
    extra_facts: Mapping[str, str] = field(default_factory=dict)
    calls: Sequence[Mapping[str, Any]] = ()
    set_elsewhere: Sequence[str] = ()
    show: Callable[[Progress | None], None] = lambda progress: None
    on_measured: Listener = lambda measurement: None
    on_finished: Finished = lambda result, settings, command: None
    on_put_off: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.since = RealTime.monotonic()
        self.started = RealTime.utc("%Y-%m-%dT%H:%M:%SZ")
        self.id = f"{RealTime.utc('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:4]}"
        self.results: list[Measurement | Speedup] = []
        self.suspects = Suspects()
        self.waits = Waits()
        self.updates = Updates()
        self.budget = Budget(self.settings.budget)
        self.looks: dict[str, Judgement] = {}
        self.unavailable: dict[str, str] = {}
        self.skipped: list[tuple[str, str]] = []
        self.refused: list[tuple[str, str]] = []
        self.took: dict[str, Took] = {}
        self.whole_suite = False
        self._fleet: Fleet | None = None
        self._store: Store | None = None
        self._facts: MachineFacts | None = None
        self._probes: dict[tuple[str, str], str | WorkerError] = {}
        self._runs: dict[tuple[str, str, str], list[Run]] = {}
        self._pairs: dict[tuple[str, str, str], list[tuple[Turns, Turns]]] = {}
        self._reference: Reference | None = None
        self._recipes: Recipes | None = None
        self._environments: Environments | None = None
        self._todays: dict[tuple[str, str], Today | None] = {}
        self._claims: dict[str, _Claim] = {}
        self._revision: Revision | None = None

    def on_progress(self, progress: Progress | None) -> None:
        """Hear how far measuring is."""
        self.waits.observe(progress)
        self.show(progress)

    # who measures

    @property
    def fleet(self) -> Fleet:
        """The workers; the first use starts the machinery."""
        if self._fleet is None:
            from .measure.fleet import Fleet  # execnet: only when something is measured

            self._fleet = Fleet(
                host=self.settings.host,
                timeout=self.settings.timeout,
                wait_seconds=self.settings.wait,
                session=self.id,
                calls=self.calls,
            )
        return self._fleet

    @property
    def facts(self) -> MachineFacts:
        """The machine that trains.

        Raises:
            WorkerError: when it is another machine that cannot be reached.
        """
        if self._facts is None:
            found = machine_facts() if self.local else self._remote_facts()
            self._facts = replace(found, id=slug(self.settings.machine)) if self.settings.machine else found
        return self._facts

    @property
    def local(self) -> bool:
        """Whether workers run on this machine."""
        return not self.settings.host or self.settings.host.startswith("popen")

    def _remote_facts(self) -> MachineFacts:
        plain = dict(self.fleet.facts())
        return MachineFacts(**{**plain, "gpus": tuple(plain["gpus"])})

    @property
    def store(self) -> Store:
        """The baselines of this machine.

        Raises:
            BaselineError: for a file that cannot be read.
        """
        if self._store is None:
            self._store = Store(baselines_folder(self.settings, self.rootdir), self.facts.id)
        return self._store

    @property
    def reference(self) -> Reference:
        """What --metal-against names.

        Raises:
            BadReference: in one sentence, when it is neither an interpreter nor a revision.
        """
        if self._reference is None:
            from .references.reference import find
            from .references.requirements import is_requirements, of_requirements

            named = self.settings.against
            found = of_requirements(named, self.environments) if is_requirements(named) else find(named, self.rootdir)
            self._reference = found
        return self._reference

    @property
    def environments(self) -> Environments:
        """Where the packages of others are installed."""
        if self._environments is None:
            from .references.environment import Environments  # packaging: only where something is installed

            self._environments = Environments(waiting=self._installing)
        return self._environments

    @property
    def recipes(self) -> Recipes:
        """How the baselines of this session's folder are trained again."""
        if self._recipes is None:
            from .references.replay import Recipes  # git, and packaging: only where a recipe is stored or followed

            self._recipes = Recipes(self.rootdir, self.store.path.parent, self.environments)
        return self._recipes

    def built(self, reference: Reference, lacks: str) -> Reference:
        """The same reference, with the project of the repository: built from its code where that is other code.

        Args:
            reference: whose workers import other code, or none.
            lacks: the top-level module that they do not find; empty where they find another.

        Raises:
            NoBuild: in a clause, where that is impossible.
        """
        from .references.code import top_of  # git, and packaging: only where a project is installed
        from .references.project import built, lent

        try:
            top = top_of(self.rootdir)
            if lacks and top is not None and reference.interpreter.moved is None:
                return lent(reference, top, lacks, self.fleet.folder)
            return built(reference, self._installing)
        finally:
            self.on_progress(None)

    def _installing(self, what: str, seconds: float) -> None:
        self.on_progress(Progress("replay", "this machine", what, int(seconds)))

    def today(self, workload: Workload) -> Today | None:
        """What the runs of a workload trained with, by the one whose worker was asked; None where none was."""
        return self._todays.get((workload.id, repr(workload.source)))

    def elsewhere(self, workload: Workload) -> tuple[str, Entry] | None:
        """Another machine that has recorded how to train a workload, and its entry; None where none has."""
        return self.recipes.elsewhere(workload.id, self.store.machine)

    def _needs_recipe(self, workload: Workload) -> bool:
        """Whether a run of it must tell what it had loaded: to be stored, or to be compared with what is."""
        if (
            not self.local
            or workload.source.get("kind") not in ("import", "reference")
            or self.settings.metal == "smoke"
        ):
            return False
        stored = self.store.workloads.get(workload.id)
        if self.settings.update_baselines or stored is not None:
            return self.settings.update_baselines or (stored is not None and stored.accepted is not None)
        return self.elsewhere(workload) is not None

    def missing_device(self, device: str, backend: str) -> str:
        """Why `device` cannot be used with `backend`, or nothing if it can. The CPU is always there.

        Raises:
            WorkerError: when the backend cannot be imported at all.
        """
        if device == "cpu" or device == "live":
            return ""
        if (device, backend) not in self._probes:
            self._probes[device, backend] = self._probed(device, backend)
        reason = self._probes[device, backend]
        if not isinstance(reason, str):
            raise reason.with_traceback(None)
        if reason:
            self.unavailable[f"{device}:{backend}"] = reason
        return reason

    def _probed(self, device: str, backend: str) -> str | WorkerError:
        """Why `device` is missing, or what broke: a probe that hangs costs a whole timeout, so it is not tried again."""
        from .measure.worker import WorkerError  # execnet: only when something is measured

        source = self.backend_source(backend)
        self.on_progress(Progress(backend, device, "looking for devices"))
        try:
            missing = self.fleet.probe(source, device).missing
            if not missing and self.settings.against:
                there = self.fleet.probe(self.reference.moved(source), device, self.reference.interpreter).missing
                missing = f"with {self.reference.name}: {there}" if there else ""
        except WorkerError as error:
            return error
        finally:
            self.on_progress(None)
        return missing

    def backend_source(self, name: str) -> Mapping[str, Any] | str:
        """How a worker finds the backend called `name`.

        Raises:
            WorkloadError: that lists what there is.
        """
        if name == AUTO:
            raise WorkloadError(
                f"--metal-backend auto cannot choose: {' and '.join(installed())} are installed, and TensorFlow is not;"
                f" name one, such as metal_backend = {installed()[0]} in the ini file, or the marker's backend"
            )
        if not isinstance(name, str) or name not in self.backends:
            raise WorkloadError(f"unknown backend {name!r}: there are {', '.join(sorted(self.backends))}")
        return self.backends[name]

    # what is asked

    def checked_device(self, device: str, backend: str) -> str:
        """A device by its one name, where there is such a device and such a backend.

        Raises:
            WorkloadError: in one sentence.
        """
        self.backend_source(backend)
        return _checked_device(device)

    def workload(
        self,
        model: str | Callable[..., Any],
        *,
        name: str | None,
        device: str,
        backend: str,
        axes: Mapping[str, Any],
        settings: Settings,
        nodeid: str = "",
    ) -> Workload:
        """What a test, `nodeid`, asked for.

        Raises:
            WorkloadError: in one sentence.
        """
        device = self.checked_device(device, backend)
        if isinstance(model, str):
            known = find(model, self.models)
            known.check_backend(backend)
            called = checked_name(model if name is None else name)
            source, takes = known.source, known.takes
            sized = {**known.own, **known.sizes.get(settings.size, {})}
            defaults = {key: value for key, value in known.defaults.items() if key not in sized}
        elif callable(model):
            if name is None and not hasattr(model, "__name__"):
                source_of(model, type(model).__name__)  # which says what to write instead
            called = checked_name(getattr(model, "__name__", "") if name is None else name)
            if called == "<lambda>":
                raise WorkloadError('a lambda has no name: give it one, metal_bench(lambda: …, name="…")')
            source, sized, takes = source_of(model, called), {}, parameters_of(model)
            defaults = plain_defaults(model)
        else:
            raise WorkloadError(
                f"metal_bench takes a model's name or a function that builds one, got {type(model).__name__} {model!r};"
                " for a model that exists already there is metal_live"
            )
        asked = checked_axes({**(own_defaults(model) if callable(model) else {}), **axes}, called)
        unknown = sorted(set(asked) - set(DEFAULTS) - takes) if takes is not None else []
        if unknown:
            raise WorkloadError(
                f"{called} does not take {', '.join(unknown)}: its axes are {', '.join([*sorted(takes or ()), *DEFAULTS])};"
                f" settings of a call are {', '.join(sorted(call_keys()))}"
            )
        workload = Workload(
            name=called, device=device, backend=backend, axes={**sized, **asked}, source=source, defaults=defaults
        )
        self.claim(workload, nodeid)
        return workload

    def claim(self, workload: Workload, nodeid: str) -> None:
        """One id, one builder and one kind of work: two that differ would overwrite each other's baseline.

        Raises:
            WorkloadError: for a workload whose id another test of this session has given to something else.
        """
        known = self._claims.setdefault(workload.id, _Claim(workload.source, workload.whole_axes))
        if known.source != workload.source:
            raise WorkloadError(
                f"two different builders are both called {workload.id} in this session"
                f" ({known.source.get('name')} and {workload.source.get('name')}): give one of them another name=…"
            )
        if known.axes != workload.whole_axes:
            raise WorkloadError(
                f"two different works are both called {workload.id} in this session"
                f" ({known.axes} and {workload.whole_axes}): give one of them another name=…"
            )
        known.tests.add(nodeid)

    # what is measured

    def kept(self, workload: Workload, plan: Plan) -> list[Run]:
        """The fresh runs of this session so far, of this very builder: two closures may bear one name in turn."""
        return self._runs.setdefault((workload.id, repr(workload.source), repr(plan)), [])

    def kept_pairs(
        self,
        id: str,  # noqa: A002
        plan: Plan,
        *workloads: Workload,
        unchecked: bool = False,
    ) -> list[tuple[Turns, Turns]]:
        """The fresh pairs of this session so far, of these very builders, their parity unchecked where that was wanted."""
        sources = repr([unchecked, *(workload.source for workload in workloads)])
        return self._pairs.setdefault((id, sources, repr(plan)), [])

    def runs(self, workload: Workload, plan: Plan, count: int) -> list[Run]:
        """At least `count` fresh runs of `workload`; those of an earlier test of this session count.

        Raises:
            WorkerError: when one breaks.
        """
        runs = self.kept(workload, plan)
        missing = count - len(runs)
        if missing > 0:

            def progress(phase: str, i: int, n: int, which: int) -> None:
                self.on_progress(
                    Progress(workload.label, workload.device, phase, i, n, min(count, len(runs) + which + 1), count)
                )

            since, before = RealTime.monotonic(), len(runs)
            backend, look = self.backend_source(workload.backend), not runs and self._needs_recipe(workload)
            rate = not runs and self.settings.metal != "smoke"
            try:
                for run in self.fleet.run(workload, backend, plan, missing, progress, look=look, rate=rate):
                    if run.loaded is not None:
                        self._todays[workload.id, repr(workload.source)] = self.recipes.today(workload, run)
                    runs.append(replace(run, loaded=None))  # a list of all that is installed, for each workload
            finally:
                self.on_progress(None)
            if workload.id not in self.took and not plan.sustained:
                measured = [sum(run.samples) * run.batches_per_block for run in runs[before:]]
                beside = [run.conditions.get(PREPARED_BESIDE, 0.0) for run in runs[before:]]
                self.took[workload.id] = took(workload.id, RealTime.monotonic() - since, measured, beside)
        return list(runs)

    def peak(self, workload: Workload) -> Peak:
        """The rate of products that a fresh run of it has measured, or why there is none."""
        source = repr(workload.source)
        return peak_of(
            run for (id_, of, _), runs in self._runs.items() if (id_, of) == (workload.id, source) for run in runs
        )

    @property
    def fresh_runs(self) -> list[tuple[str, Run]]:
        """Every run that was no half of a pair, with the id of its workload."""
        return [(id_, run) for (id_, *_), runs in self._runs.items() for run in runs]

    @property
    def fresh_pairs(self) -> list[tuple[str, tuple[Turns, Turns]]]:
        """Every pair, with the id of its workload or speedup (`… replay` for a replay's): ours before theirs, over before of."""
        return [(id_, pair) for (id_, *_), pairs in self._pairs.items() for pair in pairs]

    def wait_since_look(self, workload: Workload, seconds: float) -> None:
        """Wait until so long after the first time that this was asked for, since runs in a row share a slow minute."""
        waiting = Progress(workload.label, workload.device, "waiting for a slow minute to pass")
        since = RealTime.monotonic()
        try:
            self.suspects.wait(workload.id, seconds, lambda: self.on_progress(waiting))
        finally:
            self.waits.slow_minutes += RealTime.monotonic() - since
            self.on_progress(None)

    def took_by_test(self) -> dict[str, list[Took]]:
        """What the workloads of each test took, by the test's id."""
        found: dict[str, dict[str, Took]] = {}
        for result in self.results:
            if isinstance(result, Measurement) and result.workload.id in self.took:
                found.setdefault(result.nodeid, {})[result.workload.id] = self.took[result.workload.id]
        return {nodeid: list(took.values()) for nodeid, took in found.items()}

    def largest_that_fitted(self, workload: Workload) -> int | None:
        """The largest batch size at which the same work is known to have trained here, from this session and the store."""
        size = workload.axes.get("batch_size")
        pattern = re.compile(re.sub(rf"(?<=[\[,])b{size}(?=[,\\])", r"b(\\d+)", re.escape(workload.id), count=1))
        ids = [r.workload.id for r in self.results if isinstance(r, Measurement) and r.runs and not r.error]
        found = [pattern.fullmatch(key) for key in (*ids, *self.store.workloads)]
        sizes = [int(match[1]) for match in found if match is not None and match.groups()]
        return max((one for one in sizes if isinstance(size, int) and one < size), default=None)

    @property
    def stored_facts(self) -> dict[str, Any]:
        """What a baseline file says of the machine: no versions, which upgrades change."""
        return {**self.extra_facts, **{key: value for key, value in self.facts.as_dict().items() if key != "os"}}

    @property
    def revision(self) -> Revision:
        """The revision of rootdir when the session first asked; what it records while it runs changes nothing of it."""
        if self._revision is None:
            self._revision = revision(self.rootdir)
        return self._revision

    @property
    def no_revision(self) -> str:
        """Why no commit is stored though there is a repository: git's own reason; empty otherwise."""
        return refusal(self.rootdir) if self.revision.commit is None else ""

    def finish(self, result: Measurement | Speedup, settings: Settings, command: str) -> None:
        """Keep a result for the reports, and tell whoever listens.

        Args:
            result: of one call of a fixture.
            settings: of that call.
            command: that runs its test alone.
        """
        self.suspects.finished(result.nodeid)
        self.results.append(result)
        self.on_finished(result, settings, command)
        if isinstance(result, Speedup) or not self.suspects.is_known(result.nodeid, result.workload.id):
            self.on_measured(result)

    def forget(self, nodeid: str) -> list[str]:
        """Take out what a test found, since it will be run again; the ids of what it measured. Its runs are kept.

        What a closure of that test captures, such as a path, may be another the next time; other tests' claims stay.
        """
        mine = [result for result in self.results if result.nodeid == nodeid]
        self.results = [result for result in self.results if result.nodeid != nodeid]
        for id_, claim in list(self._claims.items()):
            if claim.source.get("kind") == "pickle" and claim.tests == {nodeid}:
                del self._claims[id_]
        self.on_put_off()
        return [result.workload.id for result in mine if isinstance(result, Measurement)]

    def close(self) -> None:
        """End all workers, and remove what a reference needed."""
        try:
            if self._fleet is not None:
                self._fleet.close()
        finally:
            if self._reference is not None:
                self._reference.close()
            if self._recipes is not None:
                self._recipes.close(unused=bool(self.updates.recorded))
            if self._environments is not None:
                self._environments.close()


def known_backends(added: Iterable[Mapping[str, Callable[[], Any]]]) -> dict[str, Mapping[str, Any] | str]:
    """All backends by name: our own as their name, a plugin's as the place of its class."""
    found: dict[str, Mapping[str, Any] | str] = {name: name for name in BACKENDS}
    for backends in added:
        if not isinstance(backends, Mapping):
            raise WorkloadError(f"pytest_metalperf_backends: expected a dict of classes, got {type(backends).__name__}")
        for name, backend in backends.items():
            found[checked_name(name)] = source_of(backend, name)
    return found


def open_session(
    settings: Settings,
    rootdir: Path,
    models: Iterable[Iterable[Model]],
    backends: Iterable[Mapping[str, Callable[[], Any]]],
    facts: Iterable[Mapping[str, str]],
    prepare: Iterable[Callable[[], object]] = (),
    conftests: Iterable[Path] = (),
) -> MetalSession:
    """A session from what options, hooks and the suite's conftest.py files say.

    Raises:
        WorkloadError: in one sentence, for models, backends or functions that cannot be.
    """
    extra: dict[str, str] = {}
    for more in facts:
        if not isinstance(more, Mapping):
            raise WorkloadError(f"pytest_metalperf_machine_facts: expected a dict of texts, got {type(more).__name__}")
        if odd := [
            pair for pair in more.items() if not all(isinstance(one, str) and one.isprintable() for one in pair)
        ]:
            raise WorkloadError(f"pytest_metalperf_machine_facts: expected printable texts, got {str(odd[0])[:100]}")
        extra.update(more)
    calls = functions(prepare)
    elsewhere = [] if calls else set_by(conftests)
    return MetalSession(settings, rootdir, known_models(models), known_backends(backends), extra, calls, elsewhere)


def _checked_device(device: object) -> str:
    try:
        (name,) = devices([device])
    except (SettingError, ValueError) as error:
        raise WorkloadError(f"device={device!r}: {error}") from None
    return name
