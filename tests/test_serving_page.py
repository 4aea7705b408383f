"""The page in a real headless Chromium: wide and phone, keyboard alone, likes that change the list, script as text."""

import os
import re
import shutil
from pathlib import Path

import httpx
import pytest
import small_bundle
from service_process import service

from recfuse_lib.serving import promotion
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.recommender import BY_CHANCE

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on this machine; on Debian or Ubuntu: apt install chromium"
    ),
]
SIZES = {"wide": (1280, 900), "phone": (390, 844), "small": (360, 640)}
SCRIPT = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("world")
    small_bundle.copy(tmp_path_factory, folder / "store")
    promotion.promote(folder / "store", "v1", "a test")
    with service(folder / "store", f"sqlite:///{folder}/events.db") as one:
        yield one


@pytest.fixture
def page(browser, client: httpx.Client):
    """A page whose errors, and requests to anywhere else, fail the test."""
    one = browser.new_page(viewport={"width": 1280, "height": 900})
    one.set_default_timeout(60_000)
    wrong: list[str] = []
    one.on("pageerror", lambda error: wrong.append(str(error)))
    one.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    one.on(
        "request",
        lambda request: (
            wrong.append(request.url) if not request.url.startswith((str(client.base_url), "data:")) else None
        ),
    )
    opened(one, client)
    yield one
    one.close()
    assert wrong == []


def opened(page, client: httpx.Client) -> None:
    page.goto(str(client.base_url))
    page.wait_for_selector("#list > li")


def titles(page) -> list[str]:
    return page.locator("#list h3").all_inner_texts()


def answered(page, act) -> None:
    with page.expect_response("**/recommend") as answer:
        act()
    assert answer.value.ok
    expect(page.locator("#status")).not_to_have_text(re.compile("^Looking"), timeout=60_000)


@pytest.mark.parametrize("size", SIZES)
def test_it_fits_and_shows_what_it_should(page, client: httpx.Client, size: str, tmp_path: Path) -> None:
    page.set_viewport_size(dict(zip(("width", "height"), SIZES[size], strict=True)))
    opened(page, client)
    first = page.locator("#list > li").first.bounding_box()
    assert first["y"] + first["height"] < SIZES[size][1], "the whole first recommendation is seen without scrolling"
    assert "New here?" in page.inner_text("#notes") and "unknown" not in page.inner_text("#notes")
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.fill("#person", "u03")
    page.fill("#wish", "something scary, before 2000")
    answered(page, lambda: page.click("button[type=submit]"))
    assert page.inner_text("#version") == "v1" and "60 items" in page.inner_text("#size")
    expect(page.locator("#status")).to_contain_text("year < 2000", timeout=60_000)
    cards = page.locator("#list > li")
    assert cards.count() == 10
    for place in range(10):
        label = cards.nth(place).locator(".bar").get_attribute("aria-label")
        reason = cards.nth(place).locator(".reason").inner_text()
        assert label.startswith("Shares: ") and "%" in label and "of all for" in reason and "%" not in reason
    assert "stars expected" in cards.first.locator(".facts").inner_text()
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, "nothing sticks out sideways"
    small = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 44).length"
    )
    assert small == 0, "a finger hits every button"
    folder = Path(os.environ.get("RECFUSE_SCREENSHOTS", tmp_path))
    page.screenshot(path=folder / f"page-{size}.png", full_page=size == "phone")
    assert (folder / f"page-{size}.png").stat().st_size > 10_000


