"""Reasoning in chat templates: is the model made to think before it answers, and how is that skipped?

Pure text. An answer of a few tokens holds the first words of a thought, and the parser would take "Okay, so"
for an A; what is asked must come after the thinking part, or there must be none.
"""

from __future__ import annotations

from dataclasses import dataclass

MODES = ("off", "skip")

# Tags around a thinking part, as published templates write them.
_TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|think:start|>", "<|think:end|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("[THINK]", "[/THINK]"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
)
# gpt-oss: the model names a channel before it speaks; "analysis" is its reasoning, "final" its answer.
_CHANNEL = "<|channel|>"
_CHANNEL_TURN = "<|start|>assistant"
_FINAL = f"{_CHANNEL}final<|message|>"


@dataclass(frozen=True)
class Thinking:
    """A thinking part that a prompt leaves open.

    Attributes:
        opened_by: The text that opens it.
        closed_by: What closes it with nothing in it, appended to the prompt.
    """

    opened_by: str
    closed_by: str


def open_thinking(turn: str) -> Thinking | None:
    """The thinking part in which a prompt ends, or None.

    Args:
        turn: What the template writes after the user's text, up to where the model carries on.
    """
    for start, end in _TAGS:
        if turn.rfind(start) > turn.rfind(end):
            return Thinking(start, f"{'' if turn.endswith(chr(10)) else chr(10)}\n{end}\n\n")
    if turn.rstrip().endswith(_CHANNEL_TURN):
        return Thinking(_CHANNEL_TURN, _FINAL)
    channel = turn.rfind(_CHANNEL)
    if channel >= 0 and not turn.startswith(f"{_CHANNEL}final", channel):
        return Thinking(_CHANNEL, f"<|end|>{_CHANNEL_TURN}{_FINAL}")
    return None


def closed_thinking(turn: str) -> bool:
    """Whether a template has itself put a thinking part, and closed it, where the model carries on."""
    return any(0 <= turn.rfind(start) < turn.rfind(end) for start, end in _TAGS)


def empty_thinking(template: str) -> str:
    """A closed thinking part with the tags that a template knows from earlier turns; empty if it knows none.

    Models of such templates open the part themselves, so that nothing in the prompt tells of it.
    """
    for start, end in _TAGS:
        if end in template:
            return f"{start}\n\n{end}\n\n"
    return ""
