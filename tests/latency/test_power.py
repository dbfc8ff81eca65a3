"""Power and heat, from what the systems' own tools print."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_prune.latency.power import PowerState, from_linux, from_macos, read_power

PLUGGED = """Now drawing from 'AC Power'
 -InternalBattery-0 (id=23396451)\t87%; charging; 0:41 remaining present: true
"""
UNPLUGGED = """Now drawing from 'Battery Power'
 -InternalBattery-0 (id=23396451)\t9%; discharging; (no estimate) present: true
"""
DESKTOP = "Now drawing from 'AC Power'\n"
CALM = """Note: No thermal warning level has been recorded
Note: No performance warning level has been recorded
Note: No CPU power status has been recorded
"""
LIMITED = """2026-01-02 03:04:05 +0000 CPU Power notify
\tCPU_Scheduler_Limit \t= 100
\tCPU_Available_CPUs \t= 8
\tCPU_Speed_Limit \t= 63
"""
SETTINGS = """System-wide power settings:
Currently in use:
 standby              1
 powernap             1
 displaysleep         10 (display sleep prevented by Terminal)
 sleep                1
 lowpowermode         {}
 hibernatemode        3
"""


def test_a_plugged_in_calm_mac_has_nothing_to_complain_of() -> None:
    state = from_macos(
        PLUGGED, CALM, SETTINGS.format(0), "com.apple.system.thermalpressurelevel 0\n", load=1.5
    )
    assert state == PowerState("AC", 87, False, "nominal", None, None, None, 1.5)
    assert state.complaints() == []


def test_a_hot_mac_on_battery_is_complained_of() -> None:
    state = from_macos(UNPLUGGED, LIMITED, SETTINGS.format(1), "com.apple.system.thermalpressurelevel 2\n")
    assert (state.source, state.battery_percent, state.low_power_mode) == ("battery", 9, True)
    assert (state.thermal_pressure, state.speed_limit_percent) == ("heavy", 63)
    assert len(state.complaints()) == 4


def test_a_desktop_has_no_battery() -> None:
    state = from_macos(DESKTOP, "", "", "")
    assert state == PowerState("AC")


@given(st.text(), st.text(), st.text(), st.text())
def test_whatever_the_tools_print_is_no_error(a: str, b: str, c: str, d: str) -> None:
    from_macos(a, b, c, d).complaints()


@given(st.integers(0, 9))
def test_unknown_pressure_levels_are_not_guessed(level: int) -> None:
    known = ["nominal", "moderate", "heavy", "trapping", "sleeping", *[None] * 5]
    text = f"com.apple.system.thermalpressurelevel {level}"
    assert from_macos("", "", "", text).thermal_pressure == known[level]


def write(folder: Path, entries: dict[str, str]) -> Path:
    for name, text in entries.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("online", "status", "source"),
    [
        ("1", "Charging", "AC"),
        ("0", "Discharging", "battery"),
        ("1", "Discharging", "AC"),
        ("0", "Full", "AC"),
    ],
)
def test_a_linux_laptop(tmp_path: Path, online: str, status: str, source: str) -> None:
    folder = write(
        tmp_path,
        {
            "class/power_supply/ADP1/type": "Mains",
            "class/power_supply/ADP1/online": online,
            "class/power_supply/BAT0/type": "Battery",
            "class/power_supply/BAT0/status": status,
            "class/power_supply/BAT0/capacity": "55",
            "class/power_supply/hid/type": "Battery",
            "class/power_supply/hid/scope": "Device",
            "class/power_supply/hid/status": "Discharging",
            "class/power_supply/hid/capacity": "3",
            "class/thermal/thermal_zone0/temp": "41000",
            "class/thermal/thermal_zone1/temp": "68500",
            "class/thermal/thermal_zone2/temp": "",
            "devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
        },
    )
    assert from_linux(folder) == PowerState(source, 55, temperature_c=68.5, governor="powersave")


def test_a_container_tells_nothing(tmp_path: Path) -> None:
    assert from_linux(tmp_path, load=0.5) == PowerState(load=0.5)


def test_this_machine_can_be_asked() -> None:
    assert isinstance(read_power(), PowerState)
