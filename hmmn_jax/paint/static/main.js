// The main module of the `hmmn-jax paint` page. This module connects all other modules.

import * as api from "./api.js";
import { Exports } from "./exports.js";
import { Images } from "./images.js";
import { actions, connect } from "./keys.js";
import { Masks } from "./masks.js";
import { leastConfidence, DOUBTFUL, Model } from "./model.js";
import { attempt, notice, setBanner } from "./notices.js";
import { element, icon, Objects } from "./objects.js";
import { Run } from "./run.js";
import { Timeline } from "./timeline.js";
import { TOOLS, Tools } from "./tools.js";
import { View } from "./view.js";

const byId = (id) => document.getElementById(id);
const RETRY = 2000; // milliseconds between attempts to reach the server
const STATES = {
  annotated: "annotated",
  final: "computed",
  provisional: "computed in one direction only",
  stale: "stale because an annotation has changed",
  missing: "not computed yet",
};

class App {
  #loading = 0; // number of frames that are being fetched
  #followed = null; // the newest frame of a job, to show after the frame that is being fetched

  async start() {
    const model = (this.model = new Model());
    model.takeProject(await api.project());
    model.set({ keyboard: false });
    this.#takeTimeline(await api.timeline());
    model.set({ exports: await api.exportList() });
    model.set({ object: model.objects[0]?.id ?? null, job: model.project.job ?? { state: "idle" } });
    document.title = `${model.project.name} – hmmn-jax paint`;
    byId("name").textContent = model.project.name;

    this.images = new Images(model.project, () => this.timeline.draw());
    this.view = new View(model, byId("canvas"));
    this.masks = new Masks(model, (t, box) => this.#changed(t, box));
    this.tools = new Tools(model, this.view, this.masks);
    this.objects = new Objects(model, this.masks, () => this.#reload());
    this.run = new Run(model, this.masks);
    this.exports = new Exports(model, this.masks);
    this.timeline = new Timeline(model, this.images, (t) => this.go(t));
    this.#toolbar();
    this.#controls();
    connect(actions(this), this);
    this.#status();
    this.#listen(model.project.event);
    window.addEventListener("beforeunload", (event) => model.unsaved > 0 && event.preventDefault());
    await this.#show(model.current);
    const isNew = model.objects.length === 0 && model.frames.every(({ state }) => state === "missing");
    if (isNew) await this.objects.add(); // the first stroke needs an object
    startFocusAtTop();
    document.body.dataset.ready = "";
  }

  // Actions

  /** Shows another frame, chosen by the user. */
  go(t) {
    this.#followed = null;
    this.model.set({ follow: false });
    this.#turn(t);
  }

  /** Shows the next annotated frame in a direction. */
  goAnnotated(way) {
    const { current, frames } = this.model;
    for (let t = current + way; t >= 0 && t < frames.length; t += way) if (frames[t].state === "annotated") return this.go(t);
    notice(way > 0 ? "No later frame is annotated." : "No earlier frame is annotated.");
  }

  /** Shows the frame to correct next. */
  async goDoubtful() {
    await attempt(async () => this.#takeTimeline(await api.timeline()));
    if (this.model.next === null) notice("All frames are annotated.");
    else this.go(this.model.next);
  }

  travel(way) {
    this.tools.finish();
    if (!this.masks[way](this.model.current)) notice(`There is no change to ${way} in this frame.`);
  }

  /** Annotates the frame with its current mask. */
  accept() {
    this.tools.finish();
    const t = this.model.current;
    if (this.view.shown?.t === t) this.masks.accept(t);
  }

  /** Sets the in point before the current frame, or the out point after the current frame. "whole" removes both points. */
  async setPoint(which) {
    const { model } = this;
    const { current, project } = model;
    let [start, stop] = project.range;
    if (which === "whole") [start, stop] = [0, project.frames];
    else if (which === "in") [start, stop] = [current, stop > current ? stop : project.frames];
    else [start, stop] = [start <= current ? start : 0, current + 1];
    if ((await attempt(() => api.setRange(start, stop))) !== undefined) model.takeProject({ ...project, range: [start, stop] });
  }

  /** Switches the keyboard pointer on or off. */
  setKeyboard(on) {
    const { view } = this;
    view.canvas.focus();
    this.tools.finish();
    this.model.set({ keyboard: on });
    if (on) {
      view.pointer ??= view.toFrame(...middle(view.canvas));
      this.tools.step(0, 0);
      notice("The arrow keys move the pointer by one pixel, or by ten with Shift. Enter paints. K or Esc ends this mode.");
    } else {
      view.pointer = null;
      view.draw();
    }
  }

  // Frames

  #turn(t) {
    t = Math.min(Math.max(t, 0), this.model.project.frames - 1);
    if (t === this.model.current) return;
    this.model.set({ current: t });
    this.#show(t);
  }

  async #show(t) {
    this.#loading++;
    try {
      const [image, entry] = await Promise.all([this.images.frame(t), this.masks.load(t)]);
      if (t === this.model.current) this.view.show(t, image, entry.ids);
      if (this.#loading === 1) this.images.prefetch(t);
      setBanner(null);
    } catch (error) {
      if (error.status === undefined) throw error;
      setBanner(error.message);
    } finally {
      this.#loading--;
    }
    if (this.#loading === 0 && this.#followed !== null) {
      const next = this.#followed;
      this.#followed = null;
      this.#turn(next);
    }
  }

  #changed(t, box) {
    if (this.view.shown?.t !== t) return;
    this.view.shown.ids = this.masks.at(t).ids;
    this.view.paint(box);
    this.model.set({ frames: this.model.frames }); // updates the undo and redo buttons
  }

  #reload() {
    this.masks.forget();
    this.#show(this.model.current);
  }

