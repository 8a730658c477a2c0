// The painting tools. The tools handle pointer and keyboard events on the canvas.

import { notice } from "./notices.js";
import { disc, discAt, Edit, flood, polygon, stamp, stroke } from "./raster.js";

/** The label of each tool, by name. */
export const TOOLS = {
  brush: "Brush",
  eraser: "Eraser",
  polygon: "Polygon",
  fill: "Fill",
  hand: "Move",
};

const CLOSE = 9; // distance from the first corner, in CSS pixels, within which a click closes a polygon

export class Tools {
  #stroke = null; // the current stroke, as {t, edit, rows, at}
  #touches = new Map(); // the position of each finger on the canvas, by pointer id
  #panned = null; // the last position of the pointer while the user moves the frame

  /** @param {Model} model, @param {View} view, @param {Masks} masks */
  constructor(model, view, masks) {
    Object.assign(this, { model, view, masks });
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#up(event));
    canvas.addEventListener("pointerleave", () => this.#point(model.keyboard ? view.pointer : null));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", () => this.closePolygon());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    // A change of tool, object, frame or visibility ends the current stroke. The painted pixels are kept.
    model.on(["tool", "object", "current", "hidden"], () => {
      this.finish();
      this.#setCorners([]);
      canvas.dataset.tool = model.tool;
    });
  }

  // Strokes with the pointer and with the keyboard

  /** Whether a stroke is being painted. */
  get painting() {
    return this.#stroke !== null;
  }

  /** Starts painting at a point of the frame. */
  begin(point, erase = this.model.tool === "eraser") {
    const edit = this.#edit(erase);
    if (edit === null) return;
    const rows = disc(this.model.size);
    const at = discAt(point, this.model.size);
    this.#stroke = { t: this.model.current, edit, rows, at };
    this.masks.hold(this.model.current, true);
    stamp(edit, rows, at);
    this.#painted(at, at, rows.length);
  }

  /** Continues the stroke to a point of the frame. */
  extend(point) {
    const { edit, rows, at } = this.#stroke;
    const to = discAt(point, rows.length);
    if (to[0] === at[0] && to[1] === at[1]) return;
    stroke(edit, rows, at, to);
    this.#stroke.at = to;
    this.#painted(at, to, rows.length);
  }

  /** Ends the stroke and saves it. */
  finish() {
    if (this.#stroke === null) return;
    const { t, edit } = this.#stroke;
    this.#stroke = null;
    this.#commit(t, edit);
  }

  /** Ends the stroke and reverts its changes. */
  abandon() {
    if (this.#stroke === null) return;
    const { t, edit } = this.#stroke;
    this.#stroke = null;
    edit.ids.set(edit.before);
    this.masks.hold(t, false);
    this.view.paint(null);
  }

  /** Fills the region around a point of the frame. */
  fill(point) {
    const [x, y] = point.map(Math.floor);
    const { width, height } = this.model.project;
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const edit = this.#edit(false);
    if (edit === null) return;
    flood(edit, [x, y], this.view.colours(), this.model.tolerance);
    this.#commit(this.model.current, edit);
    this.view.paint(edit.box ?? [0, 0, 0, 0]);
  }

  /** Adds a corner of the polygon. A corner close to the first corner closes the polygon. */
  addCorner(point) {
    const { width, height } = this.model.project;
    const corner = [Math.min(Math.max(Math.round(point[0]), 0), width), Math.min(Math.max(Math.round(point[1]), 0), height)];
    const { corners } = this.view;
    const near = ([x, y]) => Math.hypot(x - point[0], y - point[1]) * this.view.scale < CLOSE;
    if (corners.length > 2 && near(corners[0])) this.closePolygon();
    else if (corners.length === 0 || String(corners.at(-1)) !== String(corner)) this.#setCorners([...corners, corner]);
  }

  /** Fills the polygon if it has at least three corners. */
  closePolygon() {
    const { corners } = this.view;
    if (corners.length < 3) return;
    this.#setCorners([]);
    const edit = this.#edit(false);
    if (edit === null) return;
    polygon(edit, corners);
    this.#commit(this.model.current, edit);
    this.view.paint(edit.box ?? [0, 0, 0, 0]);
  }

  /** Cancels the polygon or the stroke. Returns whether there was anything to cancel. */
  cancel() {
    const some = this.painting || this.view.corners.length > 0;
    this.abandon();
    this.#setCorners([]);
    return some;
  }

  /** Removes the last corner of the polygon. Returns whether there was a corner to remove. */
  dropCorner() {
    const { corners } = this.view;
    this.#setCorners(corners.slice(0, -1));
    return corners.length > 0;
  }

  // The keyboard pointer

  /** Moves the keyboard pointer by dx and dy pixels of the frame. */
  step(dx, dy) {
    const { width, height } = this.model.project;
    const [x, y] = this.view.pointer ?? [width / 2, height / 2];
    const within = (value, end) => Math.min(Math.max(Math.floor(value) + 0.5, 0.5), end - 0.5);
    this.#point([within(x + dx, width), within(y + dy, height)]);
    if (this.painting) this.extend(this.view.pointer);
  }

  /** Performs the action of a click at the keyboard pointer. With the brush, each call starts or ends a stroke. */
  press() {
    const point = this.view.pointer;
    if (point === null) return;
    if (this.painting) this.finish();
    else this.#act(point, this.model.tool === "eraser");
  }

  // Events

  #down(event) {
    const { canvas, pointer } = this.view;
    if (event.pointerType === "touch") this.#touches.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.setPointerCapture(event.pointerId);
    if (this.#touches.size === 2) {
      this.abandon(); // two fingers move and zoom the frame instead of painting
      return;
    }
    if (this.painting || this.#touches.size > 1) return;
    if (event.button === 1 || this.model.tool === "hand") {
      this.#panned = [event.clientX, event.clientY];
      event.preventDefault();
      return;
    }
    if (event.button !== 0 && event.button !== 2) return;
    if (this.model.keyboard) this.model.set({ keyboard: false });
    this.#point(this.view.toFrame(event.clientX, event.clientY), pointer);
    this.#act(this.view.pointer, event.button === 2 || this.model.tool === "eraser");
  }

  #act(point, erase) {
    if (this.model.tool === "fill") this.fill(point);
    else if (this.model.tool === "polygon") this.addCorner(point);
    else if (this.model.tool !== "hand") this.begin(point, erase);
  }

  #move(event) {
    if (this.#touches.has(event.pointerId)) {
      const before = [...this.#touches.values()];
      this.#touches.set(event.pointerId, [event.clientX, event.clientY]);
      if (this.#touches.size === 2) return this.#pinch(before, [...this.#touches.values()]);
    }
    if (this.#panned) {
      this.view.pan(event.clientX - this.#panned[0], event.clientY - this.#panned[1]);
      this.#panned = [event.clientX, event.clientY];
      return;
    }
    if (this.model.keyboard) return;
    if (this.painting) {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const { clientX, clientY } of events.length ? events : [event]) this.extend(this.view.toFrame(clientX, clientY));
    }
    this.#point(this.view.toFrame(event.clientX, event.clientY));
  }

  #up(event) {
    this.#touches.delete(event.pointerId);
    this.#panned = null;
    this.finish();
    if (event.pointerType === "touch") this.#point(null);
  }

  #pinch([a, b], [c, d]) {
    const { left, top } = this.view.canvas.getBoundingClientRect();
    const middle = ([x0, y0], [x1, y1]) => [(x0 + x1) / 2 - left, (y0 + y1) / 2 - top];
    const apart = ([x0, y0], [x1, y1]) => Math.max(Math.hypot(x1 - x0, y1 - y0), 1);
    const [from, to] = [middle(a, b), middle(c, d)];
    this.view.pan(to[0] - from[0], to[1] - from[1]);
    this.view.zoom((this.view.scale * apart(c, d)) / apart(a, b), to);
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const { left, top } = this.view.canvas.getBoundingClientRect();
    const factor = Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016));
    this.view.zoom(this.view.scale * factor, [event.clientX - left, event.clientY - top]);
    this.#point(this.view.toFrame(event.clientX, event.clientY));
  }

  // Methods that several tools use

  /**
   * Returns an `Edit` of the mask, or null if painting is not possible. In the latter case, a notice is shown, unless
   * the frame is still loading.
   */
  #edit(erase) {
    const { model, view } = this;
    const t = model.current;
    const entry = this.masks.at(t);
    if (view.shown?.t !== t || entry === undefined) return null; // the frame is still loading
    const { chosen } = model;
    if (!erase && chosen === undefined) return refuse("Add an object before you paint.");
    if (!erase && chosen.locked) return refuse(`${chosen.name} is locked. Unlock the object before you paint it.`);
    if (!erase && !chosen.visible) return refuse(`${chosen.name} is hidden. Show the object before you paint it.`);
    if (model.hidden) model.set({ hidden: false });
    if (!erase && chosen.id > 255 && entry.ids.BYTES_PER_ELEMENT === 1) {
      this.masks.widen(t, chosen.id);
      view.shown.ids = entry.ids;
    }
    // Lock hidden objects, so that the user does not paint over these objects by mistake.
    const locked = model.objects.filter((object) => object.locked || !object.visible).map(({ id }) => id);
    return new Edit(entry.ids, model.project.width, erase ? 0 : chosen.id, new Set(locked));
  }

  #commit(t, edit) {
    const patch = edit.patch();
    if (patch !== null) this.masks.commit(t, patch);
    this.masks.hold(t, false);
  }

  #painted([x0, y0], [x1, y1], size) {
    this.view.paint([Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1) + size, Math.max(y0, y1) + size]);
  }

  #point(point) {
    this.view.pointer = point;
    this.view.draw();
  }

  #setCorners(corners) {
    this.view.corners = corners;
    this.view.draw();
  }
}

function refuse(text) {
  notice(text);
  return null;
}
