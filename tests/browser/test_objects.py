"""Tests the object panel, and two browser tabs with the same project."""

import numpy as np


def add(tab, k):
    tab.page.click("#add")
    tab.wait("k => app.model.object === k", k)


def three_strokes(tab):
    """Paints objects 1 to 3 on frame 0, from top to bottom, and returns the mask."""
    tab.stroke((10, 8), (50, 8))
    for k, y in ((2, 24), (3, 40)):
        add(tab, k)
        tab.stroke((10, y), (50, y))
    tab.saved()
    return tab.mask(0)


def test_delete_merge_and_undo(open_film):
    tab = open_film()
    mask = three_strokes(tab)
    tab.run("r")
    later = tab.mask(5)
    assert {1, 2, 3} <= set(np.unique(later))
    tab.page.evaluate("app.go(0)")
    tab.shown(0)

    tab.page.click("button[aria-label='Delete Object 3']")
    tab.wait("app.model.objects.length === 2")
    np.testing.assert_array_equal(tab.mask(0), np.where(mask == 3, 0, mask))
    np.testing.assert_array_equal(tab.mask(5), np.where(later == 3, 0, later))
    tab.page.click(".notice button")
    tab.wait("app.model.objects.length === 3")
    np.testing.assert_array_equal(tab.mask(0), mask)
    np.testing.assert_array_equal(tab.mask(5), later)

    tab.press("2")
    tab.page.click("button[aria-label='Merge Object 2 into another object']")
    tab.page.select_option("#merge-into", "1")
    tab.page.click("#merging button[value=merge]")
    tab.wait("app.model.objects.length === 2 && app.model.object === 1")
    np.testing.assert_array_equal(tab.mask(0), np.where(mask == 2, 1, mask))
    tab.wait("app.masks.at(0) && !app.masks.at(0).ids.includes(2)")
    tab.stroke((30, 30))
    tab.saved()
    assert tab.page.locator(".notice button").count() == 0  # the page no longer offers to undo the merge
    assert 2 not in np.unique(tab.mask(0))


def test_two_edits_at_once(open_film):
    """Clicks a second button before the server has responded to the first click.

    The page sends the two edits one after the other.
    """
    tab = open_film()
    tab.stroke((10, 10), (30, 10))
    tab.saved()
    tab.page.evaluate("""() => {
        for (const what of ["Lock", "Hide"]) document.querySelector(`button[aria-label='${what} Object 1']`).click();
    }""")
    tab.wait("app.model.objects[0].locked && !app.model.objects[0].visible")
    assert tab.page.text_content("#notices") == ""


def test_name_colour_and_the_next_id(open_film):
    tab = open_film()
    add(tab, 2)
    tab.page.fill("input[aria-label='Name of object 2']", "koi <b>")
    tab.page.keyboard.press("Enter")
    tab.wait("app.model.objects[1].name === 'koi <b>'")
    tab.page.locator("input[aria-label='Colour of koi <b>']").evaluate(
        "(node) => { node.value = '#123456'; node.dispatchEvent(new Event('change')); }"
    )
    tab.wait("app.model.objects[1].colour === '#123456'")
    tab.page.click("button[aria-label='Delete koi <b>']")
    tab.wait("app.model.objects.length === 1")
    add(tab, 3)  # ids are not reused
    tab.page.reload()
    tab.ready()
    assert [found["id"] for found in tab.model("objects")] == [1, 3]


def test_annotation_removed_and_restored(open_film):
    tab = open_film()
    tab.stroke((10, 8), (50, 8))
    tab.saved()
    mask = tab.mask(0)
    tab.press("Shift+C")
    tab.wait("app.model.frames[0].state === 'missing'")
    assert tab.mask(0) is None and not tab.own_mask(0).any()
    tab.page.click(".notice button")
    tab.wait("app.model.frames[0].state === 'annotated' && app.masks.at(0)?.ids.includes(1)")
    np.testing.assert_array_equal(tab.mask(0), mask)


def test_a_computed_mask_is_accepted(open_film):
    tab = open_film()
    tab.stroke((10, 8), (50, 8))
    tab.run("r")
    mask = tab.mask(4)
    tab.page.evaluate("app.go(4)")
    tab.shown(4)
    tab.press("c")
    tab.wait("app.model.frames[4].state === 'annotated'")
    np.testing.assert_array_equal(tab.mask(4), mask)
    tab.press("p")
    tab.shown(0)
    tab.press("n")
    tab.shown(4)


def test_two_tabs(serve, visit):
    """A change in one tab appears in the other tab.

    If a stroke is based on an outdated mask, the server rejects the stroke, and the user chooses which mask to keep.
    """
    url = serve()
    one = visit(url)
    two = visit(url.partition("?")[0], context=one.page.context)
    one.stroke((10, 10), (30, 10))
    one.saved()
    two.wait("app.masks.at(0).ids.includes(1)")  # without a reload
    np.testing.assert_array_equal(two.own_mask(0), one.mask(0))

    for answer in ("theirs", "mine"):
        two.page.evaluate("app.masks.announced = () => {}")  # the second tab ignores changes by the first tab
        one.stroke((40, 40 if answer == "mine" else 30))
        one.saved()
        others = one.mask(0)
        two.stroke((5, 40 if answer == "mine" else 45))
        two.page.wait_for_selector("#question[open]")
        np.testing.assert_array_equal(one.mask(0), others)  # the server did not merge the two strokes
        assert "changed elsewhere" in two.page.text_content("#question")
        two.page.click(f"#question button[value={answer}]")
        two.saved()
        two.wait("app.masks.at(0).tag !== null")
        if answer == "theirs":
            two.wait("others => app.masks.at(0).ids.every((id, i) => id === others[i])", others.ravel().tolist())
            np.testing.assert_array_equal(one.mask(0), others)
        else:
            np.testing.assert_array_equal(one.mask(0), two.own_mask(0))
            assert not np.array_equal(one.mask(0), others)
    assert any("412" in text for text in one.complaints)
    one.complaints.clear()  # browsers log responses with a status of 400 or more as errors


def test_objects_changed_in_two_tabs(serve, visit):
    url = serve()
    one = visit(url)
    two = visit(url.partition("?")[0], context=one.page.context)
    two.page.evaluate("app.model.takeProject = () => {}")  # the second tab ignores the new object
    add(one, 2)
    two.page.click("#add")
    two.page.wait_for_selector(".notice.error")
    assert "Another tab" in two.page.text_content("#notices") and len(one.model("objects")) == 2
    one.complaints.clear()
