"""Tests that painting on the canvas stores exactly the expected ids on the server."""

import numpy as np
import pytest

from tests.browser import oracle

PATH = [(12, 9), (40, 30), (41.5, 12.25), (-6, 20)]  # the last point is outside the frame


@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("zoom", [1, 3])
def test_a_stroke_gives_the_expected_ids(open_film, zoom, ratio):
    tab = open_film(scale=ratio)
    tab.zoom(zoom)
    tab.page.evaluate("app.model.set({ size: 7 })")
    exact = tab.stroke(*PATH)
    tab.saved()
    expected = oracle.paint_stroke(np.zeros((48, 64), np.uint8), exact, 7, 1)
    np.testing.assert_array_equal(tab.mask(0), expected)
    np.testing.assert_array_equal(tab.own_mask(0), expected)
    assert expected.any() and tab.states() == "ammmmmmm"


@pytest.mark.parametrize("shape", [{"height": 81, "width": 45}, {"height": 33, "width": 57}, {"count": 1}], ids=str)
def test_videos_of_other_shapes(open_film, shape):
    """Tests a portrait video, a video whose height and width are odd numbers, and a video with one frame."""
    tab = open_film(shape=shape)
    exact = tab.stroke((3, 4), (20, 25))
    tab.saved()
    height, width = shape.get("height", 48), shape.get("width", 64)
    np.testing.assert_array_equal(tab.mask(0), oracle.paint_stroke(np.zeros((height, width), np.uint8), exact, 15, 1))
    last = shape.get("count", 8) - 1
    tab.press("End")
    tab.shown(last)
    tab.press("ArrowRight", "Shift+ArrowRight", "j")
    assert tab.model("current") in (last, tab.model("next"))


def test_undo_restores_the_bytes(open_film):
    """Undo also works after another frame was shown. After all strokes are undone, the edited frame has no mask."""
    tab = open_film()
    tab.page.evaluate("app.model.set({ size: 9 })")
    states = []
    for points in ([(10, 10), (30, 20)], [(15, 5), (15, 40)]):
        tab.stroke(*points)
        tab.saved()
        states.append(tab.mask(0))
    tab.press("e")
    tab.stroke((20, 2), (10, 30))
    tab.saved()
    states.append(tab.mask(0))
    assert not np.array_equal(states[1], states[2])
    tab.press("ArrowRight", "ArrowLeft")
    tab.shown(0)
    for expected in (states[1], states[0]):
        tab.press("z")
        tab.saved()
        np.testing.assert_array_equal(tab.mask(0), expected)
    tab.press("Control+z")
    tab.saved()
    assert tab.mask(0) is None and tab.states()[0] == "m" and not tab.own_mask(0).any()
    for expected in states:
        tab.press("Shift+Z")
        tab.saved()
        np.testing.assert_array_equal(tab.mask(0), expected)
    assert tab.page.is_disabled("#redo") and tab.page.is_enabled("#undo")


def test_the_right_button_erases(open_film):
    tab = open_film()
    first = tab.stroke((10, 20), (50, 20))
    second = tab.stroke((30, 5), (30, 40), button="right")
    tab.saved()
    expected = oracle.paint_stroke(np.zeros((48, 64), np.uint8), first, 15, 1)
    np.testing.assert_array_equal(tab.mask(0), oracle.paint_stroke(expected, second, 15, 0))


@pytest.mark.parametrize("change", ["tool", "frame", "object"])
def test_a_change_during_a_stroke_ends_it(open_film, change):
    """The page saves the part of the stroke that was drawn before the tool, the frame or the object changed.

    Further mouse movements do not paint.
    """
    tab = open_film()
    tab.page.evaluate("app.objects.add()")
    tab.wait("app.model.object === 2")
    exact = tab.stroke((10, 10), (30, 20), lift=False)
    tab.page.keyboard.press({"tool": "e", "frame": "ArrowRight", "object": "1"}[change])
    if change == "frame":
        tab.shown(1)
    place, _ = tab.place((50, 40))
    tab.page.mouse.move(*place)
    tab.page.mouse.up()
    tab.saved()
    np.testing.assert_array_equal(tab.mask(0), oracle.paint_stroke(np.zeros((48, 64), np.uint8), exact, 15, 2))
    assert tab.states() == "ammmmmmm"


