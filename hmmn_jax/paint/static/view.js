// The canvas. The canvas shows a frame with its mask at any position and zoom, and the outline of the current tool.

import { disc, discAt } from "./raster.js";
import { redrawer } from "./redraw.js";

const STEP = 1.25; // factor of one zoom step
const LENS = { radius: 78, zoom: 5 }; // the radius of the magnifier in CSS pixels, and its zoom relative to the view

export class View {
  /** Draws the canvas at the next refresh. */
  draw = redrawer(() => this.#render());

  /** @param {Model} model, @param {HTMLCanvasElement} canvas */
  constructor(model, canvas) {
    Object.assign(this, { model, canvas, context: canvas.getContext("2d") });
    this.scale = 1; // CSS pixels per pixel of the frame
    this.origin = [0, 0]; // CSS pixels from the corner of the canvas to the corner of the frame
    this.fitted = true;
    this.shown = null; // the frame on the canvas, as {t, image, ids}
    this.pointer = null; // position of the pointer in pixels of the frame; null: no pointer
    this.corners = []; // corners of the current polygon
    this.overlay = document.createElement("canvas");
    new ResizeObserver(() => this.#resize()).observe(canvas);
    model.on(["opacity", "outlines", "hidden", "project"], () => this.paint(null));
    model.on(["tool", "size", "object", "magnifier", "current"], () => this.draw());
  }

  /** Shows a frame, given the frame index, the picture and the ids. */
  show(t, image, ids) {
    const first = this.shown === null;
    this.shown = { t, image, ids };
    if (first) {
      Object.assign(this.overlay, { width: image.width, height: image.height });
      this.fit();
    }
    this.paint(null);
  }

  /** Updates the colours of the ids in a box. If the box is null, all colours are updated. */
  paint(box) {
    if (this.shown === null) return;
    const { width, height } = this.overlay;
    // A change inside the box can change outlines one pixel outside the box.
    const [left, top, right, bottom] = box ?? [0, 0, width, height];
    const area = [Math.max(left - 1, 0), Math.max(top - 1, 0), Math.min(right + 1, width), Math.min(bottom + 1, height)];
    if (area[0] >= area[2] || area[1] >= area[3]) return;
    const data = colour(this.shown.ids, width, height, area, this.#palette(), this.model.outlines);
    this.overlay.getContext("2d").putImageData(data, area[0], area[1]);
    this.draw();
  }

  /** The colours of the frame's pixels, four bytes each. */
  colours() {
    const { image } = this.shown;
    if (this.shown.colours === undefined) {
      const canvas = new OffscreenCanvas(image.width, image.height);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      this.shown.colours = context.getImageData(0, 0, image.width, image.height).data;
    }
    return this.shown.colours;
  }

  // Moving and zooming

  /** Converts a point of the window to a point of the frame, in fractional pixels. */
  toFrame(clientX, clientY) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [(clientX - left - this.origin[0]) / this.scale, (clientY - top - this.origin[1]) / this.scale];
  }

  /** Makes the whole frame visible. */
  fit() {
    if (this.shown === null) return;
    const { clientWidth, clientHeight } = this.canvas;
    const { width, height } = this.shown.image;
    this.scale = Math.max(Math.min((clientWidth - 24) / width, (clientHeight - 24) / height), 0.02);
    this.origin = [(clientWidth - width * this.scale) / 2, (clientHeight - height * this.scale) / 2];
    this.fitted = true;
    this.draw();
  }

  /** Zooms around a point of the canvas, in CSS pixels. The default is the centre of the canvas. */
  zoom(scale, at = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    scale = Math.min(Math.max(scale, 0.05), 64);
    this.origin = this.origin.map((value, i) => at[i] - ((at[i] - value) * scale) / this.scale);
    this.scale = scale;
    this.fitted = false;
    this.#contain();
    this.draw();
  }

  zoomIn(at) {
    this.zoom(this.scale * STEP, at);
  }

  zoomOut(at) {
    this.zoom(this.scale / STEP, at);
  }

  /** Moves the frame by dx and dy CSS pixels. */
  pan(dx, dy) {
    this.origin = [this.origin[0] + dx, this.origin[1] + dy];
    this.fitted = false;
    this.#contain();
    this.draw();
  }

  // Moves the frame if necessary, so that a part of the frame remains visible.
  #contain() {
    if (this.shown === null) return;
    const sizes = [this.shown.image.width, this.shown.image.height];
    const room = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.origin = this.origin.map((value, i) => {
      const margin = Math.min(60, (sizes[i] * this.scale) / 2);
      return Math.min(Math.max(value, margin - sizes[i] * this.scale), room[i] - margin);
    });
  }

  #resize() {
    const ratio = window.devicePixelRatio;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.fitted) this.fit();
    else this.#contain();
    this.#render();
  }

  // Drawing

  #render() {
    this.onzoom?.();
    const { canvas, context: c } = this;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, canvas.width, canvas.height);
    if (this.shown === null) return;
    const ratio = canvas.width / Math.max(canvas.clientWidth, 1);
    const place = (scale, [x, y]) => c.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    place(this.scale, this.origin);
    this.#picture(this.scale * ratio);
    this.#marks(this.scale);
    if (!this.model.magnifier || this.pointer === null) return;

    const scale = this.scale * LENS.zoom;
    const { radius } = LENS;
    const under = this.pointer.map((value, i) => value * this.scale + this.origin[i]);
    const near = under[0] < 2 * radius + 60 && under[1] < 2 * radius + 60;
    const centre = [near ? canvas.clientWidth - radius - 14 : radius + 14, radius + 14];
    place(1, [0, 0]);
    c.save();
    c.beginPath();
    c.arc(...centre, radius, 0, 2 * Math.PI);
    c.fillStyle = getComputedStyle(canvas).backgroundColor;
    c.fill();
    c.clip();
    place(scale, centre.map((value, i) => value - this.pointer[i] * scale));
    this.#picture(scale * ratio);
    this.#marks(scale);
    c.restore();
    place(1, [0, 0]);
    c.beginPath();
    c.arc(...centre, radius, 0, 2 * Math.PI);
    for (const [width, ink] of [
      [5, "rgb(0 0 0 / .6)"],
      [2.5, "#fff"],
    ]) {
      c.lineWidth = width;
      c.strokeStyle = ink;
      c.stroke();
    }
  }

  #picture(pixels) {
    const { context: c } = this;
    c.imageSmoothingEnabled = pixels < 3;
    c.imageSmoothingQuality = "high";
    c.drawImage(this.shown.image, 0, 0);
    if (this.model.hidden) return;
    c.imageSmoothingEnabled = pixels < 1;
    c.drawImage(this.overlay, 0, 0);
  }

  // Draws the outline of the brush and the polygon.
  #marks(scale) {
    const { context: c, model } = this;
    const path = new Path2D();
    if (this.corners.length) {
      const points = this.pointer ? [...this.corners, this.pointer.map(Math.round)] : this.corners;
      points.forEach((point, i) => (i ? path.lineTo(...point) : path.moveTo(...point)));
      for (const [x, y] of this.corners) path.rect(x - 2.5 / scale, y - 2.5 / scale, 5 / scale, 5 / scale);
    } else if (this.pointer && (model.tool === "brush" || model.tool === "eraser")) {
      const [x, y] = discAt(this.pointer, model.size);
      const rows = disc(model.size);
      rows.forEach(([left], i) => {
        path.lineTo(x + left, y + i);
        path.lineTo(x + left, y + i + 1);
      });
      [...rows].reverse().forEach(([, right], i) => {
        path.lineTo(x + right, y + rows.length - i);
        path.lineTo(x + right, y + rows.length - i - 1);
      });
      path.closePath();
    } else if (this.pointer && model.keyboard) {
      const [x, y] = this.pointer.map(Math.floor);
      path.rect(x, y, 1, 1);
    }
    if (this.pointer && model.keyboard) {
      const [x, y] = this.pointer;
      const [inner, outer] = [6 / scale + model.size / 2, 16 / scale + model.size / 2];
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        path.moveTo(x + dx * inner, y + dy * inner);
        path.lineTo(x + dx * outer, y + dy * outer);
      }
    }
    c.lineWidth = 3 / scale;
    c.strokeStyle = "rgb(0 0 0 / .55)";
    c.stroke(path);
    c.lineWidth = 1.25 / scale;
    c.strokeStyle = model.tool === "eraser" ? "#fff" : (model.chosen?.colour ?? "#fff");
    c.stroke(path);
  }

  // Returns the fill colour [r, g, b, a] of each object, by id. Hidden objects are transparent.
  #palette() {
    const alpha = Math.round(2.55 * this.model.opacity);
    const palette = new Map();
    for (const { id, colour: hex, visible } of this.model.objects) {
      const rgb = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
      palette.set(id, visible ? [...rgb, alpha] : [0, 0, 0, 0]);
    }
    return palette;
  }
}

