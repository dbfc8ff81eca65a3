"""Render chat templates in a process of its own, whose time and memory are limited.

Run as a file, not imported: it needs Jinja and nothing of this package. Every line on stdin is a JSON object
(template, messages, variables, date, seconds, characters); every line on stdout is one with "text",
"refused" (what the template raised) or "too_long". A template that takes too long ends the process.

The environment is transformers' (utils/chat_template_utils.py); a test compares the two on real templates.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
import jinja2.utils


class _Generation(jinja2.ext.Extension):
    """``{% generation %}`` marks what an assistant says; for a prompt it is its content."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's own attribute)

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

    def _content(self, caller: Any) -> Any:
        return caller()


class _Dictionaries:
    """The type ``dict`` without its attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **kwargs)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's namespace without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        names = dict(*rest, **kwargs)
        for name in names:
            _Namespace._check(name)
        jinja2.utils.Namespace.__init__(self, names)

    def __setitem__(self, name: Any, value: Any) -> None:
        _Namespace._check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace has no {name!r}")


def _raise(message: Any) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _to_json(
    x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache
def _compiled(template: str, date: str) -> Any:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(
        raise_exception=_raise,
        strftime_now=datetime.fromisoformat(date).strftime,
        dict=_Dictionaries(),
        namespace=_Namespace,
    )
    return environment.from_string(template)


def render(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request."""
    pieces, length = [], 0
    try:
        template = _compiled(request["template"], request["date"])
        for piece in template.generate(messages=request["messages"], **request["variables"]):
            pieces.append(piece)
            length += len(piece)
            if length > request["characters"]:
                return {"too_long": True}
    except MemoryError:
        return {"too_long": True}
    except Exception as error:  # whatever a template raises, or does wrong
        return {"refused": f"{type(error).__name__}: {error}"[:500]}
    return {"text": "".join(pieces)}


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Of the time that this process computes: a machine that is busy otherwise is no fault of a template's.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # Address space; macOS does not hold to it, and the parent looks on.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
    for line in sys.stdin:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        answer = render(request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
