"""Searches on the page: by clicks and keys, with filters, highlighted words, and every state that can arise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Error, Page, Route, expect

from tests.browser.conftest import TOKEN

Opened = Callable[..., Page]


def first(page: Page, title: str) -> None:
    """Wait for a search whose first hit has this title."""
    expect(page.locator("#hits:not([aria-busy]) h2").first).to_have_text(title)


def only(page: Page, *titles: str) -> None:
    """Wait for a search with exactly these hits."""
    expect(page.locator("#hits:not([aria-busy]) h2")).to_have_text(list(titles))


def ask(page: Page, query: str) -> None:
    """Type a query and press Enter."""
    page.get_by_label("Query").fill(query)
    page.keyboard.press("Enter")


def state(page: Page) -> dict[str, str]:
    """Parameters of the address."""
    return {name: value for name, [value] in parse_qs(urlsplit(page.url).query).items()}


def test_a_search(open_page: Opened):
    """A typed query gives hits with rank, score, title, text, metadata, and the milliseconds of each stage."""
    page = open_page()
    expect(page.get_by_role("status").first).to_have_text("6 passages in kitchen")
    expect(page.get_by_label("Is a passage missing?")).to_be_hidden()
    page.get_by_label("Query").press_sequentially("why does a loaf rise slowly")
    page.get_by_role("button", name="Search").click()
    first(page, "Sourdough")
    hit = page.locator(".hit").first
    expect(hit.locator(".rank")).to_have_text("1")
    expect(hit.locator(".score")).to_contain_text(re.compile(r"score\s*\d+\.\d{3}\s*late.*\d\s*words.*\d"))
    expect(hit).to_contain_text("A sourdough loaf rises slowly, because wild yeast works slowly.")
    expect(hit.locator(".facts")).to_have_text("idbreadkindbakingpage12")
    expect(page.locator("#hits")).to_match_aria_snapshot('- list "Found passages"')
    page.get_by_text("Stages").click()
    expect(page.locator("#stages .bars")).to_contain_text(re.compile(r"[\d.]+ ms"))
    assert state(page) == {"collection": "kitchen", "query": "why does a loaf rise slowly", "mode": "hybrid"}


def test_modes(open_page: Opened):
    """The page offers the modes that a collection has, and a choice searches at once."""
    page = open_page("?query=loaf")
    first(page, "Sourdough")
    assert page.locator("#modes label").all_inner_texts() == ["Hybrid", "Late", "Words"]
    page.get_by_label("Words").check(force=True)
    only(page, "Sourdough")
    assert state(page)["mode"] == "words"
    page.locator("#collection").select_option("letters")
    only(page, "a")
    assert page.locator("#modes label").all_inner_texts() == ["Late"]
    page.go_back()
    only(page, "Sourdough")
    expect(page.get_by_label("Words")).to_be_checked()


def test_an_address_can_be_shared(open_page: Opened):
    """An address restores query, mode, filter and number of hits; the back button goes to the state before."""
    page = open_page("?collection=kitchen&query=yeast&mode=late&where=%24.page+%3E+5&k=2")
    only(page, "Rolls", "Sourdough")
    expect(page.get_by_label("Query")).to_have_value("yeast")
    expect(page.get_by_label("Late")).to_be_checked()
    expect(page.get_by_label("Filter")).to_have_value("$.page > 5")
    expect(page.get_by_label("Hits", exact=True)).to_have_value("2")
    expect(page).to_have_title("yeast · pgretrieval")
    ask(page, "green tea")
    expect(page.locator("#hits")).not_to_contain_text("Tea")
    page.get_by_label("Filter").fill("")
    page.keyboard.press("Enter")
    expect(page.locator("#hits h2").first).to_have_text("🍵 Tea")
    page.go_back()
    page.go_back()
    only(page, "Rolls", "Sourdough")
    expect(page.get_by_label("Query")).to_have_value("yeast")


@pytest.mark.parametrize(("where", "found"), [('{"kind": "drink"}', ["🍵 Tea"]), ("$.page >= 14 && $.page < 20", ["Rolls"])])
def test_a_filter(open_page: Opened, where: str, found: list[str]):
    """A filter is JSON or jsonpath."""
    page = open_page("?query=boiling+water")
    page.get_by_label("Filter").fill(where)
    page.keyboard.press("Enter")
    expect(page.locator("#hits h2")).to_have_text(found)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ('{"kind": ', "This is no JSON"),
        ('{"page": {"$about": 3}}', "no operator '$about'"),
        ("$.page <", "jsonpath"),
    ],
)
def test_a_wrong_filter(open_page: Opened, where: str, said: str):
    """An error of the filter stands beside it, with the remedy, and the field is marked as wrong."""
    page = open_page("?query=boiling+water")
    first(page, "🍵 Tea")
    page.get_by_label("Filter").fill(where)
    page.keyboard.press("Enter")
    expect(page.locator("#where-error")).to_contain_text(said)
    expect(page.get_by_label("Filter")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".hit")).to_have_count(0)
    page.get_by_label("Filter").fill('{"page": 3}')
    page.keyboard.press("Enter")
    expect(page.locator("#hits h2")).to_have_text(["🍵 Tea"])
    expect(page.locator("#where-error")).to_be_empty()


@pytest.mark.parametrize("k", ["0", "101", "2.5"])
def test_a_wrong_number_of_hits(open_page: Opened, k: str):
    """So does an error of the number of hits."""
    page = open_page(f"?query=water&k={k}")
    expect(page.locator("#k-error")).to_have_text("1 to 100")
    expect(page.locator(".hit")).to_have_count(0)


def test_a_wrong_query(open_page: Opened):
    """An error of the query does not stand beside the filter."""
    page = open_page("?query=a%00b&where=%24.page+%3E+1")
    expect(page.locator("#failure")).to_contain_text("NUL")
    expect(page.locator("#where-error")).to_be_empty()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("?query=submarine&mode=words", "No passage is found."),
        ("?query=tea&where=%24.page+%3E+99", "No passage that the filter admits is found."),
    ],
)
def test_nothing_found(open_page: Opened, address: str, said: str):
    """A search without hits says so, and whether a filter may be the reason."""
    expect(open_page(address).get_by_role("status").first).to_have_text(said)


@pytest.mark.parametrize("address", ["", "?view=collection"])
def test_no_collections(open_page: Opened, address: str):
    """Without collections both pages say how one is made."""
    page = open_page("?collection=kitchen")
    page.route("**/v1/collections", lambda route: route.fulfill(json={"collections": []}))
    page.goto(address)
    expect(page.get_by_text("There are no collections yet. Make one: pgretrieval index NAME FILE")).to_be_visible()


def test_an_answer_that_comes_too_late(open_page: Opened):
    """The answer to an earlier search does not replace that of a later one."""
    page = open_page("?collection=kitchen")
    late: list[Route] = []
    page.route("**/search", lambda route: late.append(route) if "loaf" in str(route.request.post_data) else route.fallback())
    ask(page, "loaf")
    expect(page.get_by_role("status").first).to_have_text("Searching …")
    ask(page, "green tea")
    first(page, "🍵 Tea")
    with suppress(Error):  # the page has given it up
        late[0].continue_()
    page.wait_for_timeout(300)
    first(page, "🍵 Tea")


def test_the_same_search_again(open_page: Opened):
    """Enter searches again, although the address stays the same."""
    page = open_page("?collection=kitchen&query=loaf&mode=hybrid")
    first(page, "Sourdough")
    with page.expect_request("**/search"):
        page.get_by_label("Query").press("Enter")
    first(page, "Sourdough")


def test_highlighted_words(open_page: Opened):
    """The words that gave a hit its score are marked, at the right characters after an emoji, also in the title."""
    page = open_page("?query=green+tea&mode=late&k=1")
    only(page, "🍵 Tea")
    expect(page.locator(".hit h2 a")).to_have_text("🍵 Tea")
    expect(page.locator(".hit h2 mark")).to_have_text("Tea")
    expect(page.locator(".hit .text mark")).to_have_text("Green")
    expect(page.locator(".hit .text mark")).to_have_attribute("title", "found for green")
    page.get_by_label("Words").check(force=True)
    only(page, "🍵 Tea")
    expect(page.locator(".hit .text mark")).to_have_text(["Green", "tea"])


def test_what_is_not_highlighted(open_page: Opened):
    """Only tokens at least half as similar as the best are marked, and neither punctuation nor what the model's own tokens find."""
    page = open_page("?collection=kitchen")

    def told(route: Route) -> None:
        answer = route.fetch().json()
        text = f"{answer['hits'][0]['title']} {answer['hits'][0]['text']}"
        places = {
            ("loaf", "loa"): 0.9,
            ("loaf", "f"): 0.7,
            ("so", "wild"): 0.46,
            ("to", "yeast"): 0.44,
            ("[SEP]", "works"): 0.9,
            ("why", ","): 0.9,
        }
        answer["hits"][0]["matches"] = [
            {"query_token": asked, "start": text.index(token), "end": text.index(token) + len(token), "similarity": similarity}
            for (asked, token), similarity in places.items()
        ]
        answer["hits"][0]["matches"].append({"query_token": "bread", "start": None, "end": None, "similarity": 0.9})
        answer["hits"] = answer["hits"][:1]
        route.fulfill(json=answer)

    page.route("**/search", told)
    ask(page, "why does a loaf rise")
    expect(page.locator(".hit .text mark")).to_have_text(["loaf", "wild"])
    expect(page.locator(".hit .text mark.level-3")).to_have_text("loaf")
    expect(page.locator(".hit .text mark.level-1")).to_have_text("wild")


