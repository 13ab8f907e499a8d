"""Linux machines by what their files say: the right fact, or unknown, and no exception."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import names, transcript

from pytest_metalperf.worker.machine import chips, facts, linux, nvidia

REPEATABLE = settings(derandomize=True, max_examples=30, deadline=None)
MACHINES = names("linux")
EXPECTED = {  # CPUs that the process may use; id; chip; model; OS; virtual
    "hidden-xeon": (
        2,
        "linux-intel-xeon-family-6-model-207-2cpu-24gb",
        ("Intel Xeon family 6 model 207", "unknown", "Debian GNU/Linux 12", True),
    ),
    "hidden-xeon-h200": (
        16,
        "linux-intel-xeon-family-6-model-207-16cpu-128gb-nvidia-h200",
        ("Intel Xeon family 6 model 207", "unknown", "Ubuntu 24.04", True),
    ),
    "google-sapphire-rapids": (
        4,
        "linux-intel-xeon-platinum-8481c-4cpu-16gb",
        ("Intel Xeon Platinum 8481C", "Google Compute Engine", "Debian GNU/Linux 12", True),
    ),
    "epyc-container": (
        4,
        "linux-amd-epyc-7763-1-5cpu-16gb",
        ("AMD EPYC 7763", "Virtual Machine", "Ubuntu 24.04", True),
    ),
    "ryzen-laptop": (
        16,
        "linux-amd-ryzen-7-pro-4750u-16cpu-32gb",
        ("AMD Ryzen 7 PRO 4750U", "20UES00L00", "Fedora Linux 41", False),
    ),
    "graviton3": (
        4,
        "linux-arm-neoverse-v1-4cpu-8gb",
        ("Arm Neoverse V1", "c7g.xlarge", "Amazon Linux 2023", True),
    ),
    "raspberry-pi-4": (
        4,
        "linux-arm-cortex-a72-4cpu-4gb",
        ("Arm Cortex-A72", "Raspberry Pi 4 Model B Rev 1.4", "Debian GNU/Linux 12", None),
    ),
    "rk3588": (
        8,
        "linux-arm-cortex-a55-arm-cortex-a76-8cpu-16gb",
        ("Arm Cortex-A55 + Arm Cortex-A76", "Radxa ROCK 5B", "Debian GNU/Linux 12", None),
    ),
    "armv7": (
        4,
        "linux-arm-cortex-a53-4cpu-1gb",
        ("Arm Cortex-A53", "Raspberry Pi 3 Model B Rev 1.2", "Debian GNU/Linux 12", None),
    ),
}


def facts_of(said: dict[str, str], cpus: int) -> facts.MachineFacts:
    def entries(folder: str) -> list[str]:
        return sorted({path[len(folder) + 1 :].partition("/")[0] for path in said if path.startswith(folder + "/")})

    with pytest.MonkeyPatch.context() as patch:
        for module in (linux, nvidia):
            patch.setattr(module, "read", lambda path, limit=0: said.get(path, ""))
            patch.setattr(module, "listing", entries)
        patch.setattr(nvidia, "run", lambda *command, timeout: "")
        patch.setattr(nvidia, "present", lambda: bool(entries("/proc/driver/nvidia")))
        patch.setattr(linux, "affinity", lambda: cpus)
        return facts.facts_from("linux", linux.hardware())


def test_every_recording_is_expected():
    assert sorted(EXPECTED) == MACHINES


@pytest.mark.parametrize("name", MACHINES)
def test_facts(name):
    cpus, id_, rest = EXPECTED[name]
    found = facts_of(transcript("linux", name), cpus)
    assert found.id == id_
    assert (found.chip, found.model, found.os, found.virtual) == rest


def test_nothing_to_read():
    assert facts_of({}, 2).id == "linux-unknown-chip-2cpu-unknown-memory"


@pytest.mark.parametrize("name", MACHINES)
@REPEATABLE
@given(data=st.data())
def test_mangled_files_are_right_or_unknown(name, data):
    said = transcript("linux", name)
    cpus = EXPECTED[name][0]
    right = facts_of(said, cpus)
    for path in data.draw(st.sets(st.sampled_from(sorted(said)), min_size=1)):
        rows = said[path].splitlines(keepends=True)
        at = data.draw(st.integers(0, len(rows) - 1))
        cut = said[path][: data.draw(st.integers(0, len(said[path])))]
        if name == "rk3588":  # a list of cores that ends early between two lines looks like a whole one
            cut = cut.rstrip("\n")
        said[path] = {
            "missing": "",
            "cut": cut,
            "line lost": "".join(rows[:at] + rows[at + 1 :]),
            "line added": "".join([*rows[:at], data.draw(st.text()) + "\n", *rows[at:]]),
        }[data.draw(st.sampled_from(["missing", "cut", "line lost", "line added"]))]
    found = facts_of(said, cpus)
    assert found.chip in (right.chip, "unknown")
    assert found.memory_gb in (right.memory_gb, 0)
    assert set(found.gpus) <= {*right.gpus, "unknown"}
    assert found.virtual in (right.virtual, None)


@REPEATABLE
@given(st.text())
def test_no_text_raises(text):
    for name in MACHINES:
        facts_of(dict.fromkeys(transcript("linux", name), text), 2)
    linux.parse_stat(text, 100)
    nvidia.from_smi(text)


@pytest.mark.parametrize(
    ("brand", "name"),
    [
        ("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", "Intel Core i7-9750H"),
        ("11th Gen Intel(R) Core(TM) i7-1165G7 @ 2.80GHz", "11th Gen Intel Core i7-1165G7"),
        ("Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz", "Intel Xeon E5-2686 v4"),
        ("AMD Ryzen Threadripper PRO 5995WX 64-Cores", "AMD Ryzen Threadripper PRO 5995WX"),
        ("AMD Ryzen 7 5800X 8-Core Processor", "AMD Ryzen 7 5800X"),
        ("Apple M1 (Virtual)", "Apple M1 (Virtual)"),
        ("", "unknown"),
        ("  CPU @ 2.00GHz", "unknown"),
    ],
)
def test_brands_lose_clocks_and_trademarks(brand, name):
    assert chips.brand(brand) == name


def test_a_core_that_is_not_in_the_table_goes_by_its_numbers():
    assert chips.arm(0x41, 0xD99) == "Arm implementer 0x41 part 0xd99"


def test_other_architectures():
    assert linux.chip("processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t\t: 3800.000000MHz\n") == "POWER9"
    assert linux.chip("processor\t: 0\nhart\t\t: 1\nisa\t\t: rv64imafdc\n") == "unknown"


@pytest.mark.parametrize(
    ("kb", "gb"),
    [
        (24684092, 24),
        (131981020, 128),
        (32780116, 32),
        (16369284, 16),
        (7110000, 7),
        (3884360, 4),
        (948012, 1),
        (30828084, 30),
        (1056286508, 1024),
        (0, 0),
    ],
)
def test_memory_as_sold(kb, gb):
    assert linux.memory_gb(f"MemTotal:       {kb} kB\n") == gb


@pytest.mark.parametrize(
    ("affinity", "limits", "cores"), [(16, [], "16"), (16, [4.0, 2.0], "2"), (2, [8.0], "2"), (4, [1 / 3], "0.33")]
)
def test_cores(affinity, limits, cores):
    assert linux.cores(affinity, limits) == cores


@pytest.mark.parametrize(
    ("text", "quota"),
    [("150000 100000\n", 1.5), ("max 100000\n", None), ("-1 100000\n", None), ("200000 1000", None), ("", None)],
)
def test_quota(text, quota):
    assert linux.quota(text) == quota


@pytest.mark.parametrize(
    "name", ["System Product Name", "To Be Filled By O.E.M.", "Default string", "None", "", "0000000"]
)
def test_a_form_that_nobody_filled_in_is_no_model(name):
    assert linux.model(name + "\n", "") == "unknown"


@pytest.mark.parametrize(
    ("vendor", "product", "virtual"),
    [
        ("Amazon EC2\n", "c7g.metal\n", False),
        ("Amazon EC2\n", "m7g.metal-48xl\n", False),
        ("Amazon EC2\n", "c7g.2xlarge\n", True),
        ("QEMU\n", "KVM Virtual Machine\n", True),
        ("Ampere(TM)\n", "Mt. Jade\n", None),
        ("", "", None),
    ],
)
def test_virtual_on_arm(vendor, product, virtual):
    assert linux.virtual("", vendor, product) is virtual


def supply(**said: str) -> dict[str, str]:
    return {key: said.get(key, "") for key in ("type", "scope", "online", "status")}


@pytest.mark.parametrize(
    ("supplies", "power"),
    [
        ([], None),
        ([supply(type="Mains\n", online="1\n"), supply(type="Battery\n", status="Charging\n")], "mains"),
        ([supply(type="Mains\n", online="0\n"), supply(type="Battery\n", status="Discharging\n")], "battery"),
        ([supply(type="USB\n", online="1\n"), supply(type="Battery\n", status="Full\n")], "mains"),
        ([supply(type="Battery\n", scope="Device\n", status="Discharging\n")], None),
    ],
)
def test_power(supplies, power):
    assert linux.power(supplies) == power


def test_low_power():
    assert [linux.low_power(profile) for profile in ("low-power\n", "balanced\n", "", "custom\n")] == [
        True,
        False,
        None,
        None,
    ]


def test_stat():
    stat = "cpu  8711 100 3316 116552 386 7 51 55 20 0\ncpu0 822 0 818 62740 77 0 5 30 0 0\n"
    assert linux.parse_stat(stat, 100) == pytest.approx((121.85, 0.55, 1291.78))
    assert linux.parse_stat("cpu  8711 100 3316 1165", 100) is None
    assert linux.parse_stat("", 100) is None


@pytest.mark.parametrize(
    ("informations", "found"),
    [
        (["Model: \t\t NVIDIA H200\nIRQ:   \t\t 41\n"] * 2, ("NVIDIA H200", "NVIDIA H200")),
        (["Model: \t\t GeForce GTX 1080 Ti\n"], ("NVIDIA GeForce GTX 1080 Ti",)),
        (["Model: \t\t NVIDIA H200\n", "Model: \t\t Unknown\n"], ()),
        (["Model: \t\t NVIDIA H2"], ()),
        ([], ()),
    ],
)
def test_nvidia_from_proc(informations, found):
    assert nvidia.from_proc(informations) == found


def test_nvidia_from_smi():
    listed = "GPU 0: NVIDIA H200 (UUID: GPU-1)\n  MIG 1g.18gb Device 0: (UUID: MIG-1)\nGPU 1: Tesla T4 (UUID: GPU-2)\n"
    assert nvidia.from_smi(listed) == ("NVIDIA H200 MIG 1g.18gb", "NVIDIA Tesla T4")
    assert nvidia.from_smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") == ()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cpu_time_of_living_children_is_known(tmp_path):
    """A child and its own child compute, and end only when they are told to."""
    ready = tmp_path / "ready"
    busy = "import time\nwhile time.process_time() < 0.3: pass\n"
    child = f"{busy}open({str(ready)!r}, 'a').write('.')\nsys.stdin.read()"
    code = f"import subprocess, sys\ninner = subprocess.Popen([sys.executable, '-c', 'import sys\\n' + {child!r}])\n{child}"
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("this kernel does not tell children")
    before = linux.seconds_of_children(os.getpid())
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        while not ready.exists() or len(ready.read_text()) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        living = linux.seconds_of_children(os.getpid()) - before
        process.stdin.close()
    assert 0.55 < living < 5


@pytest.mark.parametrize(
    ("stat", "ticks"),
    [
        ("7 (a) b (c) S 1 7 7 0 -1 4 1 2 3 4 10 20 30 40 20 0 1\n", 100),
        ("7 (a) S 1 7 7 0 -1 4 1 2 3 4 10 20\n", 0),
        ("", 0),
    ],
)
def test_ticks_of_a_process(stat, ticks):
    assert linux.parse_ticks(stat) == ticks
