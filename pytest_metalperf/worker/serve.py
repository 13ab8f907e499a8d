"""A worker's side of the protocol: prepare, first batch, warm up, measure, close, with progress in between.

Requests are dicts `{"do": name, …}`. Answers are `{"done": name, "result": {…}}`, `{"progress": phase, "i", "n"}`
and `{"error": {kind, message, traceback}}`; after an error the worker does nothing more.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .backends import BACKENDS, PRECISIONS, Backend, variables
from .clock import RealTime
from .fingerprint import ARITHMETIC
from .held import held_by
from .lock import WAIT_SECONDS, machine_lock, waiting_for
from .log import check_log, lines_of
from .loop import Trainable, block_length, fence_seconds, measure, run_block, undisturbed
from .machine import Watch, cool_down, keep_awake, machine_facts, per_batch, system_versions, user_interactive
from .problems import Problem, first_line, out_of_memory, sendable, user_traceback
from .process import Forks, die_with_parent, own_group
from .product import product_rate
from .sources import Source, call_builder, check_imports, load, move, takes
from .values import Reported, checked, is_finite, reported

SKIPPED_UPDATES = 20  # a loss scale that starts at 2**15 and halves with every update it skips is at its end by then
SETTLING_STEPS = 2  # untimed, after each switch between the two of a pair: clocks and caches come back up
SAME = 1e-3  # relative, of two computations of one thing on one device, which may add in another order
LOOKS = (*[1] * SKIPPED_UPDATES, 12, 32)  # steps before each: a train step may gather gradients without saying so

MOST_SHOWN = 100
"""Steps of a warm-up whose times are kept: they are looked at, never judged."""

OF_A_MODEL = {"precision": "float32", "jit_compile": False, "remat": False, "input": "device"}
"""Axes that act on the model which a builder returns, and what leaves it as it is."""


class Job:
    """One workload in this process, from its framework's import to its last block."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self.send = send
        self.backend: Backend
        self.trainable: Trainable
        self.name = ""
        self.device = "cpu"
        self.examples: int | None = None
        self.precision = "float32"
        self.bare = False
        """Whether this is a step of the user's own, with no weights to look at."""
        self.own_precision = False
        """Whether the user's own code makes it compute in the precision that its name says."""
        self.log: Path | None = None
        """Where this process's stdout and stderr go, if that is a file."""
        self.stoppable = False
        """Whether Ctrl-C, `pytest.skip` and the like go through, as they must in the pytest process."""
        self.watch: Watch | None = None
        """Over all blocks of a pair that takes turns; None otherwise."""
        self.steps_per_block = 1
        self.step_seconds = 0.0
        self.first_loss = 0.0
        self.before: list[int] | None = None
        self.last_sent = 0.0
        self.arithmetic: list[str] = []
        """In which the step's products and convolutions are computed, once it was looked at."""
        self.wait_seconds = WAIT_SECONDS
        """Seconds that another measurement on the machine is waited for."""
        self.forks = Forks()

    def progress(self, phase: str, i: int = 0, n: int = 0, *, always: bool = False) -> None:
        """Tell the parent how far we are, at most four times a second."""
        self.forks.end_a_copy()
        now = RealTime.monotonic()
        if always or now - self.last_sent > 0.25:
            self.last_sent = now
            self.send(sendable({"progress": phase, "i": i, "n": n}))

    def waiting(self, seconds: float) -> None:
        self.progress(waiting_for(), int(seconds), 0, always=True)

    def _machine(self, *, exclusive: bool) -> AbstractContextManager[None]:
        return machine_lock(exclusive=exclusive, waiting=self.waiting, limit=self.wait_seconds)

    def cooling(self, heat: str, seconds: float) -> None:
        self.progress(f"cool down ({heat})", int(seconds), 0, always=True)

    def facts(self) -> dict[str, Any]:
        """Tell what machine this is; no framework is imported."""
        return machine_facts().as_dict()

    def look(self, backend: Source | str, device: str) -> dict[str, Any]:
        """Import the framework; tell its devices, and why `device` is not among them."""
        self.progress("import", always=True)
        self.backend = _backend(backend)
        devices = self.backend.devices()
        missing = "" if device in devices else self.backend.why_missing(device, devices)
        return {"devices": devices, "versions": self.backend.versions(), "missing": missing}

    def prepare(
        self,
        backend: Source | str,
        source: Source,
        name: str,
        device: str,
        axes: Mapping[str, Any],
        seed: int,
        calls: Sequence[Source] = (),
        modules: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Import the framework, set the device up, build the model and its optimizer, put the data on the device.

        The builder's module is imported before anything is computed: it may set threads, devices or data formats, which a
        framework takes no more once it has begun. `calls` are the suite's functions that set a framework up, and `modules`
        files of the user's as the asking process imported them.
        """
        self.name, self.device = name, device
        self.examples = axes.get("batch_size")
        keep_awake()
        user_interactive()  # this thread, which drives the training; before a framework sets anything of its own
        with self._machine(exclusive=False):
            start, set_by_user = RealTime.perf_counter(), variables()
            self.progress("import", always=True)
            self.backend = _backend(backend)
            self.backend.hide(device)
            self._guarded(lambda: [load(call)() for call in calls], "preparing")
            builder = self._guarded(lambda: load(source), "building")
            self.precision = str(axes.get("precision", "float32"))
            self.backend.set_up(device, self.precision, seed)
            imported = RealTime.perf_counter()
            self.progress("build", always=True)
            self.trainable = self._guarded(lambda: self._built(builder, name, axes), "building")
            check_imports(modules)
            self.examples = self.trainable.examples
            if self.trainable.checksums is not None:
                self.before = self.trainable.checksums()
            return {
                "import_seconds": imported - start,
                "build_seconds": RealTime.perf_counter() - imported,
                "versions": {**self.backend.versions(), **system_versions(device), **set_by_user},
                "examples": self.trainable.examples,
                "parameters": self.trainable.parameters,
                "unknown": list(self.trainable.unknown),
            }

    def _built(self, builder: Callable[..., Any], name: str, axes: Mapping[str, Any]) -> Trainable:
        with self.backend.scope():
            built = call_builder(builder, name, axes, self.backend.device_object(self.device))
        trainable = self.backend.trainable(built, name, axes)
        self.bare = trainable.checksums is None
        unreached = trainable.unreached
        if unreached is None:
            unreached = frozenset(OF_A_MODEL) if self.bare else frozenset()
        given = takes(builder)
        lost = [
            axis
            for axis, default in OF_A_MODEL.items()
            if axis in unreached and axes.get(axis, default) != default and not given(axis)
        ]
        if lost:
            what = trainable.description or "step"
            raise Problem(
                "builder",
                f"{name} returns a {what}, which {' and '.join(lost)} cannot reach: let the builder take that as an argument",
            )
        self.own_precision = "precision" in unreached
        return trainable

    def first_batch(self) -> dict[str, Any]:
        """Trace, compile and train the first batch; its time is its own figure."""
        with self._machine(exclusive=False):
            self.progress("first batch", always=True)
            start = self.backend.clock()
            values = self._guarded(self._fenced_step, "first batch")
            seconds = self.backend.clock() - start
            self._check_precision()
        self._check_device(values.outputs)
        self.first_loss = checked(values, "in the first batch")
        return {"first_batch_seconds": seconds, "first_loss": self.first_loss}

    def _fenced_step(self) -> Reported:
        outputs = self.trainable.step()
        return Reported(outputs, self.trainable.fence(outputs))

    def warm_up(self, batches: int) -> dict[str, Any]:
        """Train untimed batches, check that weights change, and choose the length of a block."""
        trainable, clock = self.trainable, self.backend.clock
        with self._machine(exclusive=False):
            steps = max(1, -(-batches // trainable.batches_per_step))
            times = []
            for i in range(steps):
                self.progress("warm-up", i, steps, always=i == 0)
                seconds, values = self._guarded(lambda: run_block(trainable, 1, clock), "warm-up")
                checked(values, "while warming up")
                times.append(seconds * trainable.batches_per_step)
            self._until_trained(steps)
            fence_cost = self._guarded(lambda: fence_seconds(trainable, trainable.step(), clock), "warm-up")
        # each of these blocks of one step held a fence too; the tenth is for clocks that have seen less than that
        self.step_seconds = max(min(times) - fence_cost, min(times) / 10)
        self.steps_per_block = block_length(self.step_seconds, fence_cost)
        return {
            "steps_per_block": self.steps_per_block,
            "fence_seconds": fence_cost,
            "seconds": [one / trainable.batches_per_step for one in times[:MOST_SHOWN]],
            **self._changed(),
        }

    def measure(self, batches: int, least_blocks: int, least_seconds: float) -> dict[str, Any]:
        """Time blocks, alone on the machine.

        Energy is counted from the end of the first block on: what a counter says before it may be from when the device
        still rested.
        """
        trainable = self.trainable
        with self._machine(exclusive=True):
            cool_down(lambda: self.backend.heat(self.device), self.cooling)
            self.progress("measure", 0, batches, always=True)
            watch = self.backend.watch(self.device)
            joules: list[float | None] = []
            block = self.steps_per_block if least_seconds else 1  # a smoke run wants no figure

            def progress(done: int, of: int) -> None:
                if not joules:
                    joules.append(watch.joules())
                watch.tick()
                self.progress("measure", done, of)

            samples = self._guarded(
                lambda: measure(
                    trainable,
                    batches=batches,
                    steps_per_block=block,
                    clock=self.backend.clock,
                    progress=progress,
                    least_blocks=least_blocks,
                    least_seconds=least_seconds,
                ),
                "measuring",
            )
            used = _between(joules[0], watch.joules())
            conditions = watch.conditions()
            per_block = block * trainable.batches_per_step
            conditions |= self._guarded(
                lambda: per_batch(lambda: run_block(trainable, block, self.backend.clock), per_block), "measuring"
            )
        counted = (len(samples) - 1) * per_block
        return {
            "samples": samples,
            "batches_per_block": per_block,
            "conditions": conditions,
            "joules_per_batch": used / counted
            if used and counted
            else None,  # a counter that stood still knows nothing
            "trace": watch.trace(),
            "peak_memory_bytes": self.backend.peak_memory(),
        }

    def interleave(self, least_seconds: float, locked: bool) -> dict[str, Any]:
        """Time one block of at least so many seconds, after untimed steps that bring clocks and caches back up.

        `locked` says that the asking process holds the machine's lock already, for both sides of a pair.
        """
        trainable = self.trainable
        steps = max(self.steps_per_block, math.ceil(least_seconds / max(self.step_seconds, 1e-9)))
        batches = steps * trainable.batches_per_step
        alone = contextlib.nullcontext() if locked else self._machine(exclusive=True)
        with alone:
            if self.watch is None:  # one for all turns: it costs more than a block
                self.watch = self.backend.watch(self.device)
            with undisturbed():
                self._guarded(lambda: run_block(trainable, SETTLING_STEPS, self.backend.clock), "measuring")
                before = self.watch.joules()
                seconds, values = self._guarded(lambda: run_block(trainable, steps, self.backend.clock), "measuring")
                joules = _between(before, self.watch.joules())
            checked(values, f"in batch {batches}")
            self.watch.tick()
        return {"samples": [seconds], "batches_per_block": batches, "joules": joules}

    def imports(self) -> dict[str, Any]:
        """Tell the file of every module that is imported by now; namespace packages and built-in ones have none."""
        files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
        # PyTorch makes modules whose file is a name without a folder; what is no file was not imported from one
        real = {n: f for n, f in files.items() if isinstance(f, str) and Path(f).is_absolute() and Path(f).exists()}
        return {"files": real, "prefix": sys.prefix}

    def stack(self) -> dict[str, Any]:
        """Tell what is installed here, and which of it is loaded by now; asked after the measuring, since it costs 0.3 s."""
        from .stack import installed  # 30 ms that no worker's start should cost

        self.progress("packages", always=True)
        return installed()

    def finish(self) -> dict[str, Any]:
        """Train one more batch for its own loss (the others are running means).

        Conditions are those of turns; what the partner used of CPU and GPU is no load of others, and nobody can tell the
        two apart.
        """
        conditions = {} if self.watch is None else self.watch.conditions()
        conditions.update({key: None for key in ("other_load", "gpu_other") if key in conditions})
        with self._machine(exclusive=False):  # it computes, and another session may be measuring
            self.progress("last batch", always=True)
            last_loss = self.trainable.last_loss
            loss = self._guarded(last_loss, "last batch") if last_loss is not None else None
            if loss is not None:
                checked(Reported(loss, loss), "in the last batch")
            self._check_log()
            peak = self.backend.peak_memory()  # before anything that is no training
            self._check_weights()
            work, why_not = None, ""
            try:
                work = self._guarded(self.trainable.work, "fingerprint") if self.trainable.work is not None else None
            except Problem as problem:  # of a measurement that is good all the same
                why_not = problem.message
        if isinstance(work, Mapping):
            self.arithmetic = list(work.get(ARITHMETIC, ()))
            work = {fact: value for fact, value in work.items() if fact != ARITHMETIC}
        return {
            "last_loss": loss,
            "peak_memory_bytes": peak,
            "work": work,
            "no_work_because": why_not,
            "arithmetic": list(self.arithmetic),
            "conditions": conditions,
        }

    def product(self) -> dict[str, Any]:
        """Measure the rate of products in the arithmetic of the step, alone on the machine, when nothing else is to be done.

        Where a step multiplies in several, the fastest counts. What cannot be measured costs no measurement: then `rate` is
        None, and `because` says why.
        """
        rates: dict[str, float] = {}
        try:
            for one in self.arithmetic:
                known = self.backend.multiplication(one)
                if known is None:
                    return _no_rate("")
                if known.arithmetic not in rates:
                    self.progress(f"product in {known.arithmetic}", always=True)
                    with self._machine(exclusive=True), self.backend.scope():
                        rates[known.arithmetic] = product_rate(known, self.backend.fence, self.backend.clock)
        except Problem as problem:  # of a measurement that is good all the same
            return _no_rate(problem.message)
        except Exception as error:
            return _no_rate(first_line(error))
        if not rates:
            return _no_rate("")
        fastest = max(rates, key=rates.__getitem__)
        return {"rate": rates[fastest], "arithmetic": fastest, "because": ""}

    def parity(self, load: str, save: str) -> dict[str, Any]:
        """Tell the loss and the gradient's norm of the batch, dropout off; nothing where there is no model to look at.

        Computed twice, they show whether the model draws at random all the same.

        Args:
            load: a file with the weights to compute them from, which is removed; empty for those that the model has.
            save: a file to write the weights to first; empty for none.

        A file without a folder lies in this machine's temporary folder.
        """
        trainable = self.trainable
        saver, loader = trainable.save_weights, trainable.load_weights
        if trainable.loss_and_gradient is None or (save and saver is None) or (load and loader is None):
            return {"loss": None, "gradient_norm": None}
        with self._machine(exclusive=False):
            self.progress("parity", always=True)
            if save and saver is not None:
                saved = str(Path(tempfile.gettempdir()) / save)
                atexit.register(_remove, saved)  # should the other side never come to load it
                self._guarded(lambda: saver(saved), "check of parity")
            if load and loader is not None:
                loaded = str(Path(tempfile.gettempdir()) / load)
                try:
                    self._guarded(lambda: loader(loaded), "check of parity")
                finally:
                    _remove(loaded)
                if trainable.checksums is not None:  # what came from elsewhere is no training
                    self.before = trainable.checksums()
            found = self._guarded(trainable.loss_and_gradient, "check of parity")
            if found is None:
                return {"loss": None, "gradient_norm": None}
            (loss, norm), again = found, found
            if not load and trainable.redrawn is not None:
                with trainable.redrawn():
                    again = self._guarded(trainable.loss_and_gradient, "check of parity")
            alike = all(map(partial(math.isclose, rel_tol=SAME), (loss, norm), again))
            drawn = not alike and all(map(math.isfinite, (loss, norm, *again)))  # NaN is not even itself
            batch = trainable.batch_checksum() if trainable.batch_checksum is not None else None
            weights = trainable.weights_sum() if trainable.weights_sum is not None else None
        computed = {"loss": float(loss), "gradient_norm": float(norm)}
        return {**computed, "batch": batch, "weights": weights, "drawn": drawn}

    def _until_trained(self, steps: int) -> None:
        """Go on while no weight has changed: under float16 the loss scale must come down before updates count."""
        of_an_update = self.trainable.steps_per_update
        looks = (of_an_update,) * SKIPPED_UPDATES if of_an_update > 1 else LOOKS
        for more in looks:
            if self.before is None or self.trainable.checksums is None or self.before != self.trainable.checksums():
                return
            self.progress("warm-up", steps, steps)
            for _ in range(more):
                self._guarded(self._fenced_step, "warm-up")

    def _changed(self) -> dict[str, Any]:
        if self.before is None or self.trainable.checksums is None:
            return {"changed_variables": None, "trainable_variables": None}
        after = self.trainable.checksums()
        if len(after) != len(self.before):
            raise Problem(
                "training",
                f"{self.name} had {len(self.before)} trainable weights before its first step, and has {len(after)} now: let its"
                " builder make all of them",
            )
        changed = sum(old != new for old, new in zip(self.before, after, strict=True))
        if not changed:
            raise Problem(
                "training",
                f"none of the {len(after)} trainable weights of {self.name} changed while warming up:"
                f" the step does not train ({self.trainable.unchanged})",
            )
        return {"changed_variables": changed, "trainable_variables": len(after)}

    def _check_device(self, outputs: Any) -> None:
        """Whether a step of the user's own computes where its name says."""
        if not self.bare:  # a model, whose weights were looked at
            return
        held = list(held_by(self.trainable.step))
        where_is = self.backend.where_is
        weights = {where_is(weight) for weight in self._weights_in(held)} - {""}
        values = {where_is(value) for value in (*(leaf for _, leaf in reported(outputs)), *held)} - {""}
        asked = self.device.removesuffix(":0")
        # a loss may be fetched to the host, and a batch come from there; weights that train elsewhere compute elsewhere
        if weights - {asked} or (values and asked not in values):
            found = " and ".join(sorted(weights or values))
            raise Problem(
                "device",
                f"{self.name} computes on {found}, and its name would say {self.device}: let the builder"
                " declare an argument `device`, and put model and batch there",
            )

    def _check_precision(self) -> None:
        """Whether a step of the user's own computes in the precision that its name says."""
        if not self.own_precision or PRECISIONS.get(self.precision, "float32") == "float32":
            return
        if self._guarded(lambda: self.backend.computes_in(self.precision, self.trainable.step), "first batch") is False:
            raise Problem(
                "builder",
                f"{self.name} takes precision {self.precision} and computes nothing in {PRECISIONS[self.precision]}: its time"
                " would be stored under a wrong name",
            )

    def _check_log(self) -> None:
        """Look at what was written to this worker's stdout and stderr so far."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        if self.log is not None:
            with contextlib.suppress(OSError), self.log.open(errors="replace") as log:
                check_log(lines_of(log), self.name)

    def _check_weights(self) -> None:
        """A loss may be clipped or masked while what it trains has gone to NaN."""
        if self.trainable.broken_weights is not None:
            broken = self.trainable.broken_weights()
        else:  # of a step of the user's own, as far as what it refers to shows a model or an optimizer
            weights = self._weights_in(held_by(self.trainable.step))
            broken = [f"of shape {tuple(weight.shape)}" for weight in weights if not is_finite(weight)]
        if broken:
            raise Problem(
                "training",
                f"{len(broken)} trainable weights of {self.name} are no longer finite at the end of its run"
                f" ({broken[0]}): a training that diverges measures nothing",
            )

    def _weights_in(self, held: Iterable[Any]) -> list[Any]:
        """The weights of models and optimizers among what a step of the user's own refers to, each once."""
        weights = (weight for one in held for weight in self.backend.weights_of(one))
        return list({id(weight): weight for weight in weights}.values())

    def _guarded(self, work: Callable[[], Any], phase: str) -> Any:
        try:
            try:
                return work()
            finally:
                self.forks.end_a_copy()
        except Problem:
            raise
        except BaseException as error:
            if self.stoppable and not isinstance(error, Exception):
                raise
            if out_of_memory(error):
                batches = f" with batches of {self.examples}" if self.examples else ""
                raise Problem(
                    "memory", f"the {self.device} ran out of memory training {self.name}{batches} ({first_line(error)})"
                ) from error
            raise Problem(
                "training", f"training {self.name} failed in its {phase}: {first_line(error)}", user_traceback(error)
            ) from error


def _between(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _no_rate(because: str) -> dict[str, Any]:
    return {"rate": None, "arithmetic": "", "because": because}


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()


def _backend(source: Source | str) -> Backend:
    if isinstance(source, str):
        source = {"kind": "reference", "package": "backends", "name": BACKENDS[source]}
    backend: Backend = load(source)()
    return backend


def serve(channel: Any, setup: Mapping[str, Any]) -> None:
    """Answer requests from `channel` until it closes or `close` is asked.

    `setup` holds `parent` (its process id, or None when it lives on another machine), `own` (whether this is the
    parent's interpreter), `path` (then the parent's import path, else what of it is the user's, before and after the
    interpreter's), `log` (the file that stdout and stderr go to), `wait_seconds` (for the machine's lock) and `moved` (a
    folder and the one that takes its place, or None).
    """
    own_group()
    if setup.get("parent"):
        die_with_parent(int(setup["parent"]))
    if setup["own"]:  # the same interpreter: what pytest imports, from where pytest imports it
        sys.path[1:] = setup["path"]  # the first is our own code
    else:
        before, after = setup["path"]
        sys.path[1:1] = before
        sys.path.extend(entry for entry in after if entry not in sys.path)
    if setup.get("moved"):
        move(*setup["moved"])
    job = Job(channel.send)
    job.log, job.wait_seconds = Path(setup["log"]), setup["wait_seconds"]
    channel.send({"done": "hello", "result": {"pid": os.getpid(), "python": sys.version.split()[0]}})
    for request in channel:
        if request["do"] == "close":
            return
        message = sendable(answer(job, request))
        channel.send(message)
        if "error" in message:
            return


def answer(job: Job, request: Mapping[str, Any]) -> dict[str, Any]:
    """What a request gets: its result, or the error after which the worker does nothing more."""
    arguments = dict(request)
    name = arguments.pop("do")
    try:
        result = getattr(job, name)(**arguments)
        job.forks.check(job.name)
        return {"done": name, "result": result}
    except Problem as problem:
        return {"error": problem.as_message()}
    except BaseException as error:  # our own mistake, or a framework's: still one message, never a dead channel
        failed = Problem("worker", f"the worker failed in {name}: {first_line(error)}", user_traceback(error))
        return {"error": failed.as_message()}
