"""The page by keyboard alone, in light and dark, on a narrow screen; contrast and names of all controls."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

Opened = Callable[..., Page]
SEARCH = "?collection=kitchen&query=why+does+a+loaf+rise&mode=hybrid"
VIEWS = [
    SEARCH,
    "?collection=kitchen&query=stock+or+green+tea&mode=late",
    SEARCH + "&id=bread",
    SEARCH + "&where={",
    "?view=collection&collection=kitchen",
    "?view=collection&collection=pantry",
]
# Texts with a ratio to their background below 4.5, as WCAG 2 computes it; colours are blended from the root inwards.
LOW_CONTRAST = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    canvas.canvas.width = canvas.canvas.height = 1;
    const paint = (colours) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => {
        const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const root = document.querySelector('dialog[open]') ?? document.body;
    const low = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    let texts = 0;
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility({visibilityProperty: true})) continue;
        texts += 1;
        const under = [];
        for (let each = element; each; each = each.parentElement) under.unshift(getComputedStyle(each).backgroundColor);
        under.unshift(getComputedStyle(document.documentElement).backgroundColor);
        const [one, other] = [light(paint(under)), light(paint([...under, getComputedStyle(element).color]))].sort((a, b) => b - a);
        const ratio = (one + 0.05) / (other + 0.05);
        if (ratio < 4.5) low.push([walker.currentNode.data.trim().slice(0, 40), ratio.toFixed(2)]);
    }
    return [texts, low];
}"""

NAMELESS = """() => [...document.querySelectorAll('a, button, input, select, summary, [role=region]')].filter(
    (each) => !(each.labels?.length || each.textContent.trim() || each.ariaLabel || each.ariaLabelledByElements?.length)
).map((each) => each.outerHTML)"""
# Controls that a finger would miss.
SMALL = """() => [...document.querySelectorAll('button, select, #modes label, input:not([type=radio])')].filter((each) => {
    const {width, height} = each.getBoundingClientRect();
    return each.checkVisibility() && (height < 32 || width < 32);
}).map((each) => each.outerHTML)"""


def ready(page: Page) -> None:
    """Wait until nothing is loading."""
    expect(page).to_have_title(re.compile(" · "))
    expect(page.get_by_text(re.compile("^(Reading|Searching) …$"))).to_have_count(0)


@pytest.mark.parametrize("view", VIEWS)
def test_each_view(open_page: Opened, view: str):
    """In both colour schemes texts have a contrast of 4.5:1 at least; controls have names; on 360 pixels nothing is cut off."""
    page = open_page(view, color_scheme="light")
    ready(page)
    assert not page.evaluate(NAMELESS)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        texts, low = page.evaluate(LOW_CONTRAST)
        assert texts > 5
        assert not low, scheme
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert not page.evaluate(SMALL)


def test_dark_and_light(open_page: Opened):
    """The colours follow the system's scheme, also while the page is open."""
    page = open_page("", color_scheme="dark")
    lightness = "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b) / 3"
    assert page.evaluate(lightness) < 50
    assert page.evaluate("getComputedStyle(document.querySelector('#query')).colorScheme") == "light dark"
    page.emulate_media(color_scheme="light")
    assert page.evaluate(lightness) > 220


def test_by_keyboard_alone(open_page: Opened):
    """Tab reaches everything in the order of reading, each with a visible focus; Enter opens a hit, Esc comes back to it."""
    page = open_page(SEARCH)
    ready(page)
    page.evaluate("document.activeElement.blur()")
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.value || document.activeElement.innerText"))
        assert page.evaluate("""() => {
            const active = document.activeElement;
            const shown = active.type === 'radio' ? active.nextElementSibling : active;
            return getComputedStyle(shown).outlineStyle === 'solid' && shown.getBoundingClientRect().top >= 0;
        }"""), seen[-1]
    assert seen[:11] == [
        "Skip to the content", "pgretrieval", "to-search", "to-collection",
        "query", "Search", "collection", "k", "hybrid", "where", "Stages",
    ]  # fmt: skip
    assert seen[11:13] == ["Sourdough", "Rolls"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Milliseconds of the search")
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || Boolean(document.activeElement.closest('dialog'))")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("link", name="Rolls")).to_be_focused()


def test_modes_by_keyboard(open_page: Opened):
    """Arrows choose a mode, and the focus stays on it while the hits change."""
    page = open_page(SEARCH)
    ready(page)
    page.get_by_label("Hybrid").focus()
    page.keyboard.press("ArrowRight")
    ready(page)
    expect(page.get_by_label("Late")).to_be_focused()
    page.keyboard.press("ArrowRight")
    ready(page)
    expect(page.get_by_label("Words")).to_be_focused()
    expect(page.locator(".hit")).to_have_count(2)


def test_the_skip_link(open_page: Opened):
    """The first Tab shows a link that skips the header."""
    page = open_page(SEARCH)
    ready(page)
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.bounding_box()["y"] < 0
    page.keyboard.press("Tab")
    assert skip.bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Query")).to_be_focused()


def test_where_one_is(open_page: Opened):
    """The header says which page is open; the search box has the focus where there is no search yet."""
    page = open_page("")
    ready(page)
    expect(page.get_by_label("Query")).to_be_focused()
    expect(page.locator("nav [aria-current=page]")).to_have_text("Search")
    page.get_by_role("link", name="Collection").click()
    expect(page.locator("nav [aria-current=page]")).to_have_text("Collection")
    page.get_by_role("link", name="Search").click()
    expect(page.locator("nav [aria-current=page]")).to_have_text("Search")
    page.goto(SEARCH)
    ready(page)
    expect(page.get_by_label("Query")).not_to_be_focused()


def test_results_are_announced(open_page: Opened):
    """A screen reader hears the number of hits, and errors."""
    page = open_page(SEARCH)
    ready(page)
    expect(page.locator("#status[role=status]")).to_contain_text("hits in")
    page.get_by_label("Filter").fill("{")
    page.keyboard.press("Enter")
    expect(page.locator("#where-error[role=alert]")).not_to_be_empty()
    expect(page.get_by_label("Filter")).to_have_accessible_description(re.compile("This is no JSON"))
