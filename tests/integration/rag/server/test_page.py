"""The web page in headless Chromium, against the real server."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from quantserve.deploy.local.browser import find_browser
from quantserve.rag.embedding.backend import Embedder
from tests.fakes.openai_server import FakeServer
from tests.integration.rag.server.conftest import HOSTILE, Served, made_key, serving, until


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.fail("no Chromium: make test installs it as root; elsewhere: apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def site(
    small_index: Path, tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, model: FakeServer
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(small_index / "index", folder / "index", symlinks=True)
    with serving(folder, embedder, model.base_url) as running:
        yield running


@pytest.fixture
def page(browser: Browser, site: Served, answering: FakeServer) -> Iterator[Page]:
    answering.change(answer="조부모가 돌아가시면 사흘을 쉰다. [1]")
    with_page = opened(browser, site)
    yield next(with_page)
    next(with_page, None)


def opened(browser: Browser, site: Served, **options: Any) -> Iterator[Page]:
    """Open the page; a word on the console (a refused script, a failed request) fails the test."""
    context = browser.new_context(**{"locale": "ko-KR", **options})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(site.url)
    yield page
    context.close()
    assert complaints == []


def ask(page: Page, question: str) -> None:
    page.get_by_role("textbox", name="문서에 대해 물어보세요").fill(question)
    page.keyboard.press("Enter")


def test_a_korean_question_is_answered_and_its_citation_opens_the_passage(page: Page) -> None:
    ask(page, "조부모상에는 며칠을 쉬나요?")
    answer = page.locator(".answer-text")
    expect(answer).to_contain_text("조부모가 돌아가시면 사흘을 쉰다.")
    expect(page.locator(".answer-foot")).to_contain_text("Qwen-test")
    page.locator(".cite").click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("휴가.md")
    expect(sheet.locator("mark b")).to_have_text("조부모가 돌아가시면 사흘을 쉰다.")
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(page.locator(".cite")).to_be_focused()


def test_a_pdf_source_names_its_page_and_opens_the_pdf(page: Page, answering: FakeServer) -> None:
    answering.change(answer="They are kept in the cellar [1].")
    ask(page, "Where are the spare bulbs kept?")
    page.locator(".source").first.click()
    sheet = page.get_by_role("dialog")
    expect(sheet.locator(".page-tag")).to_have_text("2쪽")
    with page.context.expect_page() as opening:
        sheet.get_by_role("button", name="PDF 2쪽 열기").click()
    opening.value.wait_for_url(re.compile(r"/file\?ticket=[0-9a-f-]+#page=2$"))


def test_what_a_model_writes_is_text_and_never_runs(page: Page, answering: FakeServer) -> None:
    answering.change(answer=f"{HOSTILE} [1] [9].")
    ask(page, "When does the keeper light the lamp?")
    expect(page.locator(".answer-foot")).to_be_visible()
    answer = page.locator(".answer-text")
    expect(answer).to_contain_text('<img src=x onerror="window.hacked=1">')
    expect(answer.locator("strong")).to_have_text("bold")
    assert answer.locator("img, script").count() == 0
    assert answer.locator(".cite").count() == 1
    assert page.evaluate("window.hacked") is None


def test_a_running_answer_streams_and_can_be_stopped(page: Page, answering: FakeServer) -> None:
    answering.change(answer="조부모가 돌아가시면 사흘을 쉰다. " + "낱말 " * 400, inter_token_s=0.05)
    ask(page, "조부모상에는 며칠을 쉬나요?")
    expect(page.locator(".answer-text")).to_contain_text("사흘을 쉰다.")
    page.get_by_role("button", name="멈추기").click()
    expect(page.locator(".note")).to_contain_text("멈췄습니다.")
    until(lambda: answering.cancelled == 1)


def test_a_failed_answer_shows_the_passages_and_can_be_tried_again(page: Page, answering: FakeServer) -> None:
    answering.change(statuses=(400,))
    ask(page, "조부모상에는 며칠을 쉬나요?")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("모델 서버가 응답하지 않습니다.")
    expect(page.locator(".source").first).to_be_visible()
    alert.get_by_role("button", name="다시 시도").click()
    expect(page.locator(".answer-text")).to_contain_text("사흘을 쉰다.")
    expect(alert).to_have_count(0)


DROP = """([name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    for (const kind of ["dragenter", "dragover", "drop"])
        document.body.dispatchEvent(
            new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


def test_a_file_is_dropped_indexed_and_deleted(page: Page, site: Served) -> None:
    expect(page.locator(".document")).to_have_count(2)
    page.evaluate(DROP, ["고양이.md", "고양이는 하루에 열네 시간을 잔다."])
    item = page.locator(".document", has_text="고양이.md")
    expect(item).to_be_visible(timeout=60_000)
    expect(page.locator(".document")).to_have_count(3)
    page.evaluate(DROP, ["노래.mp3", "la"])
    expect(page.locator(".job.bad")).to_contain_text("읽을 수 없는 종류입니다.")
    item.hover()
    item.get_by_role("button", name="고양이.md 삭제").click()
    page.get_by_role("dialog").get_by_role("button", name="삭제").click()
    expect(item).to_have_count(0, timeout=60_000)
    assert list((site.folder / "uploads").iterdir()) == []


def test_settings_are_kept_and_reach_the_server(page: Page, answering: FakeServer) -> None:
    page.locator("#open-settings").click()
    page.get_by_role("radio", name="원문 인용").check()
    page.get_by_role("radio", name="English").check()
    page.get_by_role("radio", name="Dark").check()
    page.keyboard.press("Escape")
    page.reload()
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    expect(page.locator("#quick")).to_have_text("quoted · Hybrid · 4")
    page.get_by_role("textbox", name="Ask about your documents").fill("조부모상에는 며칠을 쉬나요?")
    page.keyboard.press("Enter")
    expect(page.locator(".badge")).to_have_text("quoted")
    assert answering.chats == []


def test_settings_opened_before_the_status_came_show_every_choice(page: Page) -> None:
    held: list[Route] = []
    page.route("**/status", lambda route: held.append(route))
    page.reload()
    page.locator("#open-settings").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    for route in held:
        route.continue_()
    page.get_by_role("radio", name="원문 인용").check()


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.get_by_role("textbox", name="문서에 대해 물어보세요").press("Tab")
    expect(page.locator("#quick")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#quick")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("첫 줄")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("조부모상은?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn-user")).to_have_text("첫 줄\n조부모상은?")


def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Browser, site: Served, answering: FakeServer
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    with_page = opened(browser, site, **phone)
    page = next(with_page)
    ask(page, f"조부모상에는 며칠을 쉬나요? {'가' * 90}")
    expect(page.locator(".answer-foot")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("#open-side").click()
    expect(page.locator(".document").first).to_be_in_viewport()
    page.locator("#close-side").click()
    page.locator(".source").first.click()
    expect(page.get_by_role("dialog")).to_be_in_viewport()
    next(with_page, None)


def test_the_key_is_asked_for_and_kept_for_this_tab(
    browser: Browser, small_index: Path, tmp_path: Path, embedder: Embedder, model: FakeServer
) -> None:
    secret = made_key(tmp_path / "keys.json", "alice")
    (tmp_path / "index").symlink_to(small_index / "index")
    with serving(tmp_path, embedder, model.base_url, keys_file=tmp_path / "keys.json") as locked:
        page = browser.new_page(locale="ko-KR")
        page.goto(locked.url)
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("이 서버는 키를 묻습니다.")
        dialog.get_by_label("키").fill("rag-00000000-wrong")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("맞지 않는 키입니다.")
        dialog.get_by_label("키").fill(secret)
        page.keyboard.press("Enter")
        expect(page.locator(".document")).to_have_count(2)
        page.reload()
        expect(page.locator(".document")).to_have_count(2)
        assert page.evaluate("Object.values(localStorage).join().includes('rag-')") is False
        page.close()
