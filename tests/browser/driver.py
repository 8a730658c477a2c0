"""Controls the page in a browser.

Converts frame coordinates to window coordinates, and reads masks from the page and the server.
"""

import io
import math
import time

import numpy as np
from PIL import Image

PATIENCE = 30  # seconds


class Driver:
    """Controls one browser tab. Points are `(x, y)` in pixels of the frame."""

    def __init__(self, page, complaints):
        """`complaints` is the list to which the fixture `visit` adds errors, warnings and requests to other hosts."""
        self.page, self.complaints = page, complaints
        self.ready()

    def ready(self):
        """Waits until the page has started. Call this method after each reload."""
        self.page.wait_for_selector("body[data-ready]")
        self.page.evaluate("import('/static/main.js').then(({ app }) => { window.app = app; })")
        self.project = self.page.evaluate("app.model.project")
        self.saved()

    # State

    def model(self, name):
        """Returns a field of `app.model` in the page."""
        return self.page.evaluate(f"app.model.{name}")

    def saved(self):
        """Waits until all strokes are saved on the server."""
        self.page.wait_for_selector("body[data-unsaved='0']")

    def wait(self, condition, argument=None):
        """Waits until a JavaScript expression is true."""
        # `wait_for_function` cannot be used here: it needs eval, which the page's Content-Security-Policy forbids.
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(condition, argument):
            assert time.monotonic() < end, f"not within {PATIENCE} seconds: {condition}"
            self.page.wait_for_timeout(25)

    def shown(self, t):
        """Waits until frame `t` is shown on the canvas."""
        self.wait("t => app.model.current === t && app.view.shown?.t === t", t)

    def states(self):
        """Returns a string with one letter for the state of each frame: annotated, final, provisional, stale or missing."""
        return "".join(entry["state"][0] for entry in self.timeline()["frames"])

    def timeline(self):
        """Returns the timeline of the project from the server."""
        return self.page.context.request.get(self.address("api/timeline")).json()

    def mask(self, t):
        """Returns the mask `[h,w]` of frame `t` on the server, or None if the frame has no mask."""
        answer = self.page.context.request.get(self.address(f"api/masks/{t}"))
        if answer.status == 404:
            return None
        dtype = np.dtype(answer.headers["x-dtype"]).newbyteorder("<")
        return np.frombuffer(answer.body(), dtype).reshape(self.project["height"], self.project["width"])

    def own_mask(self, t):
        """Returns the mask `[h,w]` of frame `t` in the page. The server may not have saved this mask yet."""
        ids = self.page.evaluate("t => [...app.masks.at(t).ids]", t)
        return np.array(ids).reshape(self.project["height"], self.project["width"])

    def pixel(self, x, y):
        """Returns the colour on the screen at the centre of a frame pixel."""
        (left, top), _ = self.place((x + 0.5, y + 0.5))
        picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        return np.array(picture.getpixel((left, top)), int)

    def address(self, path):
        """Returns the URL of a path on the server."""
        return self.page.evaluate("location.origin") + "/" + path

    # Actions

    def press(self, *keys):
        """Presses keys while the canvas has the focus."""
        self.page.focus("#canvas")
        for key in keys:
            self.page.keyboard.press(key)

    def zoom(self, scale):
        """Centres the frame, and enlarges each of its pixels to `scale` CSS pixels."""
        self.page.evaluate("scale => app.view.zoom(scale)", scale)

    def place(self, point):
        """Returns the window position of a point, rounded down to CSS pixels, and the frame point at the rounded position."""
        left, top, x, y, scale = self.page.evaluate(
            "(() => { const { left, top } = app.view.canvas.getBoundingClientRect();"
            "return [left, top, ...app.view.origin, app.view.scale]; })()"
        )
        place = math.floor(left + x + point[0] * scale), math.floor(top + y + point[1] * scale)
        return place, ((place[0] - left - x) / scale, (place[1] - top - y) / scale)

    def stroke(self, *points, button="left", lift=True):
        """Draws a stroke through the points with the mouse. Returns the frame points at the rounded mouse positions."""
        places, exact = zip(*(self.place(point) for point in points), strict=True)
        self.page.mouse.move(*places[0])
        self.page.mouse.down(button=button)
        for place in places[1:]:
            self.page.mouse.move(*place)
        if lift:
            self.page.mouse.up(button=button)
        return exact

    def click(self, point):
        """Clicks a point of the frame."""
        return self.stroke(point)

    def run(self, key):
        """Presses the key that starts a job, and waits until the job ends."""
        before = self.page.evaluate("app.model.job.id ?? 0")
        self.press(key)
        self.wait("before => (app.model.job.id ?? 0) > before && !app.model.running", before)
