"""Where the embedded model, items and texts lie: a demonstration small enough for the wheel, not evidence.

Everything was written or trained by the scripts in `data/demo`.
"""

from pathlib import Path

__all__ = ["calibration_text_path", "heldout_text_path", "items_path", "model_path"]

_FOLDER = Path(__file__).resolve().parent


def model_path() -> Path:
    """Folder of the model: a Llama of about a million parameters, tokenizer and chat template included."""
    return _FOLDER / "model"


def items_path() -> Path:
    """Folder of the items: one JSONL file per category, in BBQ's own format."""
    return _FOLDER / "bbq"


def calibration_text_path() -> Path:
    """Text to calibrate on, about 60,000 of the model's tokens."""
    return _FOLDER / "text" / "calibration.txt"


def heldout_text_path() -> Path:
    """Text for perplexity, about 30,000 tokens; no sentence of it is in training or calibration."""
    return _FOLDER / "text" / "heldout.txt"
