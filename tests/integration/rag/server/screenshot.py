"""Make docs/images/rag-page.png from a running server over samples/documents.

    make up && make web &
    python -m tests.integration.rag.server.screenshot http://127.0.0.1:8001

A system font with Hangul is needed (apt-get install fonts-noto-cjk).
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from quantserve.deploy.local.browser import find_browser

OUTPUT = Path(__file__).parents[4] / "docs" / "images" / "rag-page.png"
QUESTION = "만 5년을 일하면 어떤 휴가를 받나요?"
_ANSWER_MS = 120_000


def main(url: str) -> None:
    """Ask in the page and take its picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page = browser.new_page(locale="ko-KR", viewport={"width": 1280, "height": 720})
        page.goto(url)
        page.locator(".document").first.wait_for()
        page.locator("#question").fill(QUESTION)
        page.keyboard.press("Enter")
        page.locator(".answer-foot").wait_for(timeout=_ANSWER_MS)
        page.wait_for_timeout(500)
        page.screenshot(path=OUTPUT)
        browser.close()
    print(OUTPUT)


if __name__ == "__main__":
    main(sys.argv[1])
