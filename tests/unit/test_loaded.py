"""Which distributions a process has loaded, and what is told of each."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import execnet
import pytest
from fake_distributions import put

from pytest_metalperf.worker.distributions import digest, is_editable, rows, source
from pytest_metalperf.worker.serve import Job, answer
from pytest_metalperf.worker.stack import _files as files
from pytest_metalperf.worker.stack import images, imported, loaded, of_maps

MAPS = """\
55d0c0a00000-55d0c0a01000 r--p 00000000 fe:00 131 /usr/bin/python3.11
7f10a0000000-7f10a0021000 rw-p 00000000 00:00 0
7f10a1000000-7f10a1200000 r-xp 00001000 fe:00 4242                       /venv/lib/nvidia/cudnn/lib/libcudnn.so.9
7f10a1200000-7f10a1300000 rw-p 00200000 fe:00 4242                       /venv/lib/nvidia/cudnn/lib/libcudnn.so.9
7f10a2000000-7f10a2100000 r-xp 00000000 fe:00 4243                       /a folder/lib mkl.so.2
7f10a3000000-7f10a3100000 r-xp 00000000 fe:00 4244                       /venv/lib/old.so (deleted)
7ffd0b5fe000-7ffd0b61f000 rw-p 00000000 00:00 0                          [stack]
"""


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    return folder


def names(found, what="loaded"):
    return [one["name"] for one in found if one[what]]


def test_who_owns_an_imported_module_is_loaded(site):
    put(site, "One")
    put(site, "two.dots", files={"space/two/core.py": ""})
    put(site, "three", files={"space/three/core.py": ""})
    modules = {"space.two.core": str(site / "space/two/core.py"), "outside": "/elsewhere/one/__init__.py"}
    assert names(loaded([str(site)], modules, ())) == ["two-dots"]


def test_who_owns_a_mapped_library_is_loaded(site, tmp_path):
    put(site, "tensorflow-metal", files={"tensorflow-plugins/libmetal_plugin.dylib": ""})
    put(site, "mkl", files={}, more=["../../lib/libmkl.so.2,sha256=a,1"])
    put(site, "cudnn", files={"nvidia/lib/libcudnn.so.9": ""})
    maps = [str(site / "tensorflow-plugins/libmetal_plugin.dylib"), str(tmp_path.parent / "lib/libmkl.so.2")]
    assert sorted(names(loaded([str(site)], {}, maps))) == ["mkl", "tensorflow-metal"]


def test_a_folder_that_is_a_link_is_the_folder(site, tmp_path):
    put(site, "one")
    (tmp_path / "link").symlink_to(site)
    assert names(loaded([str(tmp_path / "link")], {}, [str(site / "one/__init__.py")])) == ["one"]
    assert names(loaded([str(site)], {"one": str(tmp_path / "link/one/__init__.py")}, ())) == ["one"]


def test_the_first_of_two_is_the_one_that_is_imported(site, tmp_path):
    put(site, "one", "1.0")
    put(tmp_path / "user", "one", "2.0")
    found = loaded([str(tmp_path / "user"), str(site)], {"one": str(tmp_path / "user/one/__init__.py")}, ())
    assert [(one["version"], one["loaded"]) for one in found] == [("2.0", True)]


def test_an_editable_one_owns_what_lies_in_its_folder(site, tmp_path):
    url = {"url": (tmp_path / "my code").as_uri(), "dir_info": {"editable": True}}
    put(site, "one", files={}, url=url)
    assert names(loaded([str(site)], {"one": str(tmp_path / "my code/src/one/__init__.py")}, ())) == ["one"]
    assert names(loaded([str(site)], {"one": str(tmp_path / "my code 2/one/__init__.py")}, ())) == []


def test_one_without_a_record_owns_its_top_level_modules(site):
    info = put(site, "some-thing", record=False)
    found = loaded([str(site)], {"some_thing.x": str(site / "some_thing/x.py")}, ())
    assert names(found) == ["some-thing"]
    assert found[0]["digest"] == ""
    (info / "top_level.txt").write_text("other\n")
    assert names(loaded([str(site)], {"other": str(site / "other.py")}, ())) == ["some-thing"]


def test_what_python_imports_whenever_it_starts_was_not_asked_for(site):
    put(site, "setuptools", files={"_distutils_hack/__init__.py": "", "setuptools/__init__.py": ""})
    (site / "precedence.pth").write_text("import os; __import__('_distutils_hack').add_shim()\nnot_imported\n")
    started = {"_distutils_hack": str(site / "_distutils_hack/__init__.py")}
    assert names(loaded([str(site)], started, ())) == []
    assert names(loaded([str(site)], started | {"setuptools": str(site / "setuptools/__init__.py")}, ())) == [
        "setuptools"
    ]


def test_what_a_users_module_imports_by_name(site, tmp_path):
    put(site, "one")
    put(site, "two")
    (tmp_path / "test_it.py").write_text(
        "import os, one as o  # and two\n\ndef build():\n    from one.sub import thing\n"
    )
    modules = {name: str(site / name / "__init__.py") for name in ("one", "two")}
    found = loaded([str(site)], {**modules, "test_it": str(tmp_path / "test_it.py")}, ())
    assert names(found, "by_user") == ["one"]
    assert sorted(names(found)) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import a.b, c as d", {"a", "a.b", "c"}),
        ("    from a import (b, c)", {"a", "a.b", "a.c"}),
        ("from . import a", set()),
        ("x = 'import a'", set()),
        ("import a; import b", {"a", "b"}),
    ],
)
def test_imports_by_their_text(text, found):
    assert imported(text) - {"."} >= found
    assert "d" not in imported(text)


def test_linux_maps():
    assert of_maps(MAPS) == {
        "/usr/bin/python3.11",
        "/venv/lib/nvidia/cudnn/lib/libcudnn.so.9",
        "/a folder/lib mkl.so.2",
    }


def test_macos_images():
    recorded = [b"/usr/lib/libSystem.B.dylib", b"/venv/tensorflow-plugins/libmetal_plugin.dylib", None]

    class Name:
        restype = None

        def __call__(self, number):
            return recorded[number]

    dyld = SimpleNamespace(_dyld_image_count=lambda: len(recorded), _dyld_get_image_name=Name())
    assert images(dyld) == {"/usr/lib/libSystem.B.dylib", "/venv/tensorflow-plugins/libmetal_plugin.dylib"}


def test_a_lazy_module_is_not_imported_by_looking(tmp_path):
    (tmp_path / "lazy.py").write_text("raise AssertionError('imported')\n")
    spec = importlib.util.spec_from_file_location("lazy", tmp_path / "lazy.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    nameless = ModuleType("nameless")
    assert files({"lazy": module, "nameless": nameless, "none": None, "number": 1, "relative": SimpleNamespace()}) == {
        "lazy": str(tmp_path / "lazy.py")
    }


def test_the_digest_is_alike_for_every_installer():
    wheel = "one/__init__.py,sha256=a,1\none-1.0.dist-info/METADATA,sha256=b,2\n"
    pip = "../../../bin/one,sha256=p,200\n" + wheel + "one/__pycache__/__init__.cpython-311.pyc,,\n"
    pip += "one-1.0.dist-info/INSTALLER,sha256=q,4\none-1.0.dist-info/RECORD,,\n"
    uv = "one-1.0.dist-info/RECORD,,\none-1.0.dist-info/REQUESTED,sha256=r,0\n" + "\n".join(
        reversed(wheel.splitlines())
    )
    uv += "\n../../../bin/one,sha256=u,300\none-1.0.dist-info/INSTALLER,sha256=s,2\n"
    uv += "one-1.0.dist-info/direct_url.json,sha256=t,9\n"
    assert digest(rows(pip)) == digest(rows(uv)) == digest(rows(wheel))
    assert len(digest(rows(wheel))) == 32


@pytest.mark.parametrize(
    "other",
    [
        "one/__init__.py,sha256=z,1\n",
        "one/__init__.py,sha256=a,1\none/more.py,sha256=b,1\n",
        "one/__init__.py,sha256=a,1\n../../../lib/libmkl.so.2,sha256=b,1\n",
        'one/__init__.py,sha256=a,1\n"one/with, comma.py",sha256=b,1\n',
        "one/other.py,sha256=a,1\n",
    ],
)
def test_the_digest_is_of_every_file(other):
    assert digest(rows(other)) != digest(rows("one/__init__.py,sha256=a,1\n"))


def test_no_record_has_no_digest():
    assert digest(rows("")) == digest(rows("broken\n,,,,\n")) == ""


@pytest.mark.parametrize(
    ("url", "folder", "editable"),
    [
        ('{"url": "file:///a%20b/c", "dir_info": {"editable": true}}', "/a b/c", True),
        ('{"url": "file:///a", "dir_info": {}}', "/a", False),
        ('{"url": "https://user:secret@host/a.whl", "archive_info": {}}', "", False),
        ('{"url": 3}', "", False),
        ("[", "", False),
        ("", "", False),
    ],
)
def test_where_it_was_installed_from(url, folder, editable):
    assert (source(url), is_editable(url)) == (folder, editable)


def test_broken_metadata_hide_nothing_else(site):
    put(site, "one")
    (site / "two-1.0.dist-info").mkdir()
    (site / "three-1.0.dist-info").mkdir()
    (site / "three-1.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe")
    modules = {"one": str(site / "one/__init__.py")}
    assert names(loaded([str(site)], modules, ())) == ["one"]


def test_a_worker_tells_it_of_itself():
    answered = answer(Job(lambda message: None), {"do": "stack"})
    assert execnet.loads(execnet.dumps(answered)) == answered
    found = answered["result"]
    ours = {one["name"]: one for one in found["distributions"]}
    assert ours["pytest"]["loaded"]
    assert found["python"].split()[1].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert found["markers"]["sys_platform"] == found["system"] == sys.platform
