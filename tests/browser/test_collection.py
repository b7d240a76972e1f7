"""The page of a collection."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
from playwright.sync_api import Page, Route, expect

Opened = Callable[..., Page]


def section(page: Page, heading: str):
    """A section of the page."""
    return page.locator("#about section").filter(has=page.get_by_role("heading", name=heading))


def test_counts_sizes_and_settings(open_page: Opened):
    """It has counts, the size of each table, the drift of the codes, the queue, and the settings."""
    page = open_page("")
    page.get_by_role("link", name="Collection").click()
    expect(page.get_by_role("heading", name="kitchen")).to_be_focused()
    figures = page.locator(".figures")
    expect(figures).to_contain_text(re.compile(r"passages\s*6"))
    expect(figures).to_contain_text(re.compile(r"tokens\s*\d{3}"))
    expect(figures).to_contain_text(re.compile(r"tokens a passage\s*\d\d\.\d\D"))
    expect(figures).to_contain_text(re.compile(r"in Postgres\s*\d+ kB"))
    sizes = section(page, "Sizes")
    for table in ("passage", "token_code", "posting", "word_posting"):
        expect(sizes).to_contain_text(re.compile(rf"{table}\s*\d+ kB"))
    expect(section(page, "Drift")).to_contain_text("The codes fit.")
    expect(section(page, "Queue")).to_contain_text("not attached")
    expect(section(page, "Settings")).to_contain_text(re.compile(r"Encoder\s*minilm 2"))
    expect(section(page, "Settings")).to_contain_text(re.compile(r"Language of words\s*english"))
    expect(page).to_have_title("kitchen · pgretrieval")


def test_another_collection(open_page: Opened):
    """A choice shows another collection; one that follows a table shows its queue, and the rows that failed with their errors."""
    page = open_page("?view=collection&collection=kitchen")
    page.locator("#collection-choice").select_option("pantry")
    queue = section(page, "Queue")
    expect(queue).to_contain_text("Attached to public.recipes: 0 changes queued, 1 parked.")
    expect(queue.get_by_role("row").nth(1)).to_contain_text("2,500 bytes")
    expect(queue.get_by_role("cell").first).to_have_text(re.compile("^x{60} … x{20}$"))
    page.get_by_role("link", name="Search").click()
    expect(page.locator("#collection")).to_have_value("pantry")
    page.go_back()
    page.go_back()
    expect(page.get_by_role("heading", name="kitchen")).to_be_visible()


def test_before_the_first_build(open_page: Opened):
    """A collection without an index says so; so does one whose queue the service's role may not see."""
    page = open_page("?view=collection&collection=letters")
    expect(section(page, "Drift")).to_contain_text("There is no index yet")

    def hidden(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "queued": None})

    page.route("**/v1/collections/pantry", hidden)
    page.locator("#collection-choice").select_option("pantry")
    expect(section(page, "Queue")).to_contain_text("Attached to public.recipes. The service may not see the queue.")


def test_drift(open_page: Opened, filled_url: str):
    """Passages that fit the codes less are said, with the remedy, once the collection is shown again."""
    page = open_page("?view=collection&collection=kitchen")
    expect(section(page, "Drift")).to_contain_text("The codes fit.")
    with psycopg.connect(filled_url) as connection:
        connection.execute("""
            insert into pgretrieval.segment
                (collection_id, codebook_id, segment, passages, tokens, quantization_error, posting_rows)
            select collection_id, codebook_id, 77, 50, 900, 0.5, 0 from pgretrieval.collection where name = 'kitchen'
        """)
    try:
        page.get_by_role("link", name="Search").click()
        page.get_by_role("link", name="Collection").click()
        expect(section(page, "Drift")).to_contain_text("A rebuild pays")
        expect(section(page, "Drift")).to_contain_text("50 passages added since, with an error of 50.0 %.")
    finally:
        with psycopg.connect(filled_url) as connection:
            connection.execute("delete from pgretrieval.segment where segment = 77")


def test_check(open_page: Opened):
    """The check says that a collection is sound, or lists what is not."""
    page = open_page("?view=collection&collection=kitchen")
    page.get_by_role("button", name="Check").click()
    expect(section(page, "Consistency").get_by_role("status")).to_have_text("No violations.")
    page.locator("#collection-choice").select_option("letters")
    page.get_by_role("button", name="Check").click()
    expect(section(page, "Consistency").get_by_role("row").nth(1)).to_contain_text("orphan_queue_entry")


def test_a_service_that_does_not_answer(open_page: Opened):
    """If the service does not answer, the page says so, and goes on when it does."""
    page = open_page("?view=collection&collection=kitchen")
    expect(page.locator(".figures")).to_be_visible()
    page.context.set_offline(True)
    page.get_by_role("button", name="Check").click()
    alert = page.get_by_role("alert").filter(has_text="The service does not answer.")
    expect(alert).to_be_visible()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(alert).to_be_hidden()
    expect(section(page, "Consistency").get_by_role("status")).to_have_text("No violations.")