def test_limits_are_asked_for(page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.locator("#limits label").all_inner_texts() == ["year from", "year to", "price from", "price to"]
    answered(page, lambda: page.select_option("#category", "Horror"))
    answered(page, lambda: (page.get_by_label("year to").fill("1990"), page.keyboard.press("Tab")))
    facts = page.locator("#list .facts").all_inner_texts()
    assert len(facts) == 10 and all("Horror" in one for one in facts)
    assert all(int(re.search(r"\b(19|20)\d\d\b", one)[0]) <= 1990 for one in facts)


@pytest.mark.parametrize("version", ["shop", "titles"])
def test_a_world_without_this_or_that_shows_what_it_has(
    browser, version: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "store").symlink_to(small_bundle.shared(tmp_path_factory) / version)
    with service(tmp_path / "store", f"sqlite:///{tmp_path}/events.db") as one:
        page = browser.new_page(viewport=dict(zip(("width", "height"), SIZES["phone"], strict=True)))
        opened(page, one)
        first = page.locator("#list > li").first.bounding_box()
        assert first["y"] + first["height"] < SIZES["phone"][1]
        facts = " ".join(page.locator("#list .facts").all_inner_texts())
        assert ("stars expected" in facts) == (version == "titles")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.locator("#category").is_visible() == (version == "shop")
        assert page.locator("#limits input").count() == (2 if version == "shop" else 0)
        assert page.locator("#wish").is_disabled() == (version == "shop")
        colours = "[...document.querySelectorAll('#legend i')].map(one => getComputedStyle(one).backgroundColor)"
        shown = page.evaluate(colours)
        assert len(set(shown)) == len(shown) > 3, "each dimension has a colour of its own"
        page.close()


def test_a_like_and_a_dismissal_change_the_list(page, client: httpx.Client) -> None:
    page.fill("#person", "u06")
    answered(page, lambda: page.locator("#person").press("Tab"))
    before = titles(page)
    answered(page, lambda: page.get_by_role("button", name=f"Like {before[0]}", exact=True).click())
    expect(page.locator("#status")).to_have_text(re.compile("^Liked"), timeout=60_000)
    after = titles(page)
    assert before[0] not in after and after != before
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Like "), (
        "the focus stays in the list"
    )
    answered(page, lambda: page.get_by_role("button", name=f"Dismiss {after[0]}", exact=True).click())
    assert after[0] not in titles(page)


def test_a_click_that_leaves_a_changed_field_counts(page) -> None:
    """Pressing leaves the field, which asks again: the list under the pointer stays until it is released."""
    liked = titles(page)[0]
    page.fill("#person", "u07")
    page.get_by_role("button", name=f"Like {liked}", exact=True).hover()
    with page.expect_response("**/recommend"):
        page.mouse.down()
    page.wait_for_timeout(200)
    assert titles(page)[0] == liked
    page.mouse.up()
    expect(page.locator("#status")).to_have_text(f"Liked {liked}. The list is new.", timeout=60_000)
    assert liked not in titles(page)


