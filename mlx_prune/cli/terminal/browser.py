"""Show a page in the person's browser, where there is one."""

from __future__ import annotations

import contextlib
import os
import sys
import webbrowser
from pathlib import Path


def show_page(page: Path) -> bool:
    """Open a page; quietly nothing on a machine without a screen.

    Returns:
        Whether a browser took it.
    """
    # Without a screen, `webbrowser` would start a browser for text in this very terminal.
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
        return False
    with contextlib.suppress(webbrowser.Error, OSError):
        return webbrowser.open(page.resolve().as_uri())
    return False
