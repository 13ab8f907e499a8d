"""Environments of stacks: what is installed, what is refused, what is left after a kill, what is kept."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import fake_uv
import pytest
from fake_distributions import put, sums

from pytest_metalperf.references.cache import cache_folder, private, trim
from pytest_metalperf.references.environment import NOTE, Environments, NoEnvironment, why_not
from pytest_metalperf.references.stack import Package, Stack
from pytest_metalperf.worker.distributions import digest, rows
from pytest_metalperf.worker.stack import libc, python

ONE = "lib/python3/site-packages/one/__init__.py"
UV = [sys.executable, "-I", "-S", fake_uv.__file__]
HERE = " ".join((sys.platform, platform.machine(), libc().partition(" ")[0]))


@pytest.fixture
def index(tmp_path, monkeypatch):
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def environments(cache):
    made = Environments(cache, UV)
    yield made
    made.close()


def offer(index, name, version="1.0", **more):
    """Put a package into the index; how a stack has it."""
    info = put(index / f"{name}=={version}", name, version, installer="uv", **more)
    return Package(name, version, digest(rows((info / "RECORD").read_text())))


def stack(*packages):
    return Stack(python(), HERE, "", packages)


def calls(index):
    return [json.loads(line) for line in (index / "calls").read_text().splitlines()]


def left(cache):
    """What a cache holds but for locks, which stay."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_made_once_and_found_again(index, cache, environments):
    it = stack(offer(index, "one"), offer(index, "two", "2.0"))
    made = environments.of(it)
    assert made.python.resolve() == Path(sys.executable).resolve()
    assert (made.folder / "lib/python3/site-packages/two/__init__.py").exists()
    assert made.seconds > 0
    assert environments.of(it) == replace(made, seconds=0.0)
    other = Environments(cache, UV)
    assert other.of(it) == replace(made, seconds=0.0)
    other.close()
    assert [call["words"][:2] for call in calls(index)] == [["venv", "--no-progress"], ["pip", "install"]]
    assert left(cache) == [made.folder.name]
    assert cache.stat().st_mode & 0o777 == 0o700


def test_only_names_with_exact_versions_reach_the_installer(index, environments, monkeypatch, tmp_path):
    others = {"UV_OVERRIDE", "UV_CONSTRAINT", "UV_TARGET", "UV_PYTHON", "PIP_REQUIREMENT", "PYTHONPATH", "VIRTUAL_ENV"}
    for name in others:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("UV_INDEX_MINE_PASSWORD", "p")
    monkeypatch.setenv("HTTPS_PROXY", "proxy")
    environments.of(stack(offer(index, "one"), offer(index, "two", "2.0+cpu")))
    venv, install = calls(index)
    assert install["packages"] == "one==1.0\ntwo==2.0+cpu\n"
    assert install["words"] == [
        "pip", "install", "--no-progress", "--color", "never", "--python", "environment/bin/python",
        "--no-deps", "--only-binary", ":all:", "-r", "packages.txt",
    ]  # fmt: skip
    assert "--relocatable" in venv["words"]
    for call in (venv, install):
        assert not others & call["environment"].keys()
        assert (call["environment"]["UV_INDEX_MINE_PASSWORD"], call["environment"]["HTTPS_PROXY"]) == ("p", "proxy")
        assert call["in"].startswith(str(tmp_path / "cache"))


def test_the_interpreter_is_this_one_or_one_of_that_version(index, environments):
    environments.of(stack())
    environments.of(Stack("cpython 3.99t", HERE, "", ()))
    assert [call["words"][-2] for call in calls(index)] == [sys._base_executable, "cpython3.99t"]


def test_tools_come_in_todays_versions(index, environments):
    offer(index, "two", "5.0")
    tools = [
        offer(index, "pytest", "9.0"),
        Package("two", "5.0", "d"),
        Package("plugin", "0.1", "d", "editable from a folder"),
    ]
    made = environments.of(stack(offer(index, "two", "2.0")), tools)
    assert made.left_out == ("plugin",)
    site = made.folder / "lib/python3/site-packages"
    assert sorted(path.name for path in site.glob("*.dist-info")) == ["pytest-9.0.dist-info", "two-2.0.dist-info"]


def test_what_cannot_be_installed_here(index, environments):
    gone = [Package(name, "1.0", "", "without a RECORD") for name in "abcd"]
    with pytest.raises(NoEnvironment) as error:
        environments.of(stack(*gone))
    assert str(error.value) == (
        "some of its packages cannot be installed again: a 1.0 (without a RECORD), b 1.0 (without a RECORD),"
        " c 1.0 (without a RECORD) and 1 more"
    )
    assert (
        why_not(Stack(python(), "plan9 mips", "", ())) == f"its packages are for plan9 mips, and this machine is {HERE}"
    )
    assert not (index / "calls").exists()


