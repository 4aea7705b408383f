"""The operator's page in a real headless Chromium: the key, a trial begun and ended, the keyboard alone, wide and phone."""

import os
import time
from pathlib import Path

import pytest
import small_bundle
from service_process import service
from test_serving_page import CHROMIUM, SIZES, browser, expect  # noqa: F401

from recfuse_lib.serving import promotion
from recfuse_lib.serving.promotion import Decision
from recfuse_lib.serving.trial import on_trial

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
KEY = "a-key-for-the-tests"
SCRIPT = "<img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("world")
    small_bundle.copy(tmp_path_factory, folder / "store", ("v1", "v2"))
    promotion.promote(folder / "store", "v1", "the first")
    drift = {"drift": {"rating_psi": 0.31}, "chance": {"rating_psi": 0.04}, "alarms": ["rating_psi"]}
    promotion.keep(folder / "store", "nothing is better", drift)
    with service(folder / "store", f"sqlite:///{folder}/events.db", api_key=KEY) as one:
        one.headers["X-API-Key"] = KEY
        one.store = folder / "store"  # type: ignore[attr-defined]
        yield one


@pytest.fixture
def page(browser, client):  # noqa: F811
    """The page, opened with the key; its errors, and requests to anywhere else, fail the test."""
    one = browser.new_page(viewport=dict(zip(("width", "height"), SIZES["wide"], strict=True)))
    one.set_default_timeout(60_000)
    wrong: list[str] = []
    one.on("pageerror", lambda error: wrong.append(str(error)))
    one.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    one.on(
        "request",
        lambda asked: None if asked.url.startswith((str(client.base_url), "data:")) else wrong.append(asked.url),
    )
    one.on("dialog", lambda dialog: dialog.accept())
    one.goto(f"{client.base_url}/operator")
    expect(one.locator("#status")).to_have_text("The key shows what is here.")
    assert one.locator("#decide").is_hidden() and one.locator("#decisions tbody tr").count() == 0
    one.fill("#key", KEY)
    one.keyboard.press("Enter")
    expect(one.locator("#status")).to_have_text("As it is now.")
    yield one
    one.close()
    assert wrong == []


def play(client) -> None:
    """120 people ask; who is answered from v2 likes what they see more often."""
    trial, events = Decision("trial", "v2", "v1", "", {"share": 0.5}, 0), []
    for number in range(120):
        user = f"person {number}"
        answer = client.post("/recommend", json={"user_id": user, "k": 3}).json()
        assert answer["version"] == ("v2" if on_trial(trial, user) else "v1")
        if number % 10 < (6 if answer["version"] == "v2" else 2):
            event = {"key": user, "user_id": user, "kind": "liked", "answer_id": answer["answer_id"]}
            events.append({**event, "item_id": answer["items"][0]["item_id"], "timestamp": int(time.time())})
    assert client.post("/events", json={"events": events}).status_code == 200


def test_a_trial_by_keyboard_alone(page, client, tmp_path: Path) -> None:
    assert page.locator("#versions li").all_inner_texts() == ["v1, serves", "v2"]
    assert "rating psi" in page.inner_text("#drift") and "alarm" in page.inner_text("#drift tbody")
    page.locator("#version").focus()
    page.keyboard.press("ArrowDown")
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "reason"
    page.keyboard.type("to see")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Decided: trial v2.")
    for _ in range(300):
        if client.get("/decisions").json()["serves"] == ["v1", "v2"]:
            break
        time.sleep(0.1)
    play(client)
    page.reload()
    expect(page.locator("#serves")).to_have_text("v1, v2")
    expect(page.locator("#verdict")).to_contain_text("v2 is better.")
    rows = page.locator("#trial tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["v1", "v2"] and sum(int(row.split("\t")[1]) for row in rows) == 120
    assert "/recommend\t120\t0" in page.inner_text("#load")
    folder = Path(os.environ.get("RECFUSE_SCREENSHOTS", tmp_path))
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, "nothing sticks out sideways"
        page.screenshot(path=folder / f"operator-{size}.png", full_page=True)
        assert (folder / f"operator-{size}.png").stat().st_size > 10_000
    page.fill("#reason", SCRIPT)
    page.get_by_role("button", name="End the trial").click()
    expect(page.locator("#status")).to_have_text("Decided: roll-back v1.")
    expect(page.locator("#verdict")).to_have_text("No trial is under way.")
    assert promotion.trial(client.store) is None and SCRIPT in page.inner_text("#decisions")
    assert page.title() == "RecFuse: versions in service"


def test_the_review_queue_by_keyboard_alone(page, client, tmp_path: Path) -> None:
    asked = {"user_id": "u03", "k": 2}
    first, second = (one["item_id"] for one in client.post("/recommend", json=asked).json()["items"])
    for item, action in ((first, "report"), (second, "hold")):
        body = {"action": action, "reason": f"harmful with probability {0.97 if action == 'hold' else 0.41}"}
        assert client.post(f"/review/{item}", json=body).status_code == 201
    page.reload()
    rows = page.locator("#review li")
    expect(rows).to_have_count(2)
    assert "Reported: lists still have it. harmful with probability 0.41" in rows.nth(0).inner_text()
    assert "Held: no list has it. harmful with probability 0.97" in rows.nth(1).inner_text()
    title = rows.nth(1).locator("h3").inner_text()
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, "nothing sticks out sideways"
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()
    page.set_viewport_size(dict(zip(("width", "height"), SIZES["wide"], strict=True)))
    page.locator("#back").focus()
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.tagName") != "BUTTON":
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Approve ")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("Decided: reject")
    expect(rows).to_have_count(1)
    expect(page.get_by_role("button", name=f"Approve {title}")).to_be_focused()
    folder = Path(os.environ.get("RECFUSE_SCREENSHOTS", tmp_path))
    page.locator("section[aria-labelledby=review-title]").screenshot(path=folder / "operator-review.png")
    client.put(f"/items/{first}", json={"attributes": {"title": SCRIPT, "year": 1999}})
    assert first not in [one["item_id"] for one in client.post("/recommend", json=asked | {"k": 60}).json()["items"]]
    page.keyboard.press("Enter")
    expect(page.locator("#review-none")).to_be_visible()
    expect(page.locator("#review-title"), "the focus is not lost with the last row").to_be_focused()
    assert [row.split("\t")[1] for row in page.locator("#reviewed tbody tr").all_inner_texts()] == ["approve", "reject"]
    there = [one["item_id"] for one in client.post("/recommend", json=asked | {"k": 60}).json()["items"]]
    assert second in there and first not in there and SCRIPT in page.inner_text("#reviewed")
    assert page.title() == "RecFuse: versions in service"


def test_every_control_has_a_name_and_the_key_stays_in_the_tab(page) -> None:
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter(e => e.offsetParent && !e.labels?.length"
        " && !e.textContent.trim()).length"
    )
    assert unnamed == 0
    small = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 44).length"
    )
    assert small == 0, "a finger hits every button"
    kept = page.evaluate(
        "[document.cookie, localStorage.length, Object.values(sessionStorage).length, location.search]"
    )
    assert kept == ["", 0, 1, ""] and page.input_value("#key") == ""


def test_a_wrong_key_shows_nothing(browser, client) -> None:  # noqa: F811
    page = browser.new_page()
    page.goto(f"{client.base_url}/operator")
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("X-API-Key is missing or wrong")
    assert page.locator("#decide").is_hidden() and page.locator("#decisions tbody tr").count() == 0
    page.close()


@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing(page, size: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page.set_viewport_size(dict(zip(("width", "height"), SIZES[size], strict=True)))
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()