def test_a_long_passage_is_shown_around_its_match(open_page: Opened):
    """A hit shows the part of a long passage that matches, and marks it as a part."""
    page = open_page("?query=why+is+my+stock+cloudy&mode=late&k=1")
    only(page, "Stock")
    text = page.locator(".hit .text")
    expect(text).to_have_text(re.compile("^….{250,460} A cloudy stock was boiled. .*[^…]$"))
    expect(text.locator("mark.level-3")).to_have_text(["cloudy", "stock"])
    ask(page, "bones in water")
    expect(text).to_have_text(re.compile("^Put the bones in cold water. .{400,500}…$"))


def test_a_passage_is_text(open_page: Opened):
    """Markup of a passage, its title and its metadata is shown as text and does nothing, in the hits and in the heat map."""
    page = open_page("?query=poison+in+mushrooms&k=1")
    only(page, "<img src=x onerror=document.title='broken'> Danger")
    expect(page.locator(".hit .text")).to_contain_text("<script>document.title = 'broken'</script> & <b>poison</b>")
    expect(page.locator(".hit .facts")).to_contain_text("<i>kind<script>")
    page.locator(".hit h2 a").click()
    expect(page.get_by_role("dialog")).to_contain_text("Milliseconds of the search")
    expect(page).to_have_title("poison in mushrooms · pgretrieval")
    assert page.locator("main script, main img, main b, main i.kind, dialog script, dialog img, dialog b").count() == 0


