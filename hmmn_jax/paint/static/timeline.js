// The timeline: thumbnails, and one strip per object for its annotated, computed, stale and low-confidence frames.

import { element } from "./objects.js";
import { DOUBTFUL } from "./model.js";
import { redrawer } from "./redraw.js";

const RULER = 20; // heights in CSS pixels
const THUMB = 46;
const ROW = 16;
const NARROWEST = 5; // minimum width of a frame, in CSS pixels; the timeline scrolls if the frames do not fit

export class Timeline {
  /** Draws the timeline at the next refresh. */
  draw = redrawer(() => this.#render());
  #scrubbing = false;

  /** @param {Model} model, @param {Images} images, @param {function(number)} go called with the frame that the user selects */
  constructor(model, images, go) {
    const byId = (id) => document.getElementById(id);
    Object.assign(this, { model, images, go, track: byId("track"), canvas: byId("timeline"), labels: byId("labels") });
    this.context = this.canvas.getContext("2d");
    new ResizeObserver(() => this.draw()).observe(this.track);
    this.track.addEventListener("scroll", () => this.draw());
    this.track.addEventListener("pointerdown", (event) => {
      this.#scrubbing = event.pointerType !== "touch" || !this.scrolls;
      if (this.#scrubbing) this.track.setPointerCapture(event.pointerId);
      this.#choose(event);
    });
    this.track.addEventListener("pointermove", (event) => this.#scrubbing && this.#choose(event));
    this.track.addEventListener("lostpointercapture", () => (this.#scrubbing = false));
    model.on(["project"], () => this.#setLabels());
    model.on(["frames", "project", "object", "hidden"], () => this.draw());
    model.on(["current"], () => this.#reveal());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** The width of a frame in CSS pixels. */
  get step() {
    return Math.max(this.track.clientWidth / this.model.project.frames, NARROWEST);
  }

  get scrolls() {
    return this.step * this.model.project.frames > this.track.clientWidth + 1;
  }

  #choose(event) {
    const x = event.clientX - this.track.getBoundingClientRect().left + this.track.scrollLeft;
    this.go(Math.min(Math.max(Math.floor(x / this.step), 0), this.model.project.frames - 1));
  }

  #reveal() {
    const { track, step } = this;
    const x = this.model.current * step;
    if (x < track.scrollLeft || x + step > track.scrollLeft + track.clientWidth) track.scrollLeft = x - track.clientWidth / 2;
    this.draw();
  }

  #setLabels() {
    const space = element("span");
    space.style.height = `${RULER + THUMB}px`;
    const names = this.model.objects.map(({ name, colour }) => {
      const dot = element("i");
      dot.style.background = colour;
      const label = element("span", { title: name }, dot, element("b", { textContent: name }));
      label.style.height = `${ROW}px`;
      return label;
    });
    this.labels.replaceChildren(space, ...names);
  }

  #render() {
    const { model, canvas, track, context: c, step } = this;
    const { frames: count, objects } = model.project;
    const width = track.clientWidth;
    const height = RULER + THUMB + ROW * objects.length + 3;
    const ratio = window.devicePixelRatio;
    document.getElementById("length").style.width = `${this.scrolls ? step * count : 1}px`;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    c.scale(ratio, ratio);
    c.translate(-track.scrollLeft, 0);
    const first = Math.max(Math.floor(track.scrollLeft / step), 0);
    const last = Math.min(Math.ceil((track.scrollLeft + width) / step), count);
    const style = getComputedStyle(document.documentElement);
    const ink = (name) => style.getPropertyValue(`--${name}`).trim();

    this.#thumbnails(first, last, ink);
    objects.forEach((object, i) => this.#strip(object, RULER + THUMB + i * ROW, first, last, ink));
    this.#ruler(first, last, ink);

    // Shade the frames outside the range from the in point to the out point.
    const [start, stop] = model.project.range;
    c.globalAlpha = 0.7;
    c.fillStyle = ink("card");
    c.fillRect(0, 0, start * step, height);
    c.fillRect(stop * step, 0, (count - stop) * step, height);
    c.globalAlpha = 1;
    c.fillStyle = ink("accent");
    if (start > 0) c.fillRect(start * step - 1, 0, 3, height);
    if (stop < count) c.fillRect(stop * step - 2, 0, 3, height);

    const x = model.current * step;
    c.strokeStyle = ink("text");
    c.lineWidth = 2;
    c.strokeRect(x + 1, 1, Math.max(step - 2, 2), height - 2);
  }

  #ruler(first, last, ink) {
    const { context: c, step, model } = this;
    const every = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((n) => n * step >= 46) ?? 2000;
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "middle";
    for (let t = first; t < last; t++) {
      const middle = (t + 0.5) * step;
      const entry = model.frames[t];
      if (entry?.state === "annotated") {
        const r = Math.min(5, Math.max(step / 2, 3));
        c.fillStyle = ink("text");
        c.beginPath();
        [[0, -r], [r, 0], [0, r], [-r, 0]].forEach(([dx, dy]) => c.lineTo(middle + dx, RULER - 7 + dy));
        c.fill();
      } else if (t % every === 0) {
        c.fillStyle = ink("muted");
        c.textAlign = step > 30 ? "center" : "left";
        c.fillText(t + 1, step > 30 ? middle : t * step + 2, RULER / 2 - 1);
      }
    }
  }

  #thumbnails(first, last, ink) {
    const { context: c, step, model, images } = this;
    const { width, height, frames: count } = model.project;
    const natural = Math.min((THUMB * width) / height, 160);
    const every = Math.max(Math.ceil((natural * 0.8) / step), 1);
    c.fillStyle = ink("soft");
    c.fillRect(first * step, RULER, (last - first) * step, THUMB);
    for (let t = first - (first % every); t < last; t += every) {
      const image = images.thumbnail(t, THUMB * 2);
      if (image === null) continue;
      const room = Math.min(every * step, (count - t) * step) - (step > 20 ? 1 : 0);
      // Draw the centre of the thumbnail, cropped to the available size.
      const shown = Math.min(room, 1.4 * natural);
      const scale = Math.max(shown / image.naturalWidth, THUMB / image.naturalHeight);
      const [across, down] = [shown / scale, THUMB / scale];
      const corner = [(image.naturalWidth - across) / 2, (image.naturalHeight - down) / 2];
      c.drawImage(image, ...corner, across, down, t * step + (room - shown) / 2, RULER, shown, THUMB);
    }
  }

  #strip({ id, colour, visible }, y, first, last, ink) {
    const { context: c, step, model } = this;
    const room = ROW - 4;
    c.fillStyle = ink("rule");
    c.fillRect(first * step, y + ROW - 1, (last - first) * step, 1);
    for (let t = first; t < last; t++) {
      const entry = model.frames[t];
      if (!entry?.ids?.includes(id)) continue;
      const x = t * step;
      const width = step - (step > 8 ? 1 : 0);
      const confidence = entry.confidence?.[id] ?? 1;
      const { state } = entry;
      c.globalAlpha = (state === "annotated" ? 1 : 0.6) * (visible ? 1 : 0.35);
      c.fillStyle = state === "stale" ? this.#hatch(colour) : colour;
      // The height of a computed frame's bar shows the confidence.
      const tall = state === "annotated" ? room : Math.max(room * confidence, 2);
      c.fillRect(x, y + 2 + room - tall, width, state === "provisional" ? tall / 2 : tall);
      c.globalAlpha = 1;
      if (state !== "annotated" && confidence < DOUBTFUL) {
        c.fillStyle = ink("doubt");
        c.fillRect(x, y + ROW - 4, width, 3);
      }
    }
  }

  #hatch(colour) {
    const tile = new OffscreenCanvas(6, 6);
    const c = tile.getContext("2d");
    c.strokeStyle = colour;
    c.lineWidth = 2;
    for (const shift of [-6, 0, 6]) {
      c.moveTo(shift - 1, 7);
      c.lineTo(shift + 7, -1);
    }
    c.stroke();
    return this.context.createPattern(tile, "repeat");
  }
}
