"""A Mac is kept awake, its worker is no background work, and elsewhere nothing is done."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_metalperf.worker.machine import fair


def task_info(priority: int) -> bytes:
    """A proc_taskinfo: six 64-bit fields, twelve 32-bit ones, of which the last is the priority."""
    return struct.pack("<6Q12i", *range(6), *range(11), priority)


@pytest.mark.parametrize(
    ("priority", "background"),
    [(4, True), (1, True), (31, False), (47, False), (20, False), (0, None), (-1, None), (128, None)],
)
def test_background_is_a_priority(priority, background):
    assert fair.is_background(task_info(priority)) is background


@given(st.binary(max_size=120))
def test_no_bytes_raise(told):
    assert fair.is_background(told) in (True, False, None)


def test_an_answer_that_was_cut_off_is_unknown():
    assert fair.is_background(task_info(4)[:-1]) is None


class Library:
    """libSystem, as far as it is called."""

    def __init__(self, priority: int = 31, refused: bool = False) -> None:
        self.priority, self.refused, self.asked = priority, refused, []

    def proc_pidinfo(self, pid, flavor, argument, buffer, size):
        self.asked.append((pid, flavor, size))
        buffer.raw = task_info(self.priority)
        return 0 if self.refused else size

    def pthread_set_qos_class_self_np(self, kind, relative):
        self.asked.append((kind, relative))
        return 1 if self.refused else 0


def test_the_system_is_asked_for_this_process(monkeypatch):
    library = Library(priority=4)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert fair.background() is True
    assert library.asked == [(os.getpid(), 4, 96)]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library(refused=True))
    assert fair.background() is None
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert fair.background() is None


def test_the_thread_that_trains_is_user_interactive_on_a_mac(monkeypatch):
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(fair.sys, "platform", "darwin")
    assert fair.user_interactive()
    assert library.asked == [(0x21, 0)]
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library(refused=True))
    assert not fair.user_interactive()


def test_a_mac_is_kept_awake_once(monkeypatch):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **streams: started.append(command) or SimpleNamespace())
    monkeypatch.setattr(fair.sys, "platform", "darwin")
    monkeypatch.setattr(fair, "_awake", [])
    fair.keep_awake()
    fair.keep_awake()
    assert started == [["/usr/bin/caffeinate", "-i", "-s", "-w", str(os.getpid())]]


def test_a_mac_without_caffeinate_is_measured_all_the_same(monkeypatch):
    def missing(*command, **streams):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "Popen", missing)
    monkeypatch.setattr(fair.sys, "platform", "darwin")
    monkeypatch.setattr(fair, "_awake", [])
    fair.keep_awake()


@pytest.mark.skipif(sys.platform == "darwin", reason="elsewhere")
def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    fair.keep_awake()
    assert not fair.user_interactive()
