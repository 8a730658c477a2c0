"""Tests the page on a phone and a desktop, in light and dark mode, with keyboard, mouse and touch."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.browser import oracle

SMALLEST_TEXT, SMALLEST_TARGET = 11, 24  # CSS pixels

TEXTS = """() => [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility() && !node.matches(".skip")
  && [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())
  && getComputedStyle(node).display !== "none").map((node) => {
    const rgb = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    let back = node;
    while (back && (rgb(getComputedStyle(back).backgroundColor)[3] ?? 1) < 0.5) back = back.parentElement;
    const style = getComputedStyle(node);
    const box = node.getBoundingClientRect();
    return [node.textContent.trim().slice(0, 30), parseFloat(style.fontSize), rgb(style.color).slice(0, 3),
            rgb(getComputedStyle(back ?? document.body).backgroundColor).slice(0, 3), box.left, box.right,
            node.closest(":disabled, .empty") !== null, style.backgroundColor.startsWith("color(")];
  })"""


def contrast(one, two):
    """Returns the contrast ratio of two colours, as defined by WCAG."""

    def light(colour):
        values = np.array(colour) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722] + 0.05

    return max(light(one), light(two)) / min(light(one), light(two))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(390, 844), (1360, 860)], ids=["phone", "desk"])
def test_readable(open_film, size, theme):
    """Text has sufficient size and contrast. Nothing is wider than the window. Controls are large enough and have labels."""
    phone = size[0] < 500
    tab = open_film(size=size, color_scheme=theme, has_touch=phone)
    tab.stroke((10, 10), (30, 30))
    tab.run("r")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    texts = tab.page.evaluate(TEXTS)
    assert len(texts) > 20
    for text, height, ink, paper, left, right, is_disabled, is_mixed in texts:
        assert height >= SMALLEST_TEXT, text
        assert left >= 0 and right <= size[0] + 1, text
        assert is_disabled or is_mixed or contrast(ink, paper) >= 4.5, (text, ink, paper)
    boxes = tab.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a")].filter((node) => node.checkVisibility())
          .map((node) => node.closest("label") ?? node)
          .map((node) => [node.outerHTML.slice(0, 60), node.getBoundingClientRect()])
          .map(([text, { width, height }]) => [text, width, height])"""
    )
    for text, width, height in boxes:
        assert "skip" in text or min(width, height) >= SMALLEST_TARGET - 6 * (not phone), (text, width, height)
    names = tab.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas[tabindex], [role=slider]")]
          .filter((node) => node.checkVisibility() && !(node.ariaLabel || node.labels?.length || node.textContent.trim()))
          .map((node) => node.outerHTML)"""
    )
    assert names == []


def test_the_keyboard_alone(open_film):
    """Paints a stroke and a polygon, computes the masks, and opens the dialogs for exports and keys, without a mouse."""
    tab = open_film(shape={"count": 4})
    keys = tab.page.keyboard
    keys.press("Tab")  # focuses the link to the canvas
    keys.press("Enter")
    assert tab.page.evaluate("document.activeElement.id") == "canvas"
    keys.press("k")
    start = tab.page.evaluate("app.view.pointer")
    keys.press("Shift+ArrowLeft")
    keys.press("ArrowUp")
    keys.press("Enter")  # starts the stroke
    for _ in range(2):
        keys.press("Shift+ArrowRight")
    keys.press("ArrowDown")
    keys.press("Enter")
    tab.saved()
    x, y = start
    path = [(x - 10, y - 1), (x, y - 1), (x + 10, y - 1), (x + 10, y)]
    expected = oracle.paint_stroke(np.zeros((48, 64), np.uint8), path, 15, 1)
    np.testing.assert_array_equal(tab.mask(0), expected)

    keys.press("a")  # adds object 2, for the polygon
    tab.wait("app.model.object === 2")
    keys.press("l")
    keys.press("Shift+ArrowLeft")
    keys.press("Shift+ArrowUp")
    corners = []
    for key in ("Shift+ArrowLeft", "Shift+ArrowDown", "Shift+ArrowRight"):
        keys.press("Enter")
        corners.append([round(value + 1e-9) for value in tab.page.evaluate("app.view.corners.at(-1)")])
        keys.press(key)
    keys.press("Shift+Enter")
    tab.saved()
    np.testing.assert_array_equal(tab.mask(0), oracle.paint_polygon(expected, corners, 2))

    keys.press("Escape")
    keys.press("f")
    tab.wait("app.model.job.state === 'done'")
    assert tab.states() == "afff"
    keys.press("ArrowRight")
    tab.page.evaluate("document.getElementById('tools').firstChild.focus()")
    keys.press("ArrowDown")
    assert tab.model("tool") == "fill"  # in the toolbar, the fill tool is next to the polygon tool
    keys.press("s")
    tab.page.wait_for_selector("#exporting[open]")
    keys.press("Escape")
    keys.press("?")
    tab.page.wait_for_selector("#keys[open]")


def test_every_key_of_the_sheet_is_there_once(open_film):
    tab = open_film(shape={"count": 1})
    keys = tab.page.evaluate(
        """async () => {
          const { actions } = await import("/static/keys.js");
          return Object.values(actions(app)).flatMap((group) => Object.values(group).flatMap(({ keys }) => keys));
        }"""
    )
    assert len(keys) == len(set(keys)) > 40
    assert {*"19delgh[]kzcanpjiofbrxtms? ", "Home", "End", "ArrowRight", "shift+ArrowRight"} <= set(keys)
    tab.press("?")
    sheet = tab.page.inner_text("#key-table")
    assert all(text in sheet for text in ("Undo", "Shift Z", "Frame with the lowest confidence", "Space"))


def test_timeline(open_film):
    """A click selects a frame. The keys I and O set the range of a run. The timeline shows the state of each frame."""
    tab = open_film()
    box = tab.page.locator("#track").bounding_box()
    step = box["width"] / 8
    tab.page.mouse.click(box["x"] + 4.5 * step, box["y"] + 30)
    tab.shown(4)
    tab.stroke((10, 10), (30, 30))
    tab.page.evaluate("app.go(2)")
    tab.press("i")
    tab.wait("app.model.project.range[0] === 2")
    tab.page.evaluate("app.go(6)")
    tab.press("o")
    tab.wait("app.model.project.range[1] === 7")
    tab.run("r")
    assert tab.states() == "mmffaffm"
    assert tab.page.get_attribute("#track", "aria-valuetext") == f"Frame {tab.model('current') + 1} of 8, computed"
    tab.page.click("#whole")
    tab.wait("app.model.project.range[1] === 8")
    tab.page.reload()
    tab.ready()
    assert tab.model("project.range") == [0, 8]

    tab.page.mouse.move(5, 5)
    tab.page.wait_for_timeout(100)
    picture = np.array(Image.open(io.BytesIO(tab.page.screenshot())).convert("RGB"), int)
    bottom = int(box["y"]) + 20 + 46 + 16  # the bottom of the row of object 1
    red = (picture[..., 0] > picture[..., 1] + 60) & (picture[..., 0] > picture[..., 2] + 60)
    rows = [red[bottom - 16 : bottom, int(box["x"] + (t + 0.5) * step)].sum() for t in range(8)]
    assert rows[4] == 12 and rows[0] == rows[7] == 0  # annotated: full height; missing: no bar
    assert all(0 < rows[t] <= 12 for t in (2, 3, 5, 6))  # for computed frames, the height is the confidence


def test_the_most_doubtful_frame(open_film):
    tab = open_film()
    tab.stroke((10, 10), (30, 30))
    tab.run("r")
    expected = tab.timeline()["next"]
    tab.press("j")
    tab.shown(expected)


def test_fingers(open_film):
    """One finger paints. Two fingers pan and zoom, and cancel the stroke of the first finger."""
    tab = open_film(size=(390, 844), has_touch=True)
    session = tab.page.context.new_cdp_session(tab.page)

    def touch(kind, *points):
        places = [tab.place(point)[0] if kind != "touchEnd" else point for point in points]
        session.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]},
        )

    touch("touchStart", (20, 20))
    touch("touchMove", (30, 20))
    touch("touchEnd")
    tab.saved()
    mask = tab.mask(0)
    assert mask[20, 20:30].all()
    scale = tab.page.evaluate("app.view.scale")
    touch("touchStart", (10, 40))
    touch("touchStart", (10, 40), (30, 40))
    touch("touchMove", (5, 40), (45, 40))
    touch("touchEnd")
    tab.saved()
    assert tab.page.evaluate("app.view.scale") > 1.2 * scale
    np.testing.assert_array_equal(tab.mask(0), mask)


def test_choices_stay(open_film):
    tab = open_film(shape={"count": 1})
    tab.press("]", "]", ".", "t", "m")
    chosen = [tab.model(name) for name in ("size", "opacity", "outlines", "magnifier")]
    assert chosen == [19, 60, False, True]
    tab.page.reload()
    tab.ready()
    assert [tab.model(name) for name in ("size", "opacity", "outlines", "magnifier")] == chosen
