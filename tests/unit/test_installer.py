"""What uv is told of where packages come from, and how its failures read."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from pytest_metalperf.references.installer import (
    INSTALL_SECONDS,
    Installer,
    InstallError,
    find_uv,
    reason,
    rendered,
    variables,
)
from pytest_metalperf.references.pip_settings import of_pip, settings
from pytest_metalperf.references.stack import Package

NO_FILES = {"XDG_CONFIG_HOME": "/nowhere", "XDG_CONFIG_DIRS": "/nowhere"}
PIP = """\
:env:.cert='/certificates.pem'
:env:.find-links='/wheels links'
global.constraint='/constraints.txt'
global.extra-index-url='https://a.example/simple https://b.example/simple'
global.find-links='/other'
global.index-url='https://global.example/simple'
install.index-url="https://in'stall.example/simple"
install.target='/target'
install.no-deps='true'
freeze.index-url='https://freeze.example'
broken
broken='
"""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "Using Python 3.11.7 environment at: v\nerror: No solution found when resolving dependencies\n"
            "  cause: Because nosuch was not found in the package registry and you require nosuch==1.0, we can conclude"
            " that your requirements are unsatisfiable.\n",
            "nosuch was not found in the package registry",
        ),
        (
            "  × No solution found when resolving dependencies:\n  ╰─▶ Because there is no version of numpy==99.1 and you\n"
            "      require numpy==99.1, we can conclude that your requirements are unsatisfiable.\n",
            "there is no version of numpy==99.1",
        ),
        (
            "error: No solution found\n  cause: Because numpy==2.4.6 has no wheels with a matching platform tag (e.g., `x`)"
            " and you require numpy==2.4.6, we can conclude that\n\nhint: Wheels are available for `numpy`",
            "numpy==2.4.6 has no wheels with a matching platform tag (e.g., `x`)",
        ),
        (
            "error: Request failed after 3 retries\n  cause: Failed to fetch: https://user:secret@i.example/simple/\n"
            "  cause: client error (Connect)\n  cause: Connection refused (os error 111)\n",
            "Request failed after 3 retries; Failed to fetch: https://i.example/simple/; Connection refused (os error 111)",
        ),
        (
            "error: Failed to install: one.whl\n  Caused by: failed to copy\n  Caused by: No space left on device (os error 28)",
            "Failed to install: one.whl; failed to copy; No space left on device (os error 28)",
        ),
        (
            "error: No interpreter found for CPython 3.99 in search path\n\nhint: A download is available",
            "No interpreter found for CPython 3.99 in search path",
        ),
        (
            "Prepared 1 package in 1ms\nwarning: Failed to hardlink files. If this is\n  intentional, set it.\n"
            "error: Failed to install: one.whl\n  cause: No space left on device (os error 28)\n",
            "Failed to install: one.whl; No space left on device (os error 28)",
        ),
        ("\x1b[31merror\x1b[0m: it broke", "it broke"),
        ("x" * 1000, "x" * 300),
        ("", ""),
    ],
)
def test_a_failure_in_uvs_words(said, why):
    assert reason(said) == why


def test_an_installer_that_says_nothing(tmp_path):
    with pytest.raises(InstallError, match="uv ended with exit code 1 and said nothing"):
        Installer(["false"]).make("python", tmp_path)


def test_one_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_metalperf.references.installer.INSTALL_SECONDS", 0.05)
    assert INSTALL_SECONDS > 60
    with pytest.raises(InstallError, match="making an environment took more than 0 s"):
        Installer(["sh", "-c", "sleep 60"]).make("python", tmp_path)


def test_no_packages_need_no_installing(tmp_path):
    Installer(["false"]).install([], tmp_path)


def test_what_an_installer_is_given():
    assert rendered([Package("one", "1.0", "d" * 32), Package("two", "2.0+cpu")]) == "one==1.0\ntwo==2.0+cpu\n"


def test_variables_that_reach_uv():
    given = {
        "PATH": "/bin", "HOME": "/h", "HTTPS_PROXY": "p", "UV_INDEX": "i", "UV_CACHE_DIR": "c", "UV_INDEX_A_USERNAME": "u",
        "UV_OVERRIDE": "x", "UV_NO_BINARY": "x", "UV_PROJECT": "x", "UV_PYTHON": "x", "UV_LINK_MODE": "symlink",
        "PIP_INDEX_URL": "x", "PYTHONHOME": "x", "VIRTUAL_ENV": "x", "CONDA_PREFIX": "x",
    }  # fmt: skip
    assert variables(given, {"UV_FIND_LINKS": "l"}) == {
        "PATH": "/bin", "HOME": "/h", "HTTPS_PROXY": "p", "UV_INDEX": "i", "UV_CACHE_DIR": "c", "UV_INDEX_A_USERNAME": "u",
        "UV_FIND_LINKS": "l",
    }  # fmt: skip


def test_the_uv_of_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "uv", SimpleNamespace(find_uv_bin=lambda: "/venv/bin/uv"))
    assert find_uv() == ["/venv/bin/uv"]


def test_pips_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings(PIP)["index-url"] == "https://in'stall.example/simple"
    assert of_pip(NO_FILES, PIP) == {
        "UV_DEFAULT_INDEX": "https://in'stall.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_FIND_LINKS": f"/wheels,{tmp_path / 'links'}",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/certificates.pem",
    }


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("global.no-index='true'", {"UV_NO_INDEX": "1"}),
        ("global.no-index='false'", {}),
        ("global.trusted-host='a b'", {"UV_INSECURE_HOST": "a b"}),
        ("global.proxy='http://p:1'", {"ALL_PROXY": "http://p:1"}),
        ("global.keyring-provider='import'", {"UV_KEYRING_PROVIDER": "subprocess"}),
        ("install.find-links='https://wheels.example/links'",
         {"UV_FIND_LINKS": "https://wheels.example/links", "UV_INDEX_STRATEGY": "unsafe-best-match"}),
        ("", {}),
    ],
)  # fmt: skip
def test_one_setting_of_pips(said, found):
    assert of_pip(NO_FILES, said) == found


def test_uvs_own_settings_count_before_pips(tmp_path):
    assert of_pip({**NO_FILES, "UV_DEFAULT_INDEX": "mine"}, PIP) == {}
    assert "SSL_CERT_FILE" not in of_pip({**NO_FILES, "SSL_CERT_FILE": "mine"}, PIP)
    own = tmp_path / "uv" / "uv.toml"
    own.parent.mkdir()
    for text, counts in (
        ('python-preference = "system"\n', False),
        ('[[index]]\nurl = "https://i.example"\n', True),
        ('[pip]\n  extra-index-url = ["https://i.example"]\n', True),
    ):
        own.write_text(text)
        assert (of_pip({**NO_FILES, "XDG_CONFIG_HOME": str(tmp_path)}, PIP) == {}) is counts


def test_pips_variables_count_without_pip(monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert of_pip({**NO_FILES, "PIP_INDEX_URL": "https://i.example"}) == {"UV_DEFAULT_INDEX": "https://i.example"}
