"""What the doctor holds against an environment: facts in, findings out; nothing is read or started here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..results.rounding import agree, tolerance
from ..worker.machine import MachineFacts, spoils
from .environment import (
    FRAMEWORKS,
    JAX_FIX,
    JAX_PLUGINS,
    METAL_FIX,
    METAL_PYTHONS,
    PLUGINS,
    SAME_FOLDER,
    Environment,
    fits,
    pair_loads,
)
from .symptoms import CLASHES, diagnosis

State = Literal["ok", "note", "bad"]


class Finding(NamedTuple):
    """One check.

    Attributes:
        check: its name.
        state: `bad` is to be mended; a `note` is worth knowing and may be meant so.
        found: what was found, in one clause.
        fix: what to do; empty where there is nothing to do.
    """

    check: str
    state: State
    found: str
    fix: str = ""


def ok(check: str, found: str) -> Finding:
    """What is well."""
    return Finding(check, "ok", found)


def note(check: str, found: str, fix: str = "") -> Finding:
    """What is worth knowing."""
    return Finding(check, "note", found, fix)


def bad(check: str, found: str, fix: str = "") -> Finding:
    """What is to be mended."""
    return Finding(check, "bad", found, fix)


# what is installed


def of_environment(env: Environment) -> list[Finding]:
    """The interpreter, the frameworks and what belongs to them, without importing any."""
    rules = (_frameworks, _pins, _plugin, _jax_plugins, _keras, _numpy, _copies, _variables)
    return [interpreter(env), *(finding for rule in rules for finding in rule(env))]


def interpreter(env: Environment) -> Finding:
    """Its version, and whether it is compiled for this machine."""
    found = f"Python {'.'.join(map(str, env.python))} for {env.machine}"
    if env.apple and env.machine == "x86_64":
        why = "on Apple silicon, translated by Rosetta: TensorFlow dies of 'Illegal instruction'"
        fix = (
            f"install {METAL_PYTHONS} (python.org's universal2, or Homebrew's in /opt/homebrew), and all packages anew"
        )
        return bad("python", f"{found} {why}", fix)
    if env.facts.system == "macos" and env.machine == "x86_64":
        return note("python", f"{found}: on Intel Macs TensorFlow ends at 2.16.2, tensorflow-metal at 1.0.0")
    return ok("python", found)


def _frameworks(env: Environment) -> Iterator[Finding]:
    stub = env.version("tensorflow-macos")
    install = _metal_fix(env) if env.apple else "pip install 'pytest-metalperf[tensorflow]'"
    there = [f"{name} {env.version(name)}" for name in SAME_FOLDER if env.version(name)]
    if stub and not env.tensorflow:
        empty = fits(stub, ">=2.15.1")  # older ones hold TensorFlow itself
        nothing = "alone, which brings no TensorFlow: import says 'No module named tensorflow'"
        why = nothing if empty else "brings a TensorFlow without Keras 3"
        yield bad("tensorflow", f"tensorflow-macos {stub} {why}", f"pip uninstall tensorflow-macos; {install}")
    elif len(there) > 1:
        found = f"{' and '.join(there)} write into the same folder, which now holds files of both"
        yield bad("tensorflow", found, f"uninstall both, then {install}")
    elif there:
        yield ok("tensorflow", there[0])
    for name in ("torch", "jax", "mlx"):
        if env.version(name):
            yield ok(name, f"{name} {env.version(name)}")
    if not env.backends and not stub:
        yield bad("frameworks", f"none of {', '.join(FRAMEWORKS.values())} is installed here", install)


def _pins(env: Environment) -> Iterator[Finding]:
    stub = env.version("tensorflow-macos")
    if env.tensorflow and fits(stub, ">=2.16"):
        fix = "for a newer one: pip uninstall tensorflow-macos; pip install 'pytest-metalperf[metal]'"
        yield note("tensorflow-macos", f"tensorflow-macos {stub} holds TensorFlow at {stub}", fix)


def _plugin(env: Environment) -> Iterator[Finding]:
    there = [f"{name} {env.version(name)}" for name in PLUGINS if env.version(name)]
    metal = env.version("tensorflow-metal")
    twice = "which aborts: 'platform is already registered with name: \"METAL\"'"
    if len(there) > 1:
        yield bad("plugin", f"both {' and '.join(there)}, {twice}", "uninstall one of them")
    elif there and len(env.plugins) > 1:
        fix = "a fresh virtual environment whose import path (PYTHONPATH, .pth files) names each folder once"
        yield bad(
            "plugin", f"TensorFlow finds {there[0]} by {len(env.plugins)} paths, {twice}: {', '.join(env.plugins)}", fix
        )
    elif metal and env.tensorflow:
        yield _pair(env.tensorflow, metal, METAL_FIX if env.apple else "")
    elif there and env.tensorflow:
        yield note("plugin", f"{there[0]}, not Apple's: it waits after every kernel, so its times are its own")
    elif there:
        yield note("plugin", f"{there[0]} without TensorFlow", METAL_FIX)
    elif env.apple and env.tensorflow and not env.facts.virtual:
        found = "no tensorflow-metal: TensorFlow trains on the CPU alone, and says nothing"
        if env.python >= (3, 13):
            here = ".".join(map(str, env.python[:2]))
            found += f"; for Python {here} pip finds 'No matching distribution'"
        yield bad("plugin", found, _metal_fix(env))


def _metal_fix(env: Environment) -> str:
    if env.python >= (3, 13) or env.machine != "arm64":
        return f"make an environment with {METAL_PYTHONS}, and there {METAL_FIX}"
    return METAL_FIX


def _pair(tensorflow: str, metal: str, fix: str) -> Finding:
    found = f"tensorflow-metal {metal} with TensorFlow {tensorflow}"
    loads = pair_loads(tensorflow, metal)
    if loads is None:
        return note("plugin", f"{found}: not known to load together", fix)
    if loads:
        return ok("plugin", f"{found}, which load together")
    library = "Library not loaded: @rpath/_pywrap_tensorflow_internal.so"
    why = library if fits(tensorflow, ">=2.20") else "Symbol not found: __ZN3tsl8internal10LogMessage…"
    return bad(
        "plugin", f"{found} does not load: import tensorflow ends with '{why}'", fix or "pip uninstall tensorflow-metal"
    )


def _jax_plugins(env: Environment) -> Iterator[Finding]:
    """What brings Apple's GPU to JAX is built for one minor version of jaxlib, and says so in its metadata."""
    there = [name for name in JAX_PLUGINS if env.version(name)]
    for name in there:
        found = f"{name} {env.version(name)}"
        wanted = {other: versions for other, versions in env.needs.get(name, {}).items() if other in ("jax", "jaxlib")}
        wrong = [other for other, versions in wanted.items() if not fits(env.version(other), versions)]
        if wrong:
            has = " and ".join(f"{other} {env.version(other) or 'none'}" for other in wrong)
            fix = " ".join(f"'{other}{versions}'" for other, versions in wanted.items())
            yield bad(name, f"{found} with {has}, for which it was not built", f"pip install {name} {fix}")
        else:
            yield ok(name, f"{found} with jax {env.version('jax') or 'none'}")
    if len(there) > 1:
        yield note(
            "jax plugins", f"both {' and '.join(there)}: JAX trains on jax-mps unless JAX_PLATFORMS=metal is set"
        )
    if metal := env.version("jax-metal"):
        found = f"jax-metal {metal} stops with jax 0.5: 'default_memory_space is not supported'"
        state = bad if env.apple and fits(env.version("jax"), ">=0.5") else note
        yield state("jax-metal", found, f"pip uninstall jax-metal; {JAX_FIX}")