def test_a_card_says_what_was_drawn_by_chance_and_sends_it_back(browser, client: httpx.Client, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    store = Path(client.log).parent / "store"  # type: ignore[attr-defined]
    with service(store, url, exploration=1) as one:
        page = browser.new_page()
        opened(page, one)
        cards = page.locator("#list > li")
        assert cards.locator(".reason").all_inner_texts().count(BY_CHANCE) == 1
        assert page.locator("#list > .exploration").count() == 1 and BY_CHANCE in cards.last.inner_text()
        drawn = cards.last.get_attribute("data-item")
        answered(page, lambda: cards.last.get_by_role("button", name="Like").click())
        expect(page.locator("#status")).to_have_text(re.compile("^Liked"), timeout=60_000)
        answered(page, lambda: cards.first.get_by_role("button", name="Dismiss").click())
        expect(page.locator("#status")).to_have_text(re.compile("^Dismissed"), timeout=60_000)
        page.close()
    events = EventStore(url)
    assert events.count() == 2 and events.explored(since=0)["item_id"].tolist() == [drawn]
    events.close()


def test_an_invented_person_by_keyboard_alone(page, client: httpx.Client) -> None:
    stranger = titles(page)
    assert "what is popular" in page.inner_text("#notes")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "title"
    page.keyboard.type("dsuty sotry 2")
    page.keyboard.press("Enter")
    page.wait_for_selector("#found button")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    answered(page, lambda: page.keyboard.press("Enter"))
    assert "New here?" not in page.inner_text("#notes")
    assert page.locator("#history button").count() == 1
    assert titles(page) != stranger and "no history" not in page.inner_text("#notes")
    page.locator("#wish").focus()
    page.keyboard.type("funny")
    answered(page, lambda: page.keyboard.press("Enter"))
    assert "funny" in page.inner_text("#status")
    for kind in ("Like", "Dismiss"):
        reached(page, lambda kind=kind: page.evaluate("document.activeElement.ariaLabel || ''").startswith(kind))
        answered(page, lambda: page.keyboard.press("Space"))
        expect(page.locator("#status")).to_have_text(re.compile(f"^{kind}"), timeout=60_000)


def test_a_phone_by_keyboard_alone(page, client: httpx.Client) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    opened(page, client)
    before = titles(page)
    for folded, field, words in (("who", "person", "u06"), ("what", "wish", "scary, before 2000")):
        reached(page, lambda folded=folded: page.evaluate(f"document.activeElement.parentElement.id == '{folded}'"))
        page.keyboard.press("Enter")
        reached(page, lambda field=field: page.evaluate(f"document.activeElement.id == '{field}'"))
        page.keyboard.type(words)
        answered(page, lambda: page.keyboard.press("Enter"))
        expect(page.locator("#list h3").first).not_to_have_text(before[0], timeout=60_000)
    assert "year < 2000" in page.inner_text("#status")


def test_questions_by_keyboard_change_the_list_and_are_not_asked_again(page, client: httpx.Client) -> None:
    asked, buttons = page.locator("#asked > li"), page.locator("#asked > li").first.locator("button")
    expect(asked).to_have_count(3)
    assert page.get_by_role("heading", name="Do you know these?").is_visible()
    assert buttons.all_inner_texts() == ["Like", "Not for me", "Don't know"]
    before, seen = titles(page), asked.locator("p:first-child").all_inner_texts()
    reached(page, lambda: page.evaluate("document.activeElement.closest('#asked') !== null"))
    answered(page, lambda: page.keyboard.press("Enter"))
    expect(page.locator("#history button")).to_have_text(f"✕ remove {seen[0]}")
    expect(asked.first.locator("p").first).not_to_have_text(seen[0])
    expect(page.locator("#asked button").first).to_be_focused()
    assert seen[0] not in titles(page) and titles(page) != before
    second = asked.first.locator("p").first.inner_text()
    answered(page, lambda: page.get_by_role("button", name=f"Not for me: {second}", exact=True).click())
    expect(page.locator("#history button").last).to_have_text(f"✕ remove {second} (not for me)")
    expect(page.get_by_role("button", name=f"Like: {second}", exact=True)).to_have_count(0)
    third = asked.first.locator("p").first.inner_text()
    page.get_by_role("button", name=f"Don't know: {third}", exact=True).click()
    expect(page.locator("#status")).to_have_text(f"You do not know {third}.")
    expect(page.get_by_role("button", name=f"Like: {third}", exact=True)).to_have_count(0)
    assert page.locator("#history button").count() == 2
    answered(page, lambda: page.locator("#history button").first.click())
    expect(page.get_by_role("button", name=f"Like: {seen[0]}", exact=True)).to_have_count(1)


def test_whom_the_service_knows_by_name_is_asked_nothing(page) -> None:
    expect(page.locator("#asked > li")).to_have_count(3)
    page.fill("#person", "u06")
    answered(page, lambda: page.locator("#person").press("Tab"))
    expect(page.locator("#questions")).to_be_hidden()
    page.fill("#person", "")
    page.locator("#person").press("Tab")
    expect(page.locator("#asked > li")).to_have_count(3)


def test_ten_questions_are_enough(page) -> None:
    for _ in range(10):
        first = page.locator("#asked > li").first
        title = first.locator("p").first.inner_text()
        first.get_by_role("button", name="Don't know").click()
        expect(page.get_by_role("button", name=f"Like: {title}", exact=True)).to_have_count(0)
    expect(page.locator("#questions")).to_be_hidden()
    expect(page.locator("#title")).to_be_focused()


def reached(page, there) -> None:
    """Presses Tab until the focus is where it should be."""
    for _ in range(60):
        if there():
            return
        page.keyboard.press("Tab")
    raise AssertionError("the keyboard does not reach it")


@pytest.mark.parametrize("version", ["v1", "shop", "titles"])
def test_every_example_works_and_nothing_else_is_offered(
    browser, version: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "store").symlink_to(small_bundle.shared(tmp_path_factory) / version)
    with service(tmp_path / "store", f"sqlite:///{tmp_path}/events.db") as one:
        page = browser.new_page()
        opened(page, one)
        everything = set(titles(page))
        expect(page.locator("#examples button")).to_have_count({"v1": 4, "shop": 0, "titles": 1}[version])
        examples = page.locator("#examples button").all_inner_texts()
        for place, wish in enumerate(examples):
            with page.expect_response("**/recommend") as answer:
                page.locator("#examples button").nth(place).click()
            said = answer.value.json()
            assert said["notes"] == [] and len(said["items"]) == 10, wish
            assert {item["title"] for item in said["items"]} != everything or wish.startswith("after"), wish
            read = {"something like ": "like: ", "after ": "year > ", "under ": "price < "}
            for words, shown in read.items():
                if wish.startswith(words):
                    assert said["understood"] == shown + wish.removeprefix(words)
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing(browser, client: httpx.Client, size: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page = browser.new_page(viewport=dict(zip(("width", "height"), SIZES[size], strict=True)), color_scheme=scheme)
    opened(page, client)
    assert axe.run(page).violations_count == 0
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    page.fill("#wish", "not like Scary story 1, ein Film ohne Liebe")
    page.fill("#title", "story")
    page.click("#find")
    page.wait_for_selector("#found button")
    answered(page, lambda: page.locator("#found button").first.click())
    assert "English" in page.inner_text("#notes")
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()
    page.close()


def test_every_control_has_a_name(page) -> None:
    tree = page.locator("body").aria_snapshot()
    assert '- heading "What next?" [level=1]' in tree and "status" in tree
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter(e => e.offsetParent && !e.labels?.length"
        " && !e.textContent.trim() && !e.getAttribute('aria-label')).length"
    )
    assert unnamed == 0


def test_script_in_titles_ids_and_wishes_is_shown_as_text(page, client: httpx.Client) -> None:
    known = {"title": f"Scary {SCRIPT}", "year": 2025, "genres": ["Horror", SCRIPT]}
    item = {"item_id": SCRIPT, "attributes": known}
    assert client.post("/items", json=item).status_code == 201
    event = {"key": SCRIPT, "user_id": SCRIPT, "item_id": SCRIPT, "timestamp": 1, "kind": "liked"}
    assert client.post("/events", json={"events": [event]}).status_code == 200
    page.fill("#person", "u01")
    page.fill("#wish", f"scary {SCRIPT}")
    answered(page, lambda: page.click("button[type=submit]"))
    expect(page.locator("#status")).to_contain_text("<img src=x", timeout=60_000)
    page.fill("#wish", "after 2020")
    answered(page, lambda: page.click("button[type=submit]"))
    expect(page.locator("#list h3").first).to_contain_text(SCRIPT, timeout=60_000)
    page.fill("#person", SCRIPT)
    answered(page, lambda: page.click("button[type=submit]"))
    page.fill("#title", SCRIPT.split()[0])
    page.click("#find")
    page.wait_for_selector("#found button")
    assert SCRIPT in page.inner_text("#found")
    assert page.title() == "RecFuse: what next?" and page.locator("main script, main img").count() == 0
