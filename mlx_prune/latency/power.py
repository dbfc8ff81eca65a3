"""What power and heat allow the machine at the moment: recorded beside timings, as far as it is told.

macOS answers through ``pmset`` and ``notifyutil`` (neither needs root), Linux through ``/sys``. Whatever
is not told is None; nothing here fails for want of an answer.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# OSThermalNotification.h, macOS levels of com.apple.system.thermalpressurelevel.
_PRESSURE = ("nominal", "moderate", "heavy", "trapping", "sleeping")


@dataclass(frozen=True, slots=True)
class PowerState:
    """Power and heat at one moment; None where the system does not tell.

    Attributes:
        source: "AC" or "battery".
        battery_percent: Charge of the battery.
        low_power_mode: Whether macOS saves energy at the cost of speed.
        thermal_pressure: macOS: "nominal", "moderate", "heavy", "trapping" or "sleeping".
        speed_limit_percent: macOS: the CPU speed limit, 100 when nothing limits it.
        temperature_c: Linux: the hottest thermal zone, in degrees Celsius.
        governor: Linux: the frequency governor of the first core.
        load: System load average over the last minute.
    """

    source: str | None = None
    battery_percent: int | None = None
    low_power_mode: bool | None = None
    thermal_pressure: str | None = None
    speed_limit_percent: int | None = None
    temperature_c: float | None = None
    governor: str | None = None
    load: float | None = None

    def complaints(self) -> list[str]:
        """What about this state makes timings doubtful, one phrase each."""
        found = []
        if self.source == "battery":
            found.append("the machine runs on battery")
        if self.low_power_mode:
            found.append("low power mode is on")
        if self.thermal_pressure not in (None, "nominal"):
            found.append(f"thermal pressure is {self.thermal_pressure}")
        if self.speed_limit_percent is not None and self.speed_limit_percent < 100:
            found.append(f"the CPU is limited to {self.speed_limit_percent} % of its speed")
        return found


def read_power() -> PowerState:
    """Ask the system this process runs on."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    system = platform.system()
    if system == "Darwin":
        return from_macos(
            _told("/usr/bin/pmset", "-g", "batt"),
            _told("/usr/bin/pmset", "-g", "therm"),
            _told("/usr/bin/pmset", "-g"),
            _told("/usr/bin/notifyutil", "-g", "com.apple.system.thermalpressurelevel"),
            load,
        )
    if system == "Linux":
        return from_linux(Path("/sys"), load)
    return PowerState(load=load)


def from_macos(batt: str, therm: str, settings: str, pressure: str, load: float | None = None) -> PowerState:
    """Read what macOS' tools print.

    Args:
        batt: Output of ``pmset -g batt``.
        therm: Output of ``pmset -g therm``.
        settings: Output of ``pmset -g``.
        pressure: Output of ``notifyutil -g com.apple.system.thermalpressurelevel``.
        load: System load average.
    """
    drawing = re.search(r"drawing from '(AC|Battery) Power'", batt)
    charge = re.search(r"(\d+)%", batt)
    low_power = re.search(r"^\s*(?:lowpowermode|powermode)\s+(\d)", settings, re.MULTILINE)
    limit = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", therm)
    level = re.search(r"thermalpressurelevel\s+(\d+)", pressure)
    level_index = int(level[1]) if level else len(_PRESSURE)
    return PowerState(
        source={"AC": "AC", "Battery": "battery"}[drawing[1]] if drawing else None,
        battery_percent=int(charge[1]) if charge else None,
        low_power_mode=low_power[1] == "1" if low_power else None,
        thermal_pressure=_PRESSURE[level_index] if level_index < len(_PRESSURE) else None,
        speed_limit_percent=int(limit[1]) if limit else None,
        load=load,
    )


def from_linux(sys_folder: Path, load: float | None = None) -> PowerState:
    """Read a ``/sys`` folder; a machine without batteries or sensors simply has no entries.

    Args:
        sys_folder: ``/sys``, or a copy of its layout.
        load: System load average.
    """
    supplies = sorted(sys_folder.glob("class/power_supply/*"))
    mains = [_read(s / "online") for s in supplies if _read(s / "type") in ("Mains", "USB")]
    batteries = [s for s in supplies if _read(s / "type") == "Battery" and _read(s / "scope") != "Device"]
    statuses = [_read(b / "status") for b in batteries]
    if "1" in mains:
        source: str | None = "AC"
    elif "Discharging" in statuses:
        source = "battery"
    else:
        source = "AC" if statuses else None
    charge = next((c for b in batteries if (c := _read(b / "capacity")).isdecimal()), None)
    zones = [_read(zone) for zone in sys_folder.glob("class/thermal/thermal_zone*/temp")]
    degrees = [int(zone) / 1000 for zone in zones if zone.lstrip("-").isdecimal()]
    return PowerState(
        source=source,
        battery_percent=int(charge) if charge else None,
        temperature_c=max(degrees) if degrees else None,
        governor=_read(sys_folder / "devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        load=load,
    )


def _read(path: Path) -> str:
    # Sensors may be listed and still refuse to be read.
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _told(*command: str) -> str:
    if not os.access(command[0], os.X_OK):
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout
