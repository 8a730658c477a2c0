"""Compares the page's painting code, which uses integers, with the slow reference code in `oracle.py`."""

import numpy as np
import pytest

from tests.browser import oracle
from tests.browser.serving import PatientStub, film, served

HEIGHT, WIDTH = 19, 23

PROGRAM = """async ([kind, mask, width, value, locked, options]) => {
  const raster = await import("/static/raster.js");
  const ids = (value > 255 ? Uint16Array : Uint8Array).from(mask);
  const edit = new raster.Edit(ids, width, value, new Set(locked));
  if (kind === "stroke") {
    const rows = raster.disc(options.size);
    const corners = options.points.map((point) => raster.discAt(point, options.size));
    raster.stamp(edit, rows, corners[0]);
    for (let i = 1; i < corners.length; i++) raster.stroke(edit, rows, corners[i - 1], corners[i]);
  }
  if (kind === "polygon") raster.polygon(edit, options.corners);
  if (kind === "fill") raster.flood(edit, options.point, Uint8ClampedArray.from(options.frame), options.tolerance);
  const painted = [...ids];
  const patch = edit.patch();
  if (patch) raster.paste(ids, width, patch.box, patch.before);
  const back = [...ids];
  if (patch) raster.paste(ids, width, patch.box, patch.after);
  return [painted, back, [...ids], patch && [patch.box, patch.before.constructor.name]];
}"""


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    """Yields an open page, in which tests import the JavaScript modules of the server."""
    folder = tmp_path_factory.mktemp("raster")
    film(folder / "film", count=1)
    with served(folder / "project", folder / "film", PatientStub()) as url:
        page = chromium.new_page()
        page.goto(url)
        yield page
        page.close()


def paint(page, kind, mask, value, locked=(), **options):
    """Returns the mask after painting. Also checks that undo restores `mask`, and that redo restores the result."""
    given = [kind, mask.ravel().tolist(), mask.shape[1], value, list(locked), options]
    painted, back, again, patch = page.evaluate(PROGRAM, given)
    assert back == mask.ravel().tolist() and again == painted
    changed = np.flatnonzero(mask.ravel() != painted)
    assert (patch is None) == (len(changed) == 0)
    if patch is not None:
        (left, top, right, bottom), name = patch
        rows, columns = np.divmod(changed, mask.shape[1])
        assert left <= columns.min() and columns.max() < right and top <= rows.min() and rows.max() < bottom
        assert name == ("Uint16Array" if value > 255 else "Uint8Array")
    return np.array(painted).reshape(mask.shape)


def masks(rng, ids=4):
    return np.kron(rng.integers(0, ids, (7, 8)), np.ones((3, 3), int))[:HEIGHT, :WIDTH].astype(int)


def test_discs(page):
    """Checks the five smallest discs. Each row of a disc is a range of columns `[left, right)`."""
    found = page.evaluate("import('/static/raster.js').then(({ disc }) => [1, 2, 3, 4, 5].map(disc))")
    assert found[:3] == [[[0, 1]], [[0, 2], [0, 2]], [[0, 3], [0, 3], [0, 3]]]
    assert found[3] == [[1, 3], [0, 4], [0, 4], [1, 3]]
    assert found[4] == [[1, 4], [0, 5], [0, 5], [0, 5], [1, 4]]


@pytest.mark.parametrize("seed", range(12))
def test_strokes(page, seed):
    rng = np.random.default_rng(seed)
    mask, size = masks(rng), int(rng.integers(1, 12))
    points = rng.uniform(-4, 27, (int(rng.integers(1, 5)), 2)).tolist()
    value, locked = [(3, ()), (0, ()), (2, (1,)), (300, (0, 3))][seed % 4]
    found = paint(page, "stroke", mask, value, locked, points=points, size=size)
    np.testing.assert_array_equal(found, oracle.paint_stroke(mask, points, size, value, locked))