def test_polygon_and_fill(open_film):
    """Draws a polygon, closes it with a click on its first corner, and fills the background around it."""
    tab = open_film()
    tab.press("l")
    corners = [(5, 5), (40, 8), (50, 40), (10, 30)]
    for corner in (*corners, corners[0]):
        tab.click(corner)
    tab.saved()
    expected = oracle.paint_polygon(np.zeros((48, 64), np.uint8), corners, 1)
    np.testing.assert_array_equal(tab.mask(0), expected)

    tab.page.evaluate("app.objects.add()")
    tab.wait("app.model.object === 2")
    tab.page.evaluate("app.model.set({ tolerance: 255 })")  # the colours of the frame do not limit the fill
    tab.press("g")
    tab.click((0.5, 0.5))
    tab.saved()
    frame = np.zeros((48, 64, 3), np.uint8)
    np.testing.assert_array_equal(tab.mask(0), oracle.paint_fill(expected, frame, (0, 0), 2, 255))


def test_escape_and_backspace_in_a_polygon(open_film):
    tab = open_film()
    tab.press("l")
    for corner in ((5, 5), (40, 8), (50, 40)):
        tab.click(corner)
    tab.press("Backspace")
    assert len(tab.page.evaluate("app.view.corners")) == 2
    tab.press("Escape")
    assert tab.page.evaluate("app.view.corners") == [] and tab.mask(0) is None


def test_locked_and_hidden_objects_keep_their_pixels(open_film):
    tab = open_film()
    tab.stroke((10, 10), (30, 10))
    tab.page.evaluate("app.objects.add()")
    tab.wait("app.model.object === 2")
    before = tab.own_mask(0)
    tab.page.click("button[aria-label='Lock Object 1']")
    tab.wait("app.model.objects[0].locked")
    exact = tab.stroke((20, 4), (20, 40))
    tab.saved()
    expected = oracle.paint_stroke(before, exact, 15, 2, locked=(1,))
    np.testing.assert_array_equal(tab.mask(0), expected)
    tab.press("1")
    tab.stroke((40, 40))
    assert "is locked" in tab.page.text_content("#notices")
    tab.page.click("button[aria-label='Unlock Object 1']")
    tab.page.click("button[aria-label='Hide Object 1']")
    tab.wait("!app.model.objects[0].visible")
    exact = tab.stroke((10, 10), (12, 10), button="right")
    tab.saved()
    np.testing.assert_array_equal(tab.mask(0), oracle.paint_stroke(expected, exact, 15, 0, locked=(1,)))


def test_moving_and_enlarging_does_not_paint(open_film):
    """Tests the wheel, the middle button and the move tool. The wheel zooms around the point under the pointer."""
    tab = open_film()
    place, before = tab.place((20, 15))
    tab.page.mouse.move(*place)
    for delta in (-300, -300, 200):
        tab.page.mouse.wheel(0, delta)
    tab.wait("app.view.scale > 10")
    after = tab.page.evaluate("([x, y]) => app.view.toFrame(x, y)", list(place))
    np.testing.assert_allclose(after, before, atol=0.01)
    origin = tab.page.evaluate("app.view.origin")
    tab.stroke((20, 15), (25, 18), button="middle")
    tab.press("h")
    tab.stroke((20, 15), (25, 18))
    assert tab.page.evaluate("app.view.origin") != origin
    tab.press("0")
    assert tab.page.evaluate("app.view.fitted") and tab.mask(0) is None


def test_the_canvas_shows_the_object_in_its_colour(open_film):
    """Masked pixels are the mean of the frame and the object's colour. Outlines are opaque. Hidden masks are not drawn."""
    tab = open_film()
    tab.zoom(4)
    tab.page.evaluate("app.model.set({ size: 21 })")
    tab.stroke((32, 24))
    tab.saved()
    tab.page.mouse.move(5, 5)

    colour = np.array([255, 77, 77])
    middle = tab.pixel(32, 24)
    tab.press("x")
    plain = tab.pixel(32, 24)
    tab.press("x")
    np.testing.assert_allclose(middle, (plain + colour) / 2, atol=4)
    rows, columns = np.nonzero(tab.mask(0))
    np.testing.assert_allclose(tab.pixel(int(columns[rows == 24].min()), 24), colour, atol=1)