  // Events of the server

  #listen(after) {
    const { model } = this;
    const source = api.listen(after, {
      project: (project) => model.takeProject(project),
      frames: (entries) => this.#announced(entries),
      job: (job) => this.run.announced(job),
      exports: (exports) => model.set({ exports }),
      gone: () => this.#resume(),
      open: () => model.connected || this.#resume(),
      lost: async (closed) => {
        model.set({ connected: false });
        setBanner("The connection to the server is lost. The page is trying to reconnect. You can continue to paint. Your changes will be saved after the page has reconnected.");
        if (!closed) return;
        // A restarted server rejects the request until the user opens the server's new address in this browser.
        source.close();
        await new Promise((resolve) => setTimeout(resolve, RETRY));
        this.#listen(await this.#resume());
      },
    });
  }

  /** Fetches all data that may have changed while the page was disconnected. Returns the number of the last event. */
  async #resume() {
    for (;;) {
      try {
        const project = await api.project();
        this.model.set({ project }); // accept a lower revision, because the server may have been restarted
        this.#takeTimeline(await api.timeline());
        this.model.set({ exports: await api.exportList() });
        this.masks.announced(this.model.frames);
        this.run.announced(project.job);
        this.model.set({ connected: true });
        setBanner(null);
        return project.event;
      } catch (error) {
        if (error.status === undefined) throw error;
        setBanner(error.message);
        await new Promise((resolve) => setTimeout(resolve, RETRY));
      }
    }
  }

  #announced(entries) {
    const { model } = this;
    model.merge(entries);
    this.masks.announced(entries);
    const newest = entries.findLast(({ state }) => state === "final" || state === "provisional");
    if (!model.running || !model.follow || newest === undefined || this.tools.painting) return;
    if (this.#loading > 0) this.#followed = newest.t;
    else this.#turn(newest.t);
  }

  #takeTimeline({ frames, next }) {
    this.model.set({ frames, next });
  }

  // Controls

  #toolbar() {
    const { model } = this;
    const bar = byId("tools");
    bar.setAttribute("role", "radiogroup");
    bar.replaceChildren(
      ...Object.entries(TOOLS).map(([name, label]) => {
        const button = element("button", { role: "radio" }, icon(name), element("span", { textContent: label }));
        Object.assign(button.dataset, { key: name, tool: name });
        return button;
      }),
    );
    bar.addEventListener("keydown", (event) => {
      const way = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (way === undefined) return;
      event.preventDefault();
      const names = Object.keys(TOOLS);
      model.set({ tool: names[(names.indexOf(model.tool) + way + names.length) % names.length] });
      bar.querySelector("[aria-checked=true]").focus();
    });
    model.on(["tool"], () => {
      for (const button of bar.children) {
        const chosen = button.dataset.tool === model.tool;
        button.setAttribute("aria-checked", chosen);
        button.tabIndex = chosen ? 0 : -1;
      }
    });
  }

  #controls() {
    const { model, view } = this;
    for (const [name, unit] of [["size", " px"], ["tolerance", ""], ["opacity", " %"]]) {
      byId(name).addEventListener("input", (event) => model.set({ [name]: event.target.valueAsNumber }));
      model.on([name], () => {
        byId(name).value = model[name];
        byId(`${name}-value`).textContent = `${model[name]}${unit}`;
      });
    }
    for (const name of ["outlines", "magnifier", "hidden"]) {
      byId(name).addEventListener("change", (event) => model.set({ [name]: event.target.checked }));
      model.on([name], () => (byId(name).checked = model[name]));
    }
    byId("zoom-one").addEventListener("click", () => view.zoom(1 / window.devicePixelRatio));
    byId("whole").addEventListener("click", () => this.setPoint("whole"));
    for (const button of document.querySelectorAll("dialog .close")) button.addEventListener("click", () => button.closest("dialog").close());
    for (const dialog of document.querySelectorAll("dialog")) {
      dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // a click outside closes the dialog
    }
  }

  #status() {
    const { model, view } = this;
    model.on(["unsaved"], () => {
      byId("saved").textContent = model.unsaved === 0 ? "Saved" : "Saving…";
      document.body.dataset.unsaved = model.unsaved;
    });
    model.on(["current", "frames", "project", "unsaved"], () => {
      const { current, project } = model;
      const entry = model.frames[current];
      const [done, undone] = this.masks.history.count(current);
      byId("undo").disabled = done === 0;
      byId("redo").disabled = undone === 0;
      byId("frame-number").textContent = `Frame ${current + 1} of ${project.frames}`;
      byId("state").textContent = describe(entry, model.objects);
      byId("whole").hidden = project.range[0] === 0 && project.range[1] === project.frames;
      byId("unannotate").disabled = entry?.state !== "annotated";
      byId("accept").disabled = entry?.state === "annotated";
      const track = byId("track");
      track.setAttribute("aria-valuemax", project.frames);
      track.setAttribute("aria-valuenow", current + 1);
      track.setAttribute("aria-valuetext", `Frame ${current + 1} of ${project.frames}, ${STATES[entry?.state]}`);
    });
    view.onzoom = () => (byId("zoom-one").textContent = `${Math.round(100 * view.scale * window.devicePixelRatio)} %`);
  }
}

function describe(entry, objects) {
  if (entry === undefined) return "";
  const text = `Frame ${entry.t + 1}: ${STATES[entry.state]}`;
  if (entry.state === "annotated" || leastConfidence(entry) >= DOUBTFUL) return text;
  const doubtful = objects.filter(({ id }) => (entry.confidence?.[id] ?? 1) < DOUBTFUL);
  return `${text}. Low confidence: ${doubtful.map(({ id, name }) => `${name} ${entry.confidence[id].toFixed(2)}`).join(", ")}`;
}

function middle(canvas) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  return [left + width / 2, top + height / 2];
}

/** Makes the first press of Tab focus the first link. Otherwise, Chromium would focus the control after the selected object. */
function startFocusAtTop() {
  const { body } = document;
  if (document.activeElement !== body) return;
  body.tabIndex = -1;
  body.focus({ preventScroll: true });
  body.removeAttribute("tabindex");
}

export const app = new App();
attempt(() => app.start());
