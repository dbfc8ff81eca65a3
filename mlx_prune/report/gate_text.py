"""A gate's outcome as sentences, as plain values for JSON, and as JUnit XML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from mlx_prune.measures.gate import FAIL, PASS, UNDECIDED, Check
from mlx_prune.report.gate import GateResult

TITLES = {
    "srs_rise": "SRS rise",
    "category_srs_rise": "SRS rise",
    "emergence_excess": "emergence above null",
    "usr_drop": "USR drop",
    "perplexity_rise": "perplexity rise",
}


def title(check: Check) -> str:
    """``SRS rise, Age``."""
    return f"{TITLES[check.estimate.measure]}, {check.estimate.scope.replace('_', ' ')}"


def amount(check: Check, value: float, *, sign: bool = True) -> str:
    """A measured value or limit in the unit of its measure; a dash where there is none."""
    if math.isnan(value):
        return "-"
    if check.estimate.measure == "perplexity_rise":
        if not sign:
            return f"{100 * value:g} %"
        return f"{100 * value:+.1f} %" if abs(value) < 10 else f"{100 * value:+,.0f} %"
    return f"{value:+.3f}" if sign else f"{value:g}"


def interval(check: Check) -> str:
    """The 95 % interval, or a dash."""
    low, high = check.estimate.low, check.estimate.high
    if math.isnan(low) or math.isnan(high):
        return "-"
    return f"{amount(check, low)} to {amount(check, high)}"


def sentence(check: Check) -> str:
    """What a check says, in one sentence."""
    measured = f"{title(check)}: {amount(check, check.estimate.value)} ({interval(check)})"
    limit = amount(check, check.limit, sign=False)
    if check.outcome == PASS:
        return f"{measured} keeps the limit of {limit}."
    if check.outcome == FAIL:
        return f"{measured} breaks the limit of {limit}."
    size, unit = check.estimate.size, check.estimate.unit
    there = f"{size:,} {unit} are not enough to tell"
    if check.needed is None:
        return f"{measured}: {there} whether the limit of {limit} is kept, and no feasible number may be."
    return f"{measured}: {there} whether the limit of {limit} is kept; about {check.needed:,} are needed."


def result_values(results: Sequence[GateResult], *, undecided_passes: bool) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "passed": all(passes(result, undecided_passes=undecided_passes) for result in results),
        "candidates": [
            {
                "dense": result.dense,
                "candidate": result.candidate,
                "outcome": result.outcome,
                "not_measured": list(result.unmeasured),
                "checks": [
                    {
                        "measure": check.estimate.measure,
                        "scope": check.estimate.scope,
                        "value": check.estimate.value,
                        "low": check.estimate.low,
                        "high": check.estimate.high,
                        "limit": check.limit,
                        "outcome": check.outcome,
                        "size": check.estimate.size,
                        "unit": check.estimate.unit,
                        "needed": check.needed,
                        "message": sentence(check),
                    }
                    for check in result.checks
                ],
            }
            for result in results
        ],
    }


def passes(result: GateResult, *, undecided_passes: bool) -> bool:
    """Whether a candidate may be released."""
    return result.outcome == PASS or (undecided_passes and result.outcome == UNDECIDED)


def junit(results: Sequence[GateResult], *, undecided_passes: bool) -> bytes:
    """The outcome as JUnit XML: a suite per candidate, a case per limit.

    An undecided limit is a failure of type "undecided", or skipped where undecided limits pass.
    """
    suites = ElementTree.Element("testsuites", name="mlxprune gate")
    for result in results:
        count = {
            outcome: sum(check.outcome == outcome for check in result.checks) for outcome in (FAIL, UNDECIDED)
        }
        failures = count[FAIL] + (0 if undecided_passes else count[UNDECIDED])
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=result.candidate,
            tests=str(len(result.checks)),
            failures=str(failures),
            skipped=str(count[UNDECIDED] if undecided_passes else 0),
            errors="0",
        )
        for check in result.checks:
            case = ElementTree.SubElement(suite, "testcase", classname=result.candidate, name=title(check))
            text = sentence(check)
            if check.outcome == UNDECIDED and undecided_passes:
                ElementTree.SubElement(case, "skipped", message=text)
            elif check.outcome != PASS:
                kind = "limit" if check.outcome == FAIL else "undecided"
                ElementTree.SubElement(case, "failure", type=kind, message=text).text = text
            else:
                ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True))