@pytest.mark.parametrize("seed", range(12))
def test_polygons(page, seed):
    rng = np.random.default_rng(seed)
    mask = masks(rng)
    corners = rng.integers(-3, 26, (int(rng.integers(3, 9)), 2)).tolist()
    found = paint(page, "polygon", mask, 2, corners=corners)
    np.testing.assert_array_equal(found, oracle.paint_polygon(mask, corners, 2))


def test_a_rectangle(page):
    found = paint(page, "polygon", np.zeros((5, 6), int), 1, corners=[[1, 1], [4, 1], [4, 3], [1, 3]])
    np.testing.assert_array_equal(found, np.pad(np.ones((2, 3), int), ((1, 2), (1, 2))))


@pytest.mark.parametrize("seed", range(12))
def test_fills(page, seed):
    rng = np.random.default_rng(seed)
    mask, frame = masks(rng, 3), rng.integers(90, 130, (HEIGHT, WIDTH, 4))
    frame[..., :3] += 40 * masks(rng, 2)[..., None]
    x, y = int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))
    value, locked = (3, ()) if seed % 3 else (3, (0,))
    tolerance = int(rng.choice([0, 20, 35, 255]))
    found = paint(page, "fill", mask, value, locked, point=[x, y], frame=frame.ravel().tolist(), tolerance=tolerance)
    np.testing.assert_array_equal(found, oracle.paint_fill(mask, frame[..., :3], (x, y), value, tolerance, locked))


def test_a_fill_of_its_own_object_changes_nothing(page):
    mask = np.ones((4, 4), int)
    found = paint(page, "fill", mask, 1, point=[2, 2], frame=[0] * 64, tolerance=255)
    np.testing.assert_array_equal(found, mask)


def test_undo_and_redo_walk_through_the_states(page):
    """Applies random changes, undos and redos to two frames. Compares each state with a complete copy of the mask."""
    rng = np.random.default_rng(0)
    steps, expected = [], []
    states = {t: [[0] * 30] for t in (0, 1)}
    at = {0: 0, 1: 0}
    for _ in range(120):
        t, kind = int(rng.integers(2)), str(rng.choice(["paint", "paint", "undo", "redo"]))
        x, value = int(rng.integers(30)), int(rng.integers(1, 9))
        if kind == "paint":
            after = list(states[t][at[t]])
            after[x] = value
            if after == states[t][at[t]]:
                continue
            states[t] = [*states[t][: at[t] + 1], after]
            at[t] += 1
        elif kind == "undo":
            at[t] = max(at[t] - 1, 0)
        else:
            at[t] = min(at[t] + 1, len(states[t]) - 1)
        steps.append([t, kind, x, value])
        expected.append([*states[t][at[t]], at[t], len(states[t]) - 1 - at[t]])
    found = page.evaluate(
        """async (steps) => {
          const { Edit } = await import("/static/raster.js");
          const { History } = await import("/static/history.js");
          const history = new History();
          const masks = [new Uint8Array(30), new Uint8Array(30)];
          return steps.map(([t, kind, x, value]) => {
            if (kind === "paint") {
              const edit = new Edit(masks[t], 6, value);
              edit.span(Math.floor(x / 6), x % 6, (x % 6) + 1);
              history.push(t, edit.patch());
            } else history[kind](t, masks[t], 6);
            return [...masks[t], ...history.count(t)];
          });
        }""",
        steps,
    )
    assert found == expected


def test_old_changes_are_dropped_beyond_the_limit(page):
    counts = page.evaluate(
        """async () => {
          const { History } = await import("/static/history.js");
          const history = new History(100);
          const patch = () => ({ box: [0, 0, 5, 2], before: new Uint8Array(10), after: new Uint8Array(10) });
          for (let i = 0; i < 9; i++) history.push(i % 2, patch());
          return [history.count(0), history.count(1)];
        }"""
    )
    assert counts == [[3, 0], [2, 0]]  # each change takes 20 bytes, so five changes fit in 100 bytes