def _keras(env: Environment) -> Iterator[Finding]:
    if not set(env.backends) - {"mlx"}:
        return
    keras = env.version("keras") or env.version("keras-nightly")
    if not keras and not env.tensorflow:
        found = "Keras is not installed: steps of your own train, Keras models and the reference models do not"
        yield note("keras", found, "where you want them, pip install 'pytest-metalperf[keras]'")
    elif not keras:
        yield bad("keras", "Keras is not installed", "pip install 'keras>=3.5'")
    elif not fits(keras, ">=3"):
        yield bad(
            "keras", f"Keras {keras}; the models need Keras 3", "TensorFlow 2.16 or later, and pip install 'keras>=3.5'"
        )
    elif env.variables.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        yield bad("keras", f"Keras {keras}, but TF_USE_LEGACY_KERAS asks for Keras 2", "unset TF_USE_LEGACY_KERAS")
    else:
        yield ok("keras", f"keras {keras}")


def _numpy(env: Environment) -> Iterator[Finding]:
    numpy = env.version("numpy")
    if env.tensorflow and not fits(env.tensorflow, ">=2.18") and fits(numpy, ">=2"):
        found = f"NumPy {numpy} with TensorFlow {env.tensorflow}, which was compiled for NumPy 1"
        yield bad("numpy", found, "pip install 'numpy<2'")


