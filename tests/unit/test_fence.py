"""The fence: one value read back from whatever a step returned."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_metalperf.worker.fence import first_value, read_back
from pytest_metalperf.worker.problems import Problem


class DeviceValue:
    """An array on a device: adding computes there, reading waits."""

    dtype = "float32"

    def __init__(self, values: list[float], log: list[str], shape: tuple[int, ...] = ()) -> None:
        self.values, self.log, self.shape = values, log, shape

    def __getitem__(self, index: tuple[int, ...]) -> DeviceValue:
        assert index == (0,) * len(self.shape)
        self.log.append("index")
        return DeviceValue(self.values[:1], self.log)

    def __add__(self, other: float) -> DeviceValue:
        self.log.append("compute")
        return DeviceValue([value + other for value in self.values], self.log)

    def numpy(self) -> np.ndarray:
        self.log.append("read")
        return np.float32(self.values[0])


@pytest.mark.parametrize(
    ("outputs", "first"),
    [
        (1.0, 1.0),
        ([1.0, 2.0], 1.0),
        ((1.0, 2.0), 1.0),
        ({"loss": 1.0, "accuracy": 2.0}, 1.0),
        ([{"loss": ([1.0],)}, 2.0], 1.0),
        ([], []),
        ({}, {}),
        (None, None),
    ],
)
def test_first_value_of_nested_outputs(outputs, first):
    assert first_value(outputs) == first


@pytest.mark.parametrize(
    ("outputs", "value"),
    [
        (0.5, 0.5),
        (3, 3.0),
        (np.float32(0.5), 0.5),
        (np.array(0.5), 0.5),
        (np.array([[0.5, 7.0]]), 0.5),
        ({"loss": np.float64(0.5)}, 0.5),
        ([0.5, "not looked at"], 0.5),
        (float("inf"), float("inf")),  # whether it is a good loss is not the fence's business
    ],
)
def test_values_on_the_host_are_read_as_they_are(outputs, value):
    read = read_back(outputs)
    assert read == value
    assert type(read) is float


def test_device_value_is_computed_anew_then_read():
    log: list[str] = []
    assert read_back(DeviceValue([0.5], log)) == 0.5  # the loss itself: twice as much was read once
    assert log == ["compute", "read"]


def test_one_element_of_an_array_is_enough():
    log: list[str] = []
    read_back({"outputs": DeviceValue([0.5, 1.0], log, shape=(1, 2))})
    assert log == ["index", "compute", "read"]


@pytest.mark.parametrize("outputs", [None, [], {}, (), [None], "loss", b"loss", {"loss": None}, [[], 1.0]])
def test_nothing_to_wait_for_is_a_problem(outputs):
    with pytest.raises(Problem, match=r"^the step returned \w+; it must return a value") as caught:
        read_back(outputs)
    assert caught.value.kind == "training"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("outputs", [object(), lambda: 1.0, {1.0}])
def test_what_is_no_number_is_a_problem(outputs):
    with pytest.raises(Problem, match=r"which is no number and no device value"):
        read_back(outputs)


def test_array_without_elements_is_a_problem():
    with pytest.raises(Problem):
        read_back(np.zeros((0, 3)))


@pytest.mark.parametrize("outputs", [np.complex64(1 + 2j), np.array("loss")])
def test_array_that_holds_no_real_number_is_a_problem(outputs):
    with pytest.raises(Problem):
        read_back(outputs)
