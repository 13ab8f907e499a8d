"""Functions that travel to a fresh process: by file and name from plain source, closures by value."""

from __future__ import annotations

import functools
import sys

import pytest
from conftest import CONFTEST

from pytest_metalperf.measure.interpreter import import_path, whole
from pytest_metalperf.worker.sources import call_builder, load
from pytest_metalperf.workloads.builders import parameters_of, source_of
from pytest_metalperf.workloads.workload import WorkloadError

pytestmark = pytest.mark.processes

# what travels, in fresh processes through pytest: each builder says by its seconds that it is the right one


def measured(suite, *arguments: str) -> dict[str, float]:
    """Seconds per batch of each workload that a session recorded, to one digit."""
    result = suite.run("--metal-update-baselines", "--metal-runs=1", *arguments)
    assert result.ret == 0, result.stdout.str()
    return {
        name.partition("@")[0]: round(entry["runs"][0]["seconds_per_batch"], 1) for name, entry in suite.stored.items()
    }


def test_functions_of_modules_and_test_bodies(suite):
    suite.set(jitter=0)
    suite.pytester.mkpydir("installed")
    (suite.pytester.path / "installed" / "models.py").write_text(
        "from fake_backend import FakeModel\ndef ranker():\n    assert True\n    return FakeModel(0.2)\n"
    )
    suite.write(
        """
        import sys
        import pytest
        from fake_backend import FakeModel
        from installed.models import ranker

        FACTOR = 0.1

        def of_test_file():
            assert "@pytest_ar" not in globals()  # plain source, not what pytest made of it
            return FakeModel(0.3)

        class Models:
            @staticmethod
            def static():
                return FakeModel(0.4)
            @classmethod
            def of_class(cls):
                return FakeModel(0.5)

        def helper(seconds):
            assert seconds > 0
            return FakeModel(seconds)

        @pytest.mark.parametrize("builder", [ranker, of_test_file, Models.static, Models.of_class])
        def test_functions(metal_bench, builder):
            metal_bench(builder)

        def test_closure(metal_bench):
            def closure():
                assert "@pytest_ar" not in globals()
                return helper(6 * FACTOR)
            metal_bench(closure)

        @pytest.mark.parametrize("times", [7, 8])
        def test_parametrised(metal_bench, times):
            metal_bench(lambda: FakeModel(times * FACTOR), name=f"times {times}")

        def test_nested(metal_bench):
            text = "nine"
            def inner():
                assert len(text) == 4
                return 9
            def middle():
                def innermost():
                    assert inner() == 9
                    return inner() * FACTOR
                return innermost
            def outer(*, unused=None):
                assert middle
                return FakeModel(middle()())
            metal_bench(outer)
        """
    )
    assert measured(suite) == {
        "ranker": 0.2,
        "of_test_file": 0.3,
        "static": 0.4,
        "of_class": 0.5,
        "closure": 0.6,
        "times 7": 0.7,
        "times 8": 0.8,
        "outer": 0.9,
    }


def test_builder_gets_the_axes_that_it_declares(suite):
    suite.set(jitter=0)
    suite.write(
        """
        import pytest
        from fake_backend import FakeModel
        def some(batch_size=8, *, depth):
            return FakeModel(depth / 10, batch_size)
        def everything(**axes):
            assert axes == {"batch_size": 4, "depth": 3, "precision": "float32"}
            return FakeModel(0.3)
        def test_it(metal_bench):
            assert metal_bench(some, batch_size=4, depth=2).examples_per_second == pytest.approx(20)
            metal_bench(everything, batch_size=4, depth=3, precision="float32")
            # set around the builder, so it need not declare it
            metal_bench(some, depth=5, precision="mixed_float16")
        """
    )
    assert measured(suite) == {
        "some[b4,depth=2]": 0.2,
        "everything[b4,depth=3]": 0.3,
        "some[b8,mixed_float16,depth=5]": 0.5,
    }


def test_a_builders_own_batch_size_is_in_the_name(suite):
    source = (
        "from fake_backend import FakeModel\ndef mine(batch_size={size}, image_size=None):\n    return FakeModel(0.1)\n"
    )
    suite.write(source.format(size=16) + "def test_it(metal_bench):\n    metal_bench(mine)\n")
    assert measured(suite) == {"mine[b16]": 0.1}
    suite.write(source.format(size=8) + "def test_it(metal_bench):\n    metal_bench(mine, batch_size=16)\n")
    assert measured(suite) == {"mine[b16]": 0.1}