def _copies(env: Environment) -> Iterator[Finding]:
    for name, copies in env.packages.items():
        if len(copies) > 1:
            listed = "; ".join(f"{one.version} in {one.folder}" for one in copies)
            fix = "an environment that sees no other's packages, or uninstall what you do not want"
            yield note(name, f"{len(copies)} copies, of which the first is imported: {listed}", fix)


def _variables(env: Environment) -> Iterator[Finding]:
    if env.variables:
        listed = ", ".join(f"{name}={value}" for name, value in env.variables.items())
        yield note("variables", f"{listed}: these change what is computed or how fast, and are stored with each run")


# the machine

_REMEDY = {
    "power": "connect it to mains",
    "low_power": "switch low-power mode off (System Settings, Battery; or sudo pmset -a lowpowermode 0)",
    "background": "start it from a terminal; in launchd's property list set ProcessType to Interactive",
    "thermal": "let it cool down; runs wait two minutes for that by themselves",
    "speed_limit": "let it cool down, and see that its power supply is strong enough",
    "throttled": "nvidia-smi -q -d PERFORMANCE says more",
    "virtual_gpu": "gate the CPU alone (--metal-devices cpu); smoke runs (--metal smoke) work",
    "stolen": "compare with --metal-against instead of stored baselines",
    "other_load": "end what else runs, or compare with --metal-against",
    "gpu_processes": "end what else uses the GPU",
    "gpu_other": "end what else uses the GPU",
}
_STATES = {"power": "power", "low_power": "low-power mode", "thermal": "thermal pressure"}
_ELSE = {
    "speed_limit": "CPU speed limit",
    "throttled": "GPU throttling",
    "virtual_gpu": "virtual GPU",
    "background": "background job",
}
"""States of which no word is lost where they are fine."""


def of_machine(facts: MachineFacts, conditions: Mapping[str, object], metal: str = "") -> list[Finding]:
    """Who it is, and what is in the way of measuring on it.

    Args:
        facts: the machine.
        conditions: as `Watch` gives them.
        metal: family of its GPU, "metal3"; empty where there is none.
    """
    memory = f"{facts.memory_gb} GB" if facts.memory_gb else ""
    kind = "virtual" if facts.virtual else ""
    parts = [facts.chip, f"{facts.cores} cores", memory, *facts.gpus, metal, facts.os, kind]
    who = ok("machine", f"{facts.id} ({', '.join(part for part in parts if part)})")
    unknown = [f"{word} unknown" for key, word in {**_STATES, **_ELSE}.items() if conditions.get(key, "") is None]
    spoiled = spoils(conditions, "gpu" if facts.gpus else "cpu")
    if spoiled:
        kinds = {True: bad, False: note}
        return [
            who,
            *(kinds[one.removable]("conditions", one.clause, _REMEDY.get(one.condition, "")) for one in spoiled),
            *([note("conditions", ", ".join(unknown))] if unknown else []),
        ]
    words = [f"{word} {_in_words(conditions[key])}" for key, word in _STATES.items() if key in conditions]
    words += [one for one in unknown if one not in words]
    return [who, ok("conditions", f"nothing in the way; {', '.join(words)}" if words else "nothing in the way")]


def _in_words(state: object) -> str:
    return "unknown" if state is None else str(state) if not isinstance(state, bool) else "on" if state else "off"


def of_baselines(folder: Path, machine: str) -> Finding:
    """Whether there is a baseline that tests on this machine would be compared with."""
    try:
        from ..baselines.errors import BaselineError
        from ..baselines.file import Store  # here: it must work, and tell, without msgspec
    except ImportError as error:
        return bad("baselines", f"cannot be read: {error}", "pip install --force-reinstall pytest-metalperf")
    try:
        store = Store(folder, machine)
    except BaselineError as error:
        return bad("baselines", str(error), "restore the file from git, or move it away and record anew")
    if store.workloads or store.speedups:
        return ok("baselines", f"{store.path}: {len(store.workloads)} workloads, {len(store.speedups)} speedups")
    others = len(set(folder.glob("*.json")) - {store.path})
    theirs = f" ({others} of other machines)" if others else ""
    fix = "pytest -m metal_bench --metal-update-baselines"
    return note("baselines", f"none of this machine in {folder}{theirs}", fix)


# what backends really do