def test_scripts_in_the_document_do_not_run(browser: Browser, service: str):
    """The policy of the page forbids inline scripts and event handlers, even if one got into the document."""
    page = browser.new_page()
    page.goto(service)
    policy = page.request.get(page.url).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    page.evaluate("""() => {
        window.ran = [];
        const script = document.createElement('script');
        script.textContent = 'window.ran.push("script")';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<img src="data:," onerror="window.ran.push(\\'handler\\')">');
    }""")
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") == []
    page.close()


def test_the_files_are_asked_for_again_but_not_sent_again(open_page: Opened):
    """Browsers revalidate the files by a digest, and get them again only if they changed."""
    page = open_page("")
    for path in ("", "page/page.css", "page/page.js"):
        first = page.request.get(path)
        assert first.headers["cache-control"] == "no-cache"
        assert first.headers["x-content-type-options"] == "nosniff"
        assert first.headers["referrer-policy"] == "no-referrer"
        again = page.request.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status, again.body()) == (304, b"")


def test_the_heat_map(open_page: Opened):
    """A click on a hit opens why it was found; Esc closes it, and the focus and the address are as before."""
    page = open_page("?query=why+does+a+loaf+rise&mode=hybrid")
    first(page, "Sourdough")
    before = page.url
    page.locator(".hit .text").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Sourdough")
    expect(dialog).to_contain_text("loaf")
    expect(dialog).to_contain_text("late")
    expect(dialog).to_contain_text("words")
    expect(dialog).to_contain_text(re.compile(r"[\d.]+ ms"))
    expect(dialog.locator(".match-map .match-best").first).to_have_css("font-weight", "700")
    assert state(page)["id"] == "bread"
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(before)
    expect(page.locator(".hit h2 a").first).to_be_focused()
    page.go_forward()
    expect(dialog).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    page.go_forward()
    expect(dialog).to_be_visible()
    page.mouse.click(2, 2)  # beside it
    expect(dialog).to_be_hidden()