def test_the_installers_reason_is_ours_and_nothing_is_left(index, cache, environments):
    with pytest.raises(NoEnvironment) as error:
        environments.of(stack(offer(index, "one"), Package("two", "2.0", "d" * 32)))
    assert str(error.value) == "there is no version of two==2.0"
    assert left(cache) == []
    two = offer(index, "two", "2.0")
    assert environments.of(stack(offer(index, "one"), two)).seconds > 0


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ("", "one 1.0 is not the package that was recorded: it holds other files"),
        ("(site / 'one/__init__.py').write_text('evil')", f"one has another file {ONE} than its RECORD says"),
        ("(site / 'one/__init__.py').unlink()", f"one lacks its file {ONE}"),
        ("p = site / 'one/__init__.py'; p.unlink(); p.symlink_to('/etc/hosts')", f"one lacks its file {ONE}"),
        ("(site / 'evil.pth').write_text('import os')", "lib/python3/site-packages/evil.pth belongs to no package"),
        ("(environment / 'bin/python').unlink(); (environment / 'bin/python').write_text('evil')",
         "a package has changed bin/python, which is the environment's own"),
        ("(environment / 'bin/python').unlink()", "a package has changed bin/python, which is the environment's own"),
        ("import shutil; shutil.rmtree(site / 'one-1.0.dist-info')", "one 1.0 was not installed"),
        ("import shutil; shutil.copytree(site / 'one-1.0.dist-info', site / 'One-1.0.dist-info')", "one was installed twice"),
        ("p = site / 'two-1.dist-info'; p.mkdir(); (p / 'METADATA').write_text('Name: two\\nVersion: 1\\n')",
         "two was installed, and nothing wants it"),
        ("p = site / 'one-1.0.dist-info/METADATA'; p.write_text(p.read_text().replace('Version: 1.0', 'Version: 2.0'))",
         "one 2.0 was installed, and 1.0 was wanted"),
    ],
)  # fmt: skip
def test_other_files_than_recorded_are_refused_and_removed(index, cache, environments, after, why):
    one = offer(index, "one")
    if after:
        (index / "after.py").write_text(after)
    else:
        one = replace(one, record="0" * 32)
    with pytest.raises(NoEnvironment) as error:
        environments.of(stack(one))
    assert str(error.value).startswith(why)
    assert left(cache) == []


def test_a_record_without_hashes_proves_nothing(index, environments):
    info = put(index / "one==1.0", "one", more=["one/more.py,,", f"one/weak.py,md5={'0' * 22},1"])
    for name in ("more", "weak"):
        (info.parent / f"one/{name}.py").write_text("x")
    with pytest.raises(NoEnvironment, match=r"one has another file \S+/(more|weak).py than its RECORD"):
        environments.of(stack(Package("one", "1.0", digest(rows((info / "RECORD").read_text())))))


def test_two_packages_may_share_a_file(index, environments):
    shared = [offer(index, name, files={"tests/__init__.py": text}) for name, text in (("one", "1"), ("two", "2"))]
    assert environments.of(stack(*shared)).seconds > 0


def test_scripts_lie_in_the_environment_and_are_hashed(index, environments):
    (index / "after.py").write_text("(environment / 'bin/tool').write_text('x')")
    one = offer(index, "one", more=[f"../../../bin/tool,{sums(b'x')},1"])
    assert environments.of(stack(one)).seconds > 0


def test_one_that_lost_its_interpreter_is_made_anew(index, environments):
    it = stack(offer(index, "one"))
    made = environments.of(it)
    made.python.unlink()
    again = environments.of(it)
    assert again.seconds > 0
    assert again.python.exists()


def test_the_tools_of_another_python_are_other_wheels(index, environments):
    offer(index, "pytest", "9.0")
    other = Package("pytest", "9.0", "0" * 32)
    with pytest.raises(NoEnvironment, match=r"^pytest 9\.0 is not the package that was recorded"):
        environments.of(stack(), [other])
    assert environments.of(Stack("cpython 3.99", HERE, "", ()), [other]).seconds > 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF])
def test_a_file_system_without_locks(index, cache, environments, monkeypatch, number):
    def flock(descriptor, mode):
        raise OSError(number, "no locks")

    monkeypatch.setattr("pytest_metalperf.references.slot.fcntl.flock", flock)
    it = stack(offer(index, "one"))
    made = environments.of(it)
    assert Environments(cache, UV, most_bytes=1).of(it).folder == made.folder
    trim(cache, 0, NOTE)
    assert left(cache) == [made.folder.name]


def test_a_full_disk_is_a_sentence(index, cache, environments, monkeypatch):
    def full(self, whole):
        raise OSError(errno.ENOSPC, "No space left on device", str(whole))

    monkeypatch.setattr("pytest_metalperf.references.slot.Slot.fill", full)
    with pytest.raises(NoEnvironment, match=r"environment: No space left on device$"):
        environments.of(stack())
    assert left(cache) == []


def test_two_at_once_make_it_once(index, cache):
    it = stack(offer(index, "one"))
    (index / "wait").write_text("0.2")
    both = [Environments(cache, UV) for _ in range(2)]
    found = []
    threads = [threading.Thread(target=lambda one=one: found.append(one.of(it))) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.seconds > 0 for one in found) == [False, True]
    assert len(calls(index)) == 2
    for one in both:
        one.close()


