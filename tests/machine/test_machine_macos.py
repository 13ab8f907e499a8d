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
FINE = {
    "power": "mains",
    "low_power": False,
    "high_power": False,
    "thermal": "nominal",
    "speed_limit": 1.0,
    "virtual_gpu": False,
    "background": None,  # asked of the system, not of a command
}
STATES = {
    "macbook-air-m1": {**FINE, "power": "battery", "low_power": True, "thermal": "moderate"},
    "macbook-air-m2": {**FINE, "thermal": "heavy"},
    "macbook-pro-m4-max": {**FINE, "high_power": True},
    "mac-mini-m2": {**FINE, "low_power": None, "high_power": None},
    "virtual-mac": {**FINE, "low_power": None, "high_power": None, "thermal": None, "virtual_gpu": True},
    "macbook-pro-intel": {**FINE, "speed_limit": 0.35},
    "mac-pro-2019": {**FINE, "low_power": None, "high_power": None},
}
LOADS = {  # free share, swap in GB, GPU seconds by process
    "macbook-air-m1": (0.09, 2.4332, None),
    "macbook-pro-m1-pro": (0.4, 0.3361, {444: 0.0, 440: 38.814507416, 8123: 1.5}),
    "macbook-pro-m3-pro": (0.62, 0.0, {444: 0.0, 440: 38.814507416, 8123: 1.5}),
    "macbook-pro-m4-max": (0.81, 0.0, None),
    "mac-mini-m2": (0.55, 0.0128, None),
    "macbook-pro-intel": (0.71, 0.0, None),
    "virtual-mac": (0.66, 0.0, None),
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
        patch.setattr(macos.fair, "background", lambda: None)
        return dict(macos.state())


def load_of(said: dict[str, str]) -> macos.Load:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(macos, "run", lambda *command, **limits: say(said, *command, **limits))
        return macos.load()


@pytest.mark.parametrize("name", MACS)
def test_load(name):
    free, swap, gpu = LOADS.get(name, (None, None, None))
    found = load_of(transcript("macs", name))
    assert found.memory_free == free
    assert found.swap_gb == (None if swap is None else pytest.approx(swap, abs=1e-4))
    assert found.gpu_seconds == (None if gpu is None else pytest.approx(gpu))


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
    ("printed", "high"),
    [
        (" powermode            2\n", True),
        (" powermode            0\n", False),
        (" lowpowermode         1\n", False),  # a Mac that knows no high power
        (" sleep 1 (sleep prevented by powerd)\n", None),
        (" powermode            2", None),
        ("", None),
    ],
)
def test_high_power(printed, high):
    assert macos.high_power(printed) is high


@pytest.mark.parametrize(
    ("printed", "free"),
    [
        ("The system has 8589934592 bytes of physical memory.\nSystem-wide memory free percentage: 7%\n", 0.07),
        ("System-wide memory free percentage: 100%\n", 1.0),
        ("System-wide memory free percentage: 101%\n", None),
        ("System-wide memory free percentage: 4", None),
        ("Systemweiter freier Speicher: 40%\n", None),
        ("", None),
    ],
)
def test_memory_free(printed, free):
    assert macos.memory_free(printed) == free


@pytest.mark.parametrize(
    ("printed", "used"),
    [
        ("vm.swapusage: total = 2048.00M  used = 1000.00M  free = 1048.00M  (encrypted)\n", 1.048576),
        ("vm.swapusage: total = 2048,00M  used = 1000,00M  free = 1048,00M  \n", 1.048576),
        ("vm.swapusage: total = 2.00G  used = 1.00G  free = 1.00G  (encrypted)\n", None),  # no such unit is printed
        ("vm.swapusage: total = 2048.00M  used = 1000.00M  fr", None),
        ("", None),
    ],
)
def test_swap(printed, used):
    assert macos.swap_gb(printed) == (None if used is None else pytest.approx(used))


def client(pid: int, *times: int) -> str:
    usage = ",".join(f'{{"API"="Metal","lastSubmittedTime"=1,"accumulatedGPUTime"={time}}}' for time in times)
    rows = [f'  "AppUsage" = ({usage})', f'  "IOUserClientCreator" = "pid {pid}, python"']
    return "+-o AGXDeviceUserClient  <class AGXDeviceUserClient>\n" + "\n".join(rows) + "\n"


def test_gpu_time_is_summed_over_the_clients_of_a_process():
    assert macos.gpu_seconds(client(1, 10**9, 2 * 10**9) + client(2, 5 * 10**8) + client(1, 10**9)) == {1: 4.0, 2: 0.5}


def test_the_order_of_keys_does_not_matter():
    head, used, creator, _ = client(1, 10**9).split("\n")
    assert macos.gpu_seconds("\n".join([head, creator, used, ""]) + client(2, 10**9)) == {1: 1.0, 2: 1.0}


def test_a_client_without_a_creator_is_nobodys():
    orphan = client(1, 10**9).replace("IOUserClientCreator", "Creator")
    assert macos.gpu_seconds(orphan + client(2, 10**9)) == {2: 1.0}
    assert macos.gpu_seconds(orphan) is None


def test_what_others_used_of_the_gpu_between_two_looks():
    before = macos.Load(0.5, 1.0, {1: 5.0, 2: 3.0, 3: 9.0})
    after = macos.Load(0.4, 1.5, {1: 9.0, 2: 4.0, 4: 0.5})  # 3 has ended, 4 has begun
    found = macos.load_between(before, after, own=1, seconds=10.0)
    assert found == {"memory_free": 0.4, "swapped_gb": 0.5, "gpu_other": pytest.approx(0.15)}
    assert macos.load_between(after, before, own=1, seconds=10.0)["swapped_gb"] == 0.0


def test_load_that_is_unknown_at_one_end_is_unknown():
    known, unknown = macos.Load(0.5, 1.0, {1: 5.0}), macos.Load(None, None, None)
    assert set(macos.load_between(known, unknown, 1, 1.0).values()) == {None}
    assert set(macos.load_between(unknown, known, 1, 1.0).values()) == {None}


@pytest.mark.parametrize(
    ("printed", "family"),
    [
        (transcript("macs", "macbook-pro-m5-max")["system_profiler"], "metal4"),
        ("", ""),
        ('{"SPDisplaysDataType": []}', ""),
    ],
)
def test_metal_family(monkeypatch, printed, family):
    monkeypatch.setattr(macos, "run", lambda *command, **limits: printed)
    assert macos.metal_family() == family


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
        assert value in (fine[key], None) or (name, key) in (
            ("virtual-mac", "thermal"),
            ("macbook-pro-m4-max", "high_power"),
        )
    load, read = load_of(transcript("macs", name)), load_of(said)
    assert read.memory_free in (load.memory_free, None)
    assert read.swap_gb in (load.swap_gb, None)
    assert set((read.gpu_seconds or {}).items()) <= set((load.gpu_seconds or {}).items())


@REPEATABLE
@given(st.text())
def test_no_text_raises(text):
    commands = ["sysctl", "ioreg", "system_profiler", "pmset", "notifyutil", "memory_pressure"]
    facts_of(dict.fromkeys(commands, text))
    state_of(dict.fromkeys(commands, text + "\n"))
    load_of(dict.fromkeys(commands, text + "\n"))