def test_what_bears_anothers_name_is_not_taken_for_it(suite):
    suite.set(jitter=0)
    suite.write(
        """
        import functools
        from fake_backend import FakeModel

        def slower(build):
            @functools.wraps(build)
            def wrapped(**axes):
                return FakeModel(build(**axes).seconds * 2)
            return wrapped

        def build():
            return FakeModel(0.1)

        @slower
        def decorated():
            assert True
            return FakeModel(0.3)

        class Base:
            SECONDS = 0.1
            @classmethod
            def of_class(cls):
                return FakeModel(cls.SECONDS)

        class Child(Base):
            SECONDS = 0.4

        LINE = [lambda: FakeModel(0.7), lambda: FakeModel(0.8)]

        def test_it(metal_bench):
            metal_bench(build, name="plain")
            metal_bench(slower(build), name="wrapped")
            metal_bench(decorated)
            metal_bench(Base.of_class, name="base")
            metal_bench(Child.of_class, name="child")
            for name, function in zip(("seven", "eight"), LINE):
                metal_bench(function, name=name)
        """
    )
    assert measured(suite) == {
        "plain": 0.1, "wrapped": 0.2, "decorated": 0.6, "base": 0.1, "child": 0.4, "seven": 0.7, "eight": 0.8
    }  # fmt: skip


def test_axis_that_is_not_declared_is_told(suite):
    suite.write(
        """
        from fake_backend import FakeModel
        def mine(batch_size=8, depth=1):
            return FakeModel(0.1)
        def test_it(metal_bench):
            metal_bench(mine, width=3)
        """
    )
    result = suite.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["mine does not take width: its axes are batch_size, depth, *; settings*batches, *"])


PACKAGE = {
    "helpers.py": "from fake_backend import FakeModel\ndef make():\n    return FakeModel(0.2)\n",
    "test_inside.py": """
from .helpers import make
def mine():
    return make()
def test_function(metal_bench):
    metal_bench(mine)
def test_closure(metal_bench):
    def closure():
        assert True
        return make()
    metal_bench(closure)
""",
}


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_test_files_of_a_package_with_relative_imports(suite, mode):
    package = suite.pytester.path / "below" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name, text in PACKAGE.items():
        (package / name).write_text(text)
    (suite.pytester.path / "test_suite.py").unlink()
    assert measured(suite, f"--import-mode={mode}") == {"mine": 0.2, "closure": 0.2}


def test_files_of_one_name_under_importlib(suite):
    (suite.pytester.path / "test_suite.py").unlink()
    for folder, seconds in (("a", 0.2), ("b", 0.3)):
        (suite.pytester.path / folder).mkdir()
        (suite.pytester.path / folder / "test_same.py").write_text(
            "from fake_backend import FakeModel\n"
            f"def model_{folder}():\n    return FakeModel({seconds})\n"
            f"def test_it(metal_bench):\n    metal_bench(model_{folder})\n"
        )
    assert measured(suite, "--import-mode=importlib") == {"model_a": 0.2, "model_b": 0.3}


def test_builder_of_a_conftest(suite):
    conftest = suite.pytester.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + "\nimport pytest\nfrom fake_backend import FakeModel\ndef mine():\n    return FakeModel(0.2)\n"
        + "@pytest.fixture\ndef builder():\n    return mine\n"
    )
    suite.write("def test_it(metal_bench, builder):\n    metal_bench(builder)\n")
    assert measured(suite) == {"mine": 0.2}


