"""Takes screenshots of `hmmn-jax paint` with the bundled clip and model in Chromium, for docs/paint.md.

    python -m tools.paint_pictures [FOLDER]

The script takes one or two minutes on two CPU cores, mostly for compilation. Requirements: `pip install '.[dev]'` and
Chromium.
"""

import contextlib
import gzip
import io
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from hmmn_jax import Segmenter, load_checkpoint
from hmmn_jax.io.bundled import DEMO_CLIP
from hmmn_jax.io.images import read_mask
from hmmn_jax.paint.server import open_page

DOCS = Path(__file__).parents[1] / "docs"
FRAMES, MASKS = DEMO_CLIP / "JPEGImages/240p/koi", DEMO_CLIP / "Annotations/240p/koi"
ANNOTATED = 4  # the frame that is annotated
LARGEST = 190_000  # maximum size of a picture file, in bytes
NAMES = ("Red koi", "Gold koi")


def main(folder: Path) -> None:
    """Serves a new project and writes all screenshots."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as project, serving(Path(project) / "koi.hmmn") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        take(browser, url, folder)
        browser.close()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serves a project for the bundled clip with the bundled model. Yields the address."""
    with open_page(folder, FRAMES, lambda _: Segmenter(*load_checkpoint("lite")), "lite", "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_page)
        thread.start()
        try:
            yield server.url
        finally:
            server.stop()
            thread.join()


def take(browser: Browser, url: str, folder: Path) -> None:
    """Annotates a frame, computes the masks of all other frames, and writes the screenshots."""
    context = browser.new_context(viewport={"width": 1080, "height": 700})
    page = opened(context, url)
    annotate(page, context)
    page.keyboard.press("r")
    page.wait_for_selector("#progress:not([hidden])")
    page.wait_for_selector("#progress", state="hidden", timeout=600_000)
    show(page, 12)
    page.mouse.move(470, 230)  # so that the brush is visible over the frame
    save(page, folder / "paint_editor.png")

    page.keyboard.press("s")
    page.wait_for_selector("#exporting[open]")
    save(page, folder / "paint_export.png", page.locator("#exporting").bounding_box())
    page.keyboard.press("Escape")

    state = context.storage_state()
    dark = browser.new_context(viewport={"width": 1080, "height": 700}, color_scheme="dark", storage_state=state)
    page = opened(dark, url)
    page.keyboard.press("m")
    show(page, 26)
    page.mouse.move(560, 290)
    save(page, folder / "paint_dark.png")
    phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, storage_state=state)
    page = opened(phone, url)
    show(page, 12)
    save(page, folder / "paint_phone.png")


def opened(context: BrowserContext, url: str) -> Page:
    """Opens the page, focuses the canvas, and returns the page."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("body[data-ready]")
    page.focus("#canvas")
    return page


def annotate(page: Page, context: BrowserContext) -> None:
    """Names two objects, then sends the ground truth of one frame with the request that the page uses."""
    server = page.evaluate("location.origin")
    page.keyboard.press("a")
    for k, name in enumerate(NAMES, 1):
        field = page.locator(f"input[aria-label='Name of object {k}']")
        field.fill(name)
        field.press("Enter")
        page.wait_for_selector(f"[aria-label='Paint {name}']")
    mask = read_mask(MASKS / f"{ANNOTATED:05d}.png")
    answer = context.request.put(
        f"{server}/api/masks/{ANNOTATED}", data=gzip.compress(mask.tobytes()), headers={"If-None-Match": "*"}
    )
    assert answer.ok, answer.text()
    page.focus("#canvas")


def show(page: Page, t: int) -> None:
    """Navigates to a frame with the keyboard, and waits for the frame and the thumbnails to load."""
    page.keyboard.press("Home")
    for _ in range(t):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1500)


def save(page: Page, path: Path, box: dict | None = None) -> None:
    """Writes a screenshot with as many colours as the maximum file size allows."""
    picture = Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB")
    for colours in (256, 192, 128, 96, 64, 48, 32):
        content = io.BytesIO()
        picture.quantize(colours, Image.Quantize.MAXCOVERAGE).save(content, "PNG", optimize=True)
        if content.tell() <= LARGEST:
            break
    path.write_bytes(content.getvalue())
    print(f"{path}: {colours} colours, {content.tell() / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
