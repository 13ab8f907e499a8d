"""Macs by their recorded output: the right fact, or unknown, and no exception."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import names, transcript

from pytest_metalperf.worker.machine import facts, macos

REPEATABLE = settings(derandomize=True, max_examples=30, deadline=None)
MACS = names("macs")
IDS = {
    "macbook-air-m1": "macbookair10-1-apple-m1-4p4e-7gpu-8gb",
    "macbook-pro-m1-pro": "macbookpro18-3-apple-m1-pro-8p2e-16gpu-32gb",
    "macbook-air-m2": "mac14-2-apple-m2-4p4e-10gpu-16gb",
    "macbook-pro-m3-pro": "mac15-6-apple-m3-pro-5p6e-14gpu-18gb",
    "macbook-pro-m4-max": "mac16-5-apple-m4-max-12p4e-40gpu-128gb",
    "macbook-pro-m5-max": "mac17-6-apple-m5-max-6s12p-40gpu-64gb",
    "mac-mini-m2": "mac14-3-apple-m2-4p4e-10gpu-8gb",
    "virtual-mac": "virtualmac2-1-apple-m1-virtual-3cpu-7gb-apple-paravirtual-device",
    "rosetta-m1-pro": "macbookpro18-3-apple-m1-pro-8p2e-16gpu-32gb",
    "macbook-pro-intel": "macbookpro16-1-intel-core-i7-9750h-12cpu-16gb-amd-radeon-pro-5300m-intel-uhd-graphics-630",
    "mac-pro-2019": "macpro7-1-intel-xeon-w-3245-32cpu-192gb-2x-amd-radeon-pro-vega-ii",
}
FINE = {"power": "mains", "low_power": False, "thermal": "nominal", "speed_limit": 1.0, "virtual_gpu": False}
STATES = {
    "macbook-air-m1": {**FINE, "power": "battery", "low_power": True, "thermal": "moderate"},
    "macbook-air-m2": {**FINE, "thermal": "heavy"},
    "mac-mini-m2": {**FINE, "low_power": None},
    "virtual-mac": {**FINE, "low_power": None, "thermal": None, "virtual_gpu": True},
    "macbook-pro-intel": {**FINE, "speed_limit": 0.35},
    "mac-pro-2019": {**FINE, "low_power": None},
}


def say(said: dict[str, str], *command: str, **_: object) -> str:
    """`run` on the Mac of a transcript."""
    line = " ".join(word.rpartition("/")[2] for word in command)
    return next((said[known] for known in sorted(said, key=len, reverse=True) if line.startswith(known)), "")


def facts_of(said: dict[str, str]) -> facts.MachineFacts:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(macos, "run", lambda *command, **limits: say(said, *command, **limits))
        return facts.facts_from("macos", macos.hardware())


def state_of(said: dict[str, str]) -> dict[str, object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(macos, "run", lambda *command, **limits: say(said, *command, **limits))
        return dict(macos.state())


def test_every_recording_is_expected():
    assert sorted(IDS) == MACS


@pytest.mark.parametrize("name", MACS)
def test_id(name):
    assert facts_of(transcript("macs", name)).id == IDS[name]


@pytest.mark.parametrize("name", MACS)
def test_state(name):
    assert state_of(transcript("macs", name)) == STATES.get(name, FINE)


def test_all_facts():
    assert facts_of(transcript("macs", "macbook-pro-m1-pro")) == facts.MachineFacts(
        id="macbookpro18-3-apple-m1-pro-8p2e-16gpu-32gb",
        system="macos",
        chip="Apple M1 Pro",
        model="MacBookPro18,3",
        cores="8p2e",
        memory_gb=32,
        gpus=("Apple M1 Pro 16-core",),
        os="macOS 15.1 (24B83)",
        virtual=False,
        rosetta=False,
    )


def test_rosetta_is_the_same_machine():
    translated = facts_of(transcript("macs", "rosetta-m1-pro"))
    assert (translated.chip, translated.rosetta) == ("Apple M1 Pro", True)
    without_arch = transcript("macs", "rosetta-m1-pro") | {"arch -arm64 sysctl": ""}
    assert facts_of(without_arch).chip == "unknown"


@pytest.mark.parametrize("name", ["macbook-pro-intel", "mac-pro-2019"])
def test_intel_macs_are_not_translated(name):
    assert facts_of(transcript("macs", name)).rosetta is False


@pytest.mark.parametrize("name", [name for name in MACS if "-gpu-" not in IDS[name] and "intel" not in IDS[name]])
def test_gpu_is_the_same_where_ioreg_says_nothing(name):
    said = transcript("macs", name)
    assert facts_of(said | {"ioreg": ""}).gpus == facts_of(said).gpus


def test_gpu_that_nothing_names():
    silent = transcript("macs", "macbook-air-m1") | {"ioreg": "", "system_profiler": ""}
    assert facts_of(silent).gpus == ("unknown",)
    assert facts_of(silent).id == "macbookair10-1-apple-m1-4p4e-8gb-unknown-gpu"


def test_nothing_to_read():
    assert facts_of({}).id == "macos-unknown-chip-unknown-cores-unknown-memory-unknown-gpu"
    assert set(state_of({}).values()) == {None}


def test_three_levels_of_cores():
    levels = {"hw.nperflevels": "3", "machdep.cpu.brand_string": "Apple M6"}
    for level, (name, count) in enumerate([("Super", 2), ("Performance", 4), ("Efficiency", 6)]):
        levels |= {f"hw.perflevel{level}.name": name, f"hw.perflevel{level}.physicalcpu": str(count)}
    assert macos.cores(levels) == "2s4p6e"
    assert macos.cores(levels | {"hw.perflevel2.name": ""}) == "unknown"
    assert macos.cores(levels | {"hw.nperflevels": "4"}) == "unknown"


@pytest.mark.parametrize(
    ("printed", "power"),
    [
        ("Now drawing from 'AC Power'\n", "mains"),
        ("Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t18%; discharging; 1:12 remaining\n", "battery"),
        ("Now drawing from 'UPS Power'\n", None),
        ("No batteries available.\n", "mains"),
        ("Stromversorgung durch 'Netzteil'\n", None),
        ("Now drawing from 'AC Po", None),
        ("", None),
    ],
)
def test_power(printed, power):
    assert macos.power(printed) == power


@pytest.mark.parametrize(
    ("printed", "low"),
    [
        (" lowpowermode         1\n", True),
        (" lowpowermode         0\n", False),
        (" powermode            2\n", False),
        (" powermode            1\n", True),
        (" powermode            7\n", None),
        (" lowpowermode         ", None),
        (" sleep 1 (sleep prevented by powerd)\n", None),
        ("", None),
    ],
)
def test_low_power(printed, low):
    assert macos.low_power(printed) == low


@pytest.mark.parametrize(
    ("printed", "pressure"),
    [
        *((f"com.apple.system.thermalpressurelevel {n}\n", word) for n, word in macos.THERMAL_LEVELS.items()),
        ("com.apple.system.thermalpressurelevel 5\n", None),
        ("com.apple.system.thermalpressurelevel: Failed with code 1\n", None),
        ("com.apple.system.thermalpressurelevel 0", None),
        ("", None),
    ],
)
def test_thermal(printed, pressure):
    assert macos.thermal(printed) == pressure


@pytest.mark.parametrize(
    ("printed", "limit"),
    [
        ("\tCPU_Speed_Limit \t= 62\n", 0.62),
        ("    CPU_Scheduler_Limit     = 100\n    CPU_Speed_Limit     = 35\n", 0.35),
        ("Note: No CPU power status has been recorded\n", 1.0),
        ("Error: No CPU power status with error code 0xe00002c2\n", None),
        ("Hinweis: Kein CPU-Status aufgezeichnet\n", None),
        ("\tCPU_Speed_Limit \t= 10", None),
        ("", None),
    ],
)
def test_speed_limit(printed, limit):
    assert macos.speed_limit(printed) == limit


@pytest.mark.parametrize(
    "printed", ["", "{", "[]", "null", "{}", '{"SPDisplaysDataType": {}}', '{"SPDisplaysDataType": [1]}']
)
def test_displays_that_are_none(printed):
    assert macos.displays(printed) is None
    assert macos.gpu_names(macos.displays(printed)) == ("unknown",)


def test_displays():
    assert macos.displays(transcript("macs", "macbook-pro-m5-max")["system_profiler"]) == [
        macos.Gpu("Apple M5 Max", 40, "metal4")
    ]
    assert macos.gpu_names(macos.displays('{"SPDisplaysDataType": []}')) == ()
    assert macos.gpu_names([macos.Gpu("Apple M1", None, "metal3")]) == ("unknown",)  # of 7 cores, or of 8


@st.composite
def mangled(draw: st.DrawFn, name: str) -> dict[str, str]:
    """A transcript with outputs missing, cut, in another language, with a strange line, or without one of their own."""
    said = transcript("macs", name)
    for command in draw(st.sets(st.sampled_from(sorted(said)), min_size=1)):
        text = said[command]
        how = draw(st.sampled_from(["missing", "cut", "translated", "line lost", "line added", "returns"]))
        rows = text.splitlines(keepends=True) or [""]
        at = draw(st.integers(0, len(rows) - 1))
        said[command] = {
            "missing": "",
            "cut": text[: draw(st.integers(0, len(text)))],
            "translated": text.translate(str.maketrans("aeiouAEIOU", "äéîöüÄÉÎÖÜ")),
            "line lost": "".join(rows[:at] + rows[at + 1 :]),
            "line added": "".join([*rows[:at], draw(st.text()) + "\n", *rows[at:]]),
            "returns": text.replace("\n", "\r\n"),
        }[how]
    return said


@pytest.mark.parametrize("name", MACS)
@REPEATABLE
@given(data=st.data())
def test_mangled_output_is_right_or_unknown(name, data):
    said = data.draw(mangled(name))
    right, found = facts_of(transcript("macs", name)), facts_of(said)
    assert found.chip in (right.chip, "unknown")
    assert found.model in (right.model, "unknown")
    assert found.cores in (right.cores, "unknown")
    assert found.memory_gb in (right.memory_gb, 0)
    assert set(found.gpus) <= {*right.gpus, "unknown"}
    assert right.os.startswith(found.os) or found.os == "unknown"
    assert found.virtual in (right.virtual, None)
    assert found.rosetta in (right.rosetta, None)
    fine, state = state_of(transcript("macs", name)), state_of(said)
    for key, value in state.items():
        assert value in (fine[key], None) or (name, key) == ("virtual-mac", "thermal")


@REPEATABLE
@given(st.text())
def test_no_text_raises(text):
    commands = ["sysctl", "ioreg", "system_profiler", "pmset", "notifyutil"]
    facts_of(dict.fromkeys(commands, text))
    state_of(dict.fromkeys(commands, text + "\n"))