def of_backend(env: Environment, backend: str, facts: Mapping[str, Any], ended: bool, seconds: float) -> list[Finding]:
    """What a child process told of one backend.

    Args:
        env: the environment.
        backend: its name.
        facts: what `worker.checkup` answers, an `error` and the `log` of it among it.
        ended: whether the process came to its end.
        seconds: what all backends together had.
    """
    found = [_devices(env, backend, facts)] if "devices" in facts else []
    check, longer = f"{backend} {facts.get('device', '')}".strip(), f"more time: --timeout {4 * seconds:.0f}"
    precisions, tried = facts.get("precisions", {}), "jit" in facts
    if "steps" in facts:
        works = [name for name, why in precisions.items() if not why and name != "float32"]
        works += ["jit_compile"] if tried and not facts["jit"] else []
        trained = f"trained {facts['steps']} small steps in a second"
        found.append(ok(check, f"{trained}; {', '.join(works)} work" if works else trained))
        found += [note(check, why) for why in precisions.values() if why]
    if "error" in facts:
        known = diagnosis(f"{facts['error']}\n{facts.get('log', '')}")
        cause, fix = (f": {known.cause}", known.fix) if known else ("", "")
        return [*found, bad(check, f"{facts['error']}{cause}", fix)]
    if "steps" not in facts:
        reached = "trained nothing" if "device" in facts else "was not even imported"
        if ended:
            return [*found, bad(check, f"{reached}, and its process ended without a word")]
        # what did not get its turn is no fault of it; a device that was looked for and never answered is
        state = bad if "versions" in facts and not facts.get("late") else note
        return [*found, state(check, f"{reached} within {seconds:g} s", longer)]
    if facts.get("jit"):
        found.append(note(check, f"jit_compile does not work: {facts['jit']}", "leave it off there"))
    left = [] if ended else ["precisions"] * ("precisions" not in facts) + ["jit_compile"] * (not tried)
    return found + ([note(check, f"not tried within {seconds:g} s: {', '.join(left)}", longer)] if left else [])


_GPU_FIX = {
    ("tensorflow", "nvidia"): "pip install 'pytest-metalperf[cuda]'",
    ("torch", "nvidia"): "install a PyTorch that was built for this driver's CUDA (https://pytorch.org/get-started)",
    ("jax", "nvidia"): "pip install 'jax[cuda12]'",
    ("jax", "apple"): JAX_FIX,
    ("mlx", "nvidia"): "pip install 'mlx[cuda12]'",
    ("mlx", "apple"): "install mlx in an arm64 Python",
    ("torch", "apple"): "update macOS, or install an older PyTorch that still serves this one",
}
"""Where the machine has a GPU of that maker and the backend sees none."""


def _devices(env: Environment, backend: str, facts: Mapping[str, Any]) -> Finding:
    """A GPU that the machine has and the backend does not see is to be mended; one that nobody has is not."""
    check, missing = f"{backend} devices", str(facts["missing"])
    if not missing:
        return ok(check, ", ".join(f"{name} ({kind})" if kind else name for name, kind in facts["devices"].items()))
    if clash := diagnosis(str(facts.get("log", "")), CLASHES):  # with which JAX goes on without a GPU
        return bad(check, f"{missing}: {clash.cause}", clash.fix)
    nvidia = any("NVIDIA" in gpu.upper() for gpu in env.facts.gpus)
    apple = env.apple and not env.facts.virtual
    fix = _GPU_FIX.get((backend, "nvidia" if nvidia else "apple" if apple else ""), "")
    # JAX on Apple's GPU is others' early work: who does not have it may not want it
    wanted = nvidia or (apple and (backend != "jax" or any(env.version(name) for name in JAX_PLUGINS)))
    return (bad if wanted else note)(check, missing, fix)


def of_parity(backend: str, gpu: Mapping[str, Any], cpu: Mapping[str, Any]) -> Finding:
    """Whether the GPU computes what the CPU does, from the same weights and batch."""
    keys = {"loss": "loss", "gradient_norm": "gradient norm"}
    both = ", ".join(f"{word} {gpu[key]:.6g} on the GPU and {cpu[key]:.6g} on the CPU" for key, word in keys.items())
    if all(agree(gpu[key], cpu[key], tolerance(["float32"])) for key in keys):
        return ok(f"{backend} parity", both)
    fix = "do not trust its speed; report it to the framework or the plugin with these versions"
    return bad(f"{backend} parity", f"the GPU computes another step than the CPU: {both}", fix)


def counted(findings: Sequence[Finding]) -> str:
    """`12 checks: 9 ok, 2 notes, 1 to mend`."""
    states = [one.state for one in findings]
    notes, wrong = states.count("note"), states.count("bad")
    return (
        f"{len(states)} checks: {states.count('ok')} ok, {notes} note{'s' * (notes != 1)}, {wrong or 'nothing'} to mend"
    )
