"""Noise on two levels: what is learned, from whom, and what stands in."""

from __future__ import annotations

import math
from random import Random

import pytest
from gate_simulation import World

from pytest_metalperf.gate import RunFigure, learn_noise


def runs(*seconds: float, session: str = "a") -> list[RunFigure]:
    return [RunFigure(value, session) for value in seconds]


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_run_takes_a_positive_finite_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="positive finite"):
        RunFigure(seconds, "a")


@pytest.mark.parametrize(("run_sd", "session_sd"), [(0.01, 0.0), (0.01, 0.02), (0.05, 0.05), (0.003, 0.02)])
def test_both_levels_are_learned(run_sd: float, session_sd: float) -> None:
    stored, *peers = World(run_sd, session_sd, layout=(3,) * 40, workloads=3).store(Random(1))[0]
    noise = learn_noise(stored, peers)
    assert noise.run_sd == pytest.approx(run_sd, rel=0.1)
    assert noise.session_sd == pytest.approx(session_sd, rel=0.2, abs=run_sd / 5)
    assert noise.run_known
    assert noise.session_known


def test_nothing_stored() -> None:
    noise = learn_noise([], [])
    assert (noise.run_sd, noise.run_known, noise.session_known) == (0.05, False, False)


def test_one_run_and_no_peers_knows_nothing() -> None:
    assert learn_noise(runs(1.0), []) == learn_noise([], [])


def test_two_equal_runs_do_not_make_a_machine_without_noise() -> None:
    noise = learn_noise(runs(1.0, 1.0), [])
    assert noise.run_known
    assert 0.03 < noise.run_sd < 0.05


def test_zero_variance_everywhere_keeps_a_floor() -> None:
    noise = learn_noise(runs(*[1.0] * 5), [runs(*[2.0] * 5)] * 4)
    assert noise.run_sd == 0.001


def test_peers_are_believed_where_entries_agree() -> None:
    stored, *peers = World(0.02, layout=(5,), workloads=12).store(Random(2))[0]
    assert learn_noise(stored, peers).run_sd == pytest.approx(0.02, rel=0.25)


def test_a_noisy_workload_among_quiet_ones_keeps_its_noise() -> None:
    quiet = World(0.005, layout=(5,), workloads=11).store(Random(3))[0]
    noisy = runs(1.0, 1.1, 0.9, 1.15, 0.95)
    assert learn_noise(noisy, quiet).run_sd > 0.06
    assert learn_noise(quiet[0], [*quiet[1:], noisy]).run_sd < 0.01


def test_sessions_are_known_from_three_on() -> None:
    stored = [*runs(1.0, 1.01), *runs(1.02, session="b")]
    assert not learn_noise(stored, []).session_known
    assert learn_noise([*stored, *runs(1.01, session="c")], []).session_known


def test_peers_tell_of_sessions() -> None:
    peer = [*runs(1.0, 1.01), *runs(1.02, session="b"), *runs(1.01, session="c")]
    assert learn_noise(runs(1.0, 1.01), [peer]).session_known


def test_two_sessions_far_apart_outweigh_the_prior() -> None:
    near = [*runs(1.0, 1.01, 1.02), *runs(1.0, 1.01, 1.02, session="b")]
    far = [*runs(1.0, 1.01, 1.02), *runs(1.3, 1.31, 1.32, session="b")]
    assert learn_noise(near, []).session_sd < learn_noise(near[:3], []).session_sd < learn_noise(far, []).session_sd / 3


def test_two_sessions_alike_leave_half_of_what_is_assumed_of_sessions():
    alike = [*runs(1.0, 1.01, 1.02), *runs(1.0, 1.01, 1.02, session="b")]
    assumed = learn_noise(alike[:3] * 2, []).session_sd
    assert learn_noise(alike, []).session_sd ** 2 == pytest.approx(assumed**2 / 2, rel=0.2)


def test_a_smaller_prior_weighs_only_until_runs_tell_their_own():
    assert learn_noise([], [], 0.2).run_sd == pytest.approx(learn_noise([], []).run_sd / 5)
    assert learn_noise(runs(1.0, 1.0), [], 0.2).session_sd < learn_noise(runs(1.0, 1.0), []).session_sd
    told = runs(1.0, 1.01, 1.02, 1.0, 1.03, session="a") + runs(1.0, 1.01, session="b") + runs(1.0, 1.02, session="c")
    assert learn_noise(told, [], 0.2) == learn_noise(told, [])
