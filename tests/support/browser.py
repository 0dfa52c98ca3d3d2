"""A page opened in a real browser that has no network."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_FLAGS = [
    # As root, in a container, Chromium has no sandbox; the pages are our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Yield a headless Chromium; skip the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        path = chromium or (str(own) if own.exists() else None)
        if path is None:
            pytest.skip(
                "there is no Chromium: apt-get install chromium, or playwright install"
            )
        yield_browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            yield yield_browser
        finally:
            yield_browser.close()


class Opened:
    """A page in a browser, with all that went wrong on it.

    Parameters
    ----------
    chromium
        From `browser`.
    path
        Of the file.
    options
        Of Playwright's context: `color_scheme`, `viewport`.
    """

    def __init__(self, chromium: Any, path: Path, **options: Any) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        context = chromium.new_context(offline=True, **options)
        self.page = context.new_page()
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def _dialog(self, dialog: Any) -> None:
        self.problems.append(f"a dialog opened: {dialog.message}")
        dialog.dismiss()