# what cannot travel, in one sentence


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            "metal_bench(lambda: lock.locked(), name='x')",
            "x: this closure cannot be sent to a fresh process (TypeError: *",
        ),
        ("metal_bench(lambda: FakeModel(0.1))", 'a lambda has no name: give it one, metal_bench(lambda: …, name="…")'),
        (
            "metal_bench(functools.partial(build, depth=2))",
            "partial: functools.partial(*) is no function; *write a function*",
        ),
        ("metal_bench(functools.partial(build, depth=2), name='x')", "x: functools.partial(*) is no function; *"),
        ("metal_bench(len)", "len: len has no source file (builtins); put it into a module"),
        ("metal_bench(made_at_run_time)", "made_at_run_time: made_at_run_time has no source file (nowhere)*"),
        ("metal_bench(3)", "metal_bench takes a model's name or a function that builds one, got int 3*"),
        ("metal_bench('fake-modell')", "unknown model 'fake-modell': did you mean 'fake-model'? there are *"),
        ("metal_bench(build, backend='nope')", "unknown backend 'nope': there are fake, *"),
    ],
)
def test_what_cannot_travel_is_told_in_one_sentence(suite, call, sentence):
    suite.write(
        f"""
        import functools, threading
        from fake_backend import FakeModel, build
        space = {{"__name__": "nowhere"}}
        exec("def made_at_run_time(): pass", space)
        made_at_run_time = space["made_at_run_time"]
        def test_it(metal_bench):
            lock = threading.Lock()
            {call}
        """
    )
    result = suite.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*ERROR at call of test_it*", sentence.replace("[", "[[]")], consecutive=True)
    result.stdout.no_fnmatch_line("*pytest_metalperf/*")  # no traceback of ours


def test_bound_method_is_measured_or_refused(suite):
    suite.write(
        """
        from fake_backend import FakeModel
        class Test:
            def mine(self):
                return FakeModel(0.1)
            def test_it(self, metal_bench):
                metal_bench(self.mine)
        """
    )
    result = suite.run()
    assert "missing 1 required positional argument: 'self'" not in result.stdout.str()


# calling builders


def test_function_is_found_again_where_it_came_from():
    assert (
        load(source_of(test_bound_method_is_measured_or_refused, "x")).__name__
        == "test_bound_method_is_measured_or_refused"
    )
    assert load({"kind": "reference", "package": "backends", "name": "tensorflow:__doc__"})


def test_closure_over_itself_and_over_what_comes_later():
    def even(number: int) -> bool:
        return number == 0 or odd(number - 1)

    def odd(number: int) -> bool:
        return number != 0 and even(number - 1)

    assert load(source_of(even, "even"))(10) is True


def test_defaults_of_a_closure_travel():
    value = [1, 2]

    def closure(a=value, *, b="text"):
        return a, b

    assert load(source_of(closure, "closure"))() == ([1, 2], "text")


def test_wrapped_closure_declares_what_the_wrapped_function_declares():
    def decorated(function):
        @functools.wraps(function)
        def wrapper(**axes):
            return function(**axes)

        return wrapper

    @decorated
    def mine(batch_size=8):
        return batch_size

    loaded = load(source_of(mine, "mine"))
    assert call_builder(loaded, "mine", {"batch_size": 4, "precision": "float32"}, "cpu") == 4


@pytest.mark.parametrize(
    ("builder", "got"),
    [
        (dict, {}),
        (lambda a: {"a": a}, {"a": 1}),
        (lambda *, b=0: {"b": b}, {"b": 2}),
        (lambda **axes: axes, {"a": 1, "b": 2, "precision": "float32"}),
        (lambda *values: values, ()),
    ],
)
def test_only_declared_axes_are_passed(builder, got):
    assert call_builder(builder, "x", {"a": 1, "b": 2, "precision": "float32"}, "cpu") == got


def test_what_a_builder_declares_is_known_before_a_worker_starts():
    assert parameters_of(lambda a, *, b=0: a) == {"a", "b"}
    assert parameters_of(lambda: 0) == set()
    assert parameters_of(lambda **axes: axes) is None
    assert parameters_of(dict) is None


def test_source_that_changed_since_it_was_imported_is_told(tmp_path, monkeypatch):
    path = tmp_path / "changing.py"
    path.write_text("def make():\n    def closure():\n        return 1\n    return closure\n")
    monkeypatch.syspath_prepend(tmp_path)
    import changing

    changing.__dict__["@pytest_ar"] = None  # as pytest marks a module that it rewrote
    path.write_text("\n\n\nnothing = True\n")
    try:
        with pytest.raises(WorkloadError, match=r"cannot be sent.*changed since it was imported"):
            source_of(changing.make(), "x")
    finally:
        del sys.modules["changing"]


def test_a_path_moves_with_its_folder_and_what_is_the_interpreters_stays(tmp_path, monkeypatch):
    from pytest_metalperf.worker import sources

    old, new = tmp_path / "old", tmp_path / "new"
    (old / "src").mkdir(parents=True)
    (old / "venv" / "lib").mkdir(parents=True)
    assert sources.moved(str(old / "src"), str(old), str(new)) == str(new / "src")
    assert sources.moved(str(old), str(old), str(new)) == str(new)
    assert sources.moved(str(tmp_path / "older"), str(old), str(new)) == str(tmp_path / "older")
    monkeypatch.setattr(sources, "interpreter_folders", lambda: [str(old / "venv" / "lib")])
    assert sources.moved(str(old / "venv" / "lib"), str(old), str(new)) == str(old / "venv" / "lib")


def test_axes_that_read_alike_are_not_one_work(suite):
    suite.write(
        """
        from fake_backend import FakeModel
        def build(depth=2):
            return FakeModel(0.1)
        def test_one(metal_bench):
            metal_bench(build, depth=1)
        def test_other(metal_bench):
            metal_bench(build, depth="1")
        """
    )
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*two different works are both called build[[]depth=1[]]@cpu:fake*depth*name=*"])


def test_a_builders_own_precision_is_part_of_the_name(suite):
    suite.write(
        """
        from fake_backend import FakeModel
        def build(precision="mixed_float16", input=None):
            return FakeModel(0.1)
        def test_one(metal_bench):
            assert metal_bench(build).workload.id == "build[mixed_float16]@cpu:fake"
            assert metal_bench(build, precision="float32").workload.id == "build@cpu:fake"
        """
    )
    assert suite.run().ret == 0


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        (["/p/tests", "/std", "/site", "/p/src"], ["/p/tests"], ["/p/src"]),
        (["/env/p", "/std", "/std/lib-dynload", "/site"], ["/env/p"], []),
        (["/std", "/site", "/editable"], [], ["/editable"]),
    ],
)
def test_another_interpreter_gets_what_is_the_users_where_pytest_has_it(path, before, after):
    assert import_path(path, ["/std", "/site"]) == (before, after)