@pytest.mark.parametrize(
    ("mode", "search"), [("hybrid", "hybrid search"), ("late", "search by late interaction"), ("words", "search by words")]
)
def test_the_rank_in_the_heat_map(open_page: Opened, mode: str, search: str):
    """The rank is that of the list, in every mode, also after another mode was chosen; below are those by each kind of score."""
    page = open_page("?collection=kitchen&query=water+of+the+tea&mode=late")
    first(page, "🍵 Tea")
    page.get_by_label(mode.capitalize()).check(force=True)
    expect(page).to_have_url(re.compile(f"mode={mode}"))
    hit = page.locator("#hits:not([aria-busy]) .hit").nth(1)
    hit.locator("h2 a").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Hit 2 of the {search}.")
    expect(dialog.get_by_role("row", name="Late interaction")).to_be_visible()
    expect(dialog.get_by_role("row", name="Words")).to_be_visible()


def test_a_shared_heat_map(open_page: Opened):
    """The address of an opened hit opens it; a close leaves the search."""
    page = open_page("?collection=kitchen&query=why+does+a+loaf+rise&id=bread")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Milliseconds of the search")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(re.compile(r"^[^&]*&query=why\+does\+a\+loaf\+rise$"))
    first(page, "Sourdough")


def test_why_not(open_page: Opened):
    """A passage that is not among the hits can be explained by its id, for the same number of hits and filter."""
    page = open_page("?query=why+does+a+loaf+rise&k=1&where=%24.kind+%3D%3D+%22baking%22")
    only(page, "Sourdough")
    page.get_by_label("Is a passage missing?").fill("tea")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Green")
    expect(dialog).to_contain_text("The filter where= excludes it")
    page.keyboard.press("Escape")
    page.get_by_label("Is a passage missing?").fill("rolls")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("It ranks below hit 1 of the hybrid search.")
    page.keyboard.press("Escape")
    page.get_by_label("Is a passage missing?").fill("nowhere")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("nowhere")


def test_an_unknown_collection(open_page: Opened):
    """An unknown collection in the address is an error, and another can be chosen."""
    page = open_page("?collection=nowhere&query=tea")
    expect(page.get_by_role("alert").filter(has_text="nowhere")).to_be_visible()
    page.locator("#collection").select_option("kitchen")
    first(page, "🍵 Tea")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service(open_page: Opened, status: int):
    """A busy service gives a hint to try again, and a button that does."""
    page = open_page("")

    def busy(route: Route) -> None:
        error = {"type": "Busy", "message": "too many requests", "remedy": "repeat the request later"}
        route.fulfill(
            status=status, headers={"Retry-After": "2"}, content_type="application/json", body=json.dumps({"error": error})
        )

    page.route("**/search", busy)
    ask(page, "tea")
    alert = page.get_by_role("alert").filter(has_text="Too many requests.")
    expect(alert).to_contain_text("Try again in 2 seconds.")
    page.unroute("**/search")
    alert.get_by_role("button", name="Try again").click()
    first(page, "🍵 Tea")
    expect(alert).to_be_hidden()


def test_a_token(open_page: Opened, guarded: str):
    """The page asks for the token, again after a wrong one, and keeps it for this tab only."""
    page = open_page("?query=loaf&mode=words", url=guarded)
    expect(page.locator("#token")).to_have_attribute("type", "password")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This service asks for a token")
    page.keyboard.type("a-wrong-token-0123456789")
    page.keyboard.press("Enter")
    expect(page.locator("#token-reason")).not_to_be_empty()
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    first(page, "Sourdough")
    assert TOKEN in page.evaluate("JSON.stringify(sessionStorage)")
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert TOKEN not in page.url
    page.reload()
    first(page, "Sourdough")


def test_a_token_asked_for_twice(open_page: Opened, guarded: str):
    """Typed text stays, if another state of the page needs the token meanwhile."""
    page = open_page("?query=loaf", url=guarded)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.type(TOKEN)
    page.evaluate("history.pushState({}, '', '?query=tea')")
    with page.expect_response("**/v1/collections"):
        page.go_back()
    page.wait_for_timeout(100)
    expect(page.locator("#token")).to_have_value(TOKEN)
    page.keyboard.press("Enter")
    first(page, "Sourdough")


@pytest.mark.parametrize("way", ["Escape", "Cancel"])
def test_a_declined_token(open_page: Opened, guarded: str, way: str):
    """Without the token the page says what is missing."""
    page = open_page("", url=guarded)
    expect(page.get_by_role("dialog")).to_be_visible()
    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert").filter(has_text="The service needs a token.")).to_be_visible()
