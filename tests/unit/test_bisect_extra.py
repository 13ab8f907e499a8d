"""`bisect` without its extra."""

from __future__ import annotations

import importlib.util

from pytest_metalperf import __main__ as package


def test_without_git_bayesect_the_extra_is_named(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "git_bayesect" else found(name))
    assert package.main(["bisect", "HEAD~1", "HEAD", "--", "test_net.py"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "bisect: git-bayesect is not installed: pip install 'pytest-metalperf[bisect]'\n"
