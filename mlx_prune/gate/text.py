"""A gate's outcome as sentences, as plain values for JSON, and as JUnit XML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from mlx_prune import words
from mlx_prune.gate.judge import GateResult
from mlx_prune.gate.limits import ERROR, FAIL, MEASURES, PASS, UNDECIDED, Check, Measure

# In the order in which the first that applies to any candidate decides.
EXIT_CODES = {FAIL: 3, ERROR: 1, UNDECIDED: 4}

# What is no rise, and so has no sign.
_LEVELS: dict[str, words.Write] = {
    "unanswered": words.percent,
    "other_top": words.percent,
    "kl": words.number,
}


def title(check: Check) -> str:
    """``SRS rise, Age``."""
    return f"{_measure(check).title}, {check.estimate.scope.replace('_', ' ')}"


def amount(check: Check, value: float) -> str:
    """A measured value in the unit of its measure; a dash where there is none."""
    if check.estimate.measure in _LEVELS:
        return _LEVELS[check.estimate.measure](value)
    return words.rise(value) if _measure(check).percent else words.signed(value)


def limit(check: Check) -> str:
    """The limit in the unit of its measure."""
    return _measure(check).written(check.limit)


def interval(check: Check) -> str:
    """The 95 % interval, or a dash."""
    return words.interval(check.estimate.low, check.estimate.high, lambda end: amount(check, end))


def _measure(check: Check) -> Measure:
    return MEASURES[check.estimate.measure]


def sentence(check: Check) -> str:
    """What a check says, in one sentence."""
    about = [f"95 % interval {interval(check)}"] if interval(check) != "-" else []
    about += [check.estimate.note] if check.estimate.note else []
    measured = f"{title(check)}: {amount(check, check.estimate.value)}"
    measured += f" ({'; '.join(about)})" if about else ""
    if check.outcome == PASS:
        return f"{measured} keeps the limit of {limit(check)}."
    if check.outcome == FAIL:
        return f"{measured} breaks the limit of {limit(check)}."
    size, unit = check.estimate.size, check.estimate.unit
    there = f"{size:,} {unit} are not enough to tell whether the limit of {limit(check)} is kept"
    if math.isnan(check.estimate.low):
        return f"{measured}: {there}, because no interval can be had from them."
    if check.needed is None:
        return f"{measured}: {there}, and no feasible number may be."
    if check.estimate.available is not None and check.needed > check.estimate.available:
        return (
            f"{measured}: {there}; about {check.needed:,} would be needed and the source holds "
            f"{check.estimate.available:,}, so no number of its questions settles this limit."
        )
    return f"{measured}: {there}; about {check.needed:,} are needed."


def advice(result: GateResult) -> str:
    """What expected SRS would tell where the sampled one is undecided; empty if it would not help."""
    check = result.expected
    if check is None:
        return ""
    option = f"{_measure(check).option} {limit(check)}"
    measured = f"{amount(check, check.estimate.value)} ({interval(check)})"
    told = {
        PASS: f"{option} would be kept",
        FAIL: f"{option} would be broken",
    }.get(check.outcome, f"{option} needs about {check.needed or 0:,} items")
    return (
        "Expected SRS, from the option probabilities of the same answers and free of the noise of sampling, "
        f"rose by {measured}: {told}."
    )


def summary(result: GateResult) -> str:
    """One line about a candidate."""
    if result.outcome == ERROR:
        return f"{result.candidate}: error"
    verbs = {PASS: "kept", FAIL: "broken", UNDECIDED: "undecided"}
    counts = result.counts
    told = ", ".join(f"{counts[outcome]} {verb}" for outcome, verb in verbs.items() if counts[outcome])
    return f"{result.candidate}: {result.outcome} ({told})"


def remarks(result: GateResult) -> list[str]:
    """What is to be said beside the checks, a sentence each."""
    found = []
    if result.unjudged:
        names = ", ".join(dict.fromkeys(MEASURES[name].title for name in result.unjudged))
        found.append(
            f"Too few answers of {result.candidate} were understood to judge its rates, so these limits were "
            f"not held: {names}."
        )
    if result.unmeasured:
        names = ", ".join(dict.fromkeys(MEASURES[name].title for name in result.unmeasured))
        found.append(f"Not measured, so not held to a limit: {names}.")
    return found


def exit_code(results: Sequence[GateResult], *, undecided_passes: bool) -> int:
    """0 if all pass, else that of the first of fail, error and undecided that applies to any candidate."""
    found = {result.outcome for result in results if not result.passes(undecided_passes=undecided_passes)}
    return next((code for outcome, code in EXIT_CODES.items() if outcome in found), 0)


def result_values(results: Sequence[GateResult], *, undecided_passes: bool) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "passed": all(result.passes(undecided_passes=undecided_passes) for result in results),
        "exit_code": exit_code(results, undecided_passes=undecided_passes),
        "warnings": list(dict.fromkeys(warning for result in results for warning in result.warnings)),
        "candidates": [
            {
                "dense": result.dense,
                "candidate": result.candidate,
                "outcome": result.outcome,
                "not_measured": list(result.unmeasured),
                "not_judged": list(result.unjudged),
                "error": result.error or None,
                "advice": advice(result) or None,
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
                        "available": check.estimate.available,
                        "note": check.estimate.note,
                        "message": sentence(check),
                    }
                    for check in result.checks
                ],
            }
            for result in results
        ],
    }


def junit(results: Sequence[GateResult], *, undecided_passes: bool) -> bytes:
    """The outcome as JUnit XML: a suite per candidate, a case per limit.

    An undecided limit is a failure of type "undecided", or skipped where undecided limits pass; a candidate
    that could not be judged is a suite of one error. Warnings are properties of the suite.
    """
    suites = ElementTree.Element("testsuites", name="mlxprune gate")
    for result in results:
        count = result.counts
        failures = count[FAIL] + (0 if undecided_passes else count[UNDECIDED])
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=result.candidate,
            tests=str(len(result.checks) + bool(result.error)),
            failures=str(failures),
            skipped=str(count[UNDECIDED] if undecided_passes else 0),
            errors=str(int(bool(result.error))),
        )
        if result.warnings:
            properties = ElementTree.SubElement(suite, "properties")
            for warning in result.warnings:
                ElementTree.SubElement(properties, "property", name="warning", value=warning)
        if result.error:
            case = ElementTree.SubElement(suite, "testcase", classname=result.candidate, name="measured")
            ElementTree.SubElement(case, "error", message=result.error).text = result.error
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