def test_an_entry_of_a_path_that_is_no_file_is_left_to_whoever_knows_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert whole("") == str(tmp_path.resolve())
    assert whole("__editable__.mine.finder.__path_hook__") == "__editable__.mine.finder.__path_hook__"


def test_an_argument_named_device_gets_the_frameworks_object():
    assert call_builder(lambda device: device, "x", {}, "the object") == "the object"
    assert call_builder(lambda **axes: axes, "x", {"a": 1}, "the object") == {"a": 1}  # that asked for none


def test_values_that_are_plain_by_inheritance_travel_and_are_named_as_plain_ones(suite):
    suite.write(
        """
        import enum
        import numpy as np
        import pytest
        from fake_backend import FakeModel

        class Kind(str, enum.Enum):
            ADAM = "adam"
            def __str__(self):
                return "another word"
        class Size(enum.IntEnum):
            SMALL = 4
        class Text(str):
            pass

        def build(lr=0.1, optimizer="sgd", batch_size=8, width=1):
            assert [type(one) for one in (lr, optimizer, batch_size, width)] == [float, str, int, int]
            return FakeModel(0.1)

        @pytest.mark.parametrize("axes", [
            {"lr": np.logspace(-3, -2, 2)[0]}, {"optimizer": Kind.ADAM}, {"optimizer": np.str_("rmsprop")},
            {"batch_size": Size.SMALL}, {"width": np.int64(2)}, {"optimizer": Text("lion")},
        ])
        def test_it(metal_bench, axes):
            metal_bench(build, **axes)
        """
    )
    assert sorted(measured(suite)) == [
        "build[b4]", "build[b8,lr=0.001]", "build[b8,optimizer=adam]", "build[b8,optimizer=lion]",
        "build[b8,optimizer=rmsprop]", "build[b8,width=2]",
    ]  # fmt: skip


OWN_DEFAULTS = """
from fake_backend import FakeModel

def build(batch_size=8, precision="mixed_float16", jit_compile=True, input="host"):
    return FakeModel(0.2)
"""


@pytest.mark.parametrize("by_name", [False, True])
def test_what_a_builder_does_by_default_is_in_the_id(suite, by_name):
    """A builder that compiles unless it is told not to was stored as one that does not."""
    suite.pytester.makepyfile(own=OWN_DEFAULTS)
    hook = "def pytest_metalperf_models():\n    from pytest_metalperf import Model\n    from own import build\n"
    sizes = "{'standard': {'batch_size': 8}}"
    suite.pytester.makeconftest(f"{CONFTEST}\n{hook}    return [Model('build', build, {sizes})]\n")
    asked = "'build'" if by_name else "build"
    suite.write(
        f"from own import build\ndef test_it(metal_bench):\n    metal_bench({asked})\n"
        f"def test_plain(metal_bench):\n    metal_bench({asked}, precision='float32', jit_compile=False, input='device')\n"
    )
    suite.run("--metal-update-baselines", "--metal-devices=cpu").assert_outcomes(passed=2)
    assert sorted(suite.stored) == ["build[b8,mixed_float16,jit,input=host]@cpu:fake", "build[b8]@cpu:fake"]