/** Returns an image of the ids in an area [left, top, right, bottom). Outlines are pixels next to a pixel with another id. */
export function colour(ids, width, height, [left, top, right, bottom], palette, outlines) {
  const data = new ImageData(right - left, bottom - top);
  const words = new Uint32Array(data.data.buffer);
  const word = ([r, g, b, a]) => new Uint32Array(new Uint8Array([r, g, b, a]).buffer)[0];
  const count = Math.max(255, ...palette.keys()) + 1;
  const [areas, edges] = [new Uint32Array(count), new Uint32Array(count)];
  for (const [id, [r, g, b, a]] of palette) {
    areas[id] = word([r, g, b, a]);
    edges[id] = outlines && a !== 0 ? word([r, g, b, 255]) : areas[id];
  }
  for (let y = top, at = 0; y < bottom; y++) {
    for (let x = left; x < right; x++, at++) {
      const i = y * width + x;
      const id = ids[i];
      if (id === 0) continue;
      const inside =
        (x === 0 || ids[i - 1] === id) &&
        (x === width - 1 || ids[i + 1] === id) &&
        (y === 0 || ids[i - width] === id) &&
        (y === height - 1 || ids[i + width] === id);
      words[at] = inside ? areas[id] : edges[id];
    }
  }
  return data;
}