def test_closing_ends_what_is_still_made(index, cache):
    it, why = stack(offer(index, "one")), []
    (index / "wait").write_text("60")
    environments = Environments(cache, UV)

    def make():
        with pytest.raises(NoEnvironment) as error:
            environments.of(it)
        why.append(str(error.value))

    thread = threading.Thread(target=make)
    thread.start()
    while not (index / "calls").exists() or len(calls(index)) < 2:
        time.sleep(0.01)
    environments.close()
    thread.join(10)
    assert why == ["uv ended with exit code -9 and said nothing"]
    assert left(cache) == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a kill")
def test_a_killed_session_leaves_nothing_that_is_used(index, cache, environments):
    it = stack(offer(index, "one"))
    (index / "wait").write_text("0.4")
    code = (
        "import sys; from pathlib import Path\n"
        "from pytest_metalperf.references.environment import Environments\n"
        "from pytest_metalperf.references.stack import Package, Stack\n"
        f"Environments(Path({str(cache)!r}), {UV!r}).of({it!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (index / "calls").exists() or len(calls(index)) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert left(cache)[0].startswith("unfinished-")
    (index / "wait").unlink()
    start = time.monotonic()
    made = environments.of(it)
    assert time.monotonic() - start > 0.1  # the installer that outlived its session was waited for
    assert made.seconds > 0
    assert left(cache) == [made.folder.name]


def test_what_is_used_least_is_removed_and_what_is_in_use_stays(index, cache):
    stacks = [stack(offer(index, name)) for name in ("one", "two", "three")]
    using = Environments(cache, UV, most_bytes=1)
    used = using.of(stacks[0])
    other = Environments(cache, UV, most_bytes=1)
    mine = other.of(stacks[1])
    assert left(cache) == sorted([used.folder.name, mine.folder.name])
    other.close()
    third = Environments(cache, UV, most_bytes=1)
    last = third.of(stacks[2])
    assert left(cache) == sorted([used.folder.name, last.folder.name])
    using.close()
    third.close()
    assert trim(cache, 0, NOTE) == [used.folder.name, last.folder.name]
    assert left(cache) == []


def test_what_killed_processes_left_is_removed_after_an_hour(cache):
    private(cache)
    for name in ("unfinished-key-abc", "gone-abc"):
        (cache / name).mkdir()
    trim(cache, 0, NOTE)
    assert len(left(cache)) == 2
    for name in ("unfinished-key-abc", "gone-abc"):
        os.utime(cache / name, (1e9, 1e9))
    trim(cache, 0, NOTE)
    assert left(cache) == []


def test_a_cache_that_is_not_ours_is_none(index, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "open", "link"):
        with pytest.raises(NoEnvironment, match="is no folder of this user's alone; set PYTEST_METALPERF_CACHE to one"):
            Environments(tmp_path / name, UV).of(stack())
    assert not (index / "calls").exists()


def test_without_uv_a_sentence_says_what_installs_it(index, cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(NoEnvironment) as error:
        Environments(cache).of(stack())
    assert (
        str(error.value)
        == "uv is not installed in this environment; pip install 'pytest-metalperf[replay]' installs it"
    )


@pytest.mark.parametrize(
    ("variables", "system", "found"),
    [
        ({}, "linux", "/h/.cache/pytest-metalperf"),
        ({"XDG_CACHE_HOME": "/x"}, "linux", "/x/pytest-metalperf"),
        ({"XDG_CACHE_HOME": "relative"}, "linux", "/h/.cache/pytest-metalperf"),
        ({"XDG_CACHE_HOME": "/x"}, "darwin", "/h/Library/Caches/pytest-metalperf"),
        ({"LOCALAPPDATA": "/l"}, "win32", "/l/pytest-metalperf"),
        ({"PYTEST_METALPERF_CACHE": "/mine", "XDG_CACHE_HOME": "/x"}, "linux", "/mine"),
    ],
)
def test_where_the_cache_is(variables, system, found):
    assert cache_folder(variables, system, Path("/h")) == Path(found)


def test_another_wheel_of_the_version_may_lie_in_the_last_index(index, cache, environments, monkeypatch, tmp_path):
    """uv takes a version from the first index that has it; pip had found a better wheel in another."""
    it = stack(offer(index, "one", files={"one/__init__.py": "NATIVE = True\n"}))
    offer(tmp_path / "plain", "one", files={"one/__init__.py": "NATIVE = False\n"})
    monkeypatch.setenv("UV_INDEX", "file:///plain file:///native")
    (index / "after.py").write_text(
        "import os, shutil\n"
        "if os.environ['UV_INDEX'].startswith('file:///plain'):\n"
        f"    shutil.copytree({str(tmp_path / 'plain' / 'one==1.0')!r}, site, dirs_exist_ok=True)\n"
    )
    made = environments.of(it)
    assert "True" in (made.folder / ONE).read_text()
    assert [call["environment"]["UV_INDEX"] for call in calls(index) if call["words"][0] == "pip"] == [
        "file:///plain file:///native",
        "file:///native file:///plain",
    ]
