"""Take pictures of the service's page into docs/pictures: `python tools/page_pictures.py`. Needs Chromium and the extra bench."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pgretrieval
from tests.support.browser import chromium, watched_page
from tests.support.serving import process

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
SEARCH = "?collection=kitchen&query=why+does+bread+rise+so+slowly&mode=hybrid"
VIEWS = {
    "page-search": (SEARCH, 800),
    "page-heat-map": (f"{SEARCH}&id=bread", 1040),
    "page-collection": ("?collection=kitchen&view=collection", 800),
}
"""Address and height of each picture."""
_WIDTH, _SCALE, _COLOURS = 1000, 1.5, 192

TEXTS = """
bread | Sourdough | baking | 12
A sourdough loaf rises slowly, because wild yeast works slowly.

rolls | Rolls with baker's yeast | baking | 14
Baker's yeast is quick: rolls rise in an hour. Knead the dough until it is smooth, and bake the rolls for fifteen minutes.

flatbread | Flatbread | baking | 16
Flatbread needs no yeast. Mix flour, water and salt, rest the dough for half an hour, and fry it in a hot pan.

crust | A crisp crust | baking | 17
Steam in the oven keeps the crust soft while the loaf grows; let it out after ten minutes, and the crust turns crisp.

tea | Tea | drinks | 3
Green tea likes water of 80 degrees: boiling water makes it bitter. Black tea wants water that boils.

coffee | Coffee | drinks | 5
Grind coffee just before you brew it. If it tastes sour, grind finer; if it tastes bitter, grind coarser.

beans | Dried beans | vegetables | 21
Soak dried beans overnight, so that they cook in an hour. Salt in the water keeps their skins soft.

onions | Onions | vegetables | 22
Onions brown slowly over low heat. After forty minutes they are sweet and soft.

tomatoes | Tomatoes | vegetables | 24
Tomatoes lose their taste in the cold: keep them on the table, not in the refrigerator.

stock | Stock | soups | 30
A stock simmers for hours and never boils, or it turns cloudy. Skim it while it warms.

lentils | Lentil soup | soups | 31
Red lentils fall apart in twenty minutes and thicken the soup by themselves.

rice | Rice | grains | 40
Wash rice until the water is clear, and let it stand for ten minutes after cooking, covered.
"""


def main() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as folder, pgretrieval.connect(data_dir=folder) as database:
        kitchen = database.create_collection("kitchen", language="english")
        kitchen.add(map(passage, TEXTS.strip().split("\n\n")))
        kitchen.build()
        with process(database.url) as service, service.started() as client, chromium() as browser:
            for name, (address, height) in VIEWS.items():
                viewport = {"width": _WIDTH, "height": height}
                with watched_page(browser, str(client.base_url), viewport=viewport, device_scale_factor=_SCALE) as page:
                    for _ in range(3):  # the first search loads the model, and milliseconds are shown
                        page.goto(address)
                        page.wait_for_load_state("networkidle")
                    (PICTURES / f"{name}.png").write_bytes(picture(page))


def passage(paragraph: str) -> dict[str, Any]:
    """Return the passage of a paragraph of `TEXTS`."""
    heading, text = paragraph.split("\n", 1)
    id, title, chapter, page = heading.split(" | ")
    return {"id": id, "title": title, "text": text, "metadata": {"chapter": chapter, "page": int(page)}}


def picture(page: Page) -> bytes:
    """Return a picture of the page as a small PNG."""
    written = io.BytesIO()
    with Image.open(io.BytesIO(page.screenshot())) as taken:
        taken.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(written, "png", optimize=True)
    return written.getvalue()


if __name__ == "__main__":
    main()
