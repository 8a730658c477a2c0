// The dialog for exporting masks to files.

import * as api from "./api.js";
import { attempt } from "./notices.js";
import { element } from "./objects.js";

const KINDS = {
  davis: ["Indexed PNGs", "Each frame is one image. The pixel values are the object ids, and the palette is the DAVIS palette."],
  binary: ["Black and white PNGs", "Each object has one image per frame."],
  rgba: ["Cut-outs, RGBA PNGs", "Each image shows one object on a transparent background. Edges are soft if probabilities are stored. Otherwise, edges are hard."],
  coco: ["COCO JSON", "The masks are run-length encoded. Each frame is an image."],
  ytvis: ["YouTube-VIS JSON", "The masks are run-length encoded. Each object is a track."],
  mp4: ["Video with masks, MP4", "The file contains all selected frames at the frame rate of the video."],
  gif: ["Video with masks, GIF", "This format is suitable for web pages and messages."],
};

const byId = (id) => document.getElementById(id);

export class Exports {
  /** @param {Model} model, @param {Masks} masks */
  constructor(model, masks) {
    Object.assign(this, { model, masks, dialog: byId("exporting") });
    byId("export-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start(new FormData(event.target));
    });
    model.on(["exports"], () => this.#list());
  }

  /** Opens the dialog. */
  open() {
    const { project } = this.model;
    const kinds = Object.keys(KINDS).filter((kind) => project.export_kinds?.includes(kind) ?? true);
    byId("kinds").replaceChildren(
      ...kinds.map((kind, i) => {
        const input = element("input", { type: "radio", name: "kind", value: kind, checked: i === 0 });
        return element("label", {}, input, element("span", { textContent: KINDS[kind][0] }), element("small", { textContent: KINDS[kind][1] }));
      }),
    );
    const [start, stop] = project.range;
    byId("span-range").textContent = `From the in point to the out point: frames ${start + 1} to ${stop}`;
    byId("span-whole").textContent = `The whole video: frames 1 to ${project.frames}`;
    byId("span-range").closest("label").hidden = start === 0 && stop === project.frames;
    byId("export-form").elements.span.value = start === 0 && stop === project.frames ? "whole" : "range";
    this.dialog.showModal();
    this.dialog.querySelector("[name=kind]:checked").focus();
  }

  async #start(form) {
    const { range, frames } = this.model.project;
    const [start, stop] = form.get("span") === "whole" ? [0, frames] : range;
    await this.masks.flush();
    await attempt(() => api.startExport({ kind: form.get("kind"), start, stop }));
  }

  #list() {
    const rows = this.model.exports.map(({ name, kind, state, done, total, bytes, message }) => {
      const label = KINDS[kind]?.[0] ?? kind;
      if (state === "done") {
        const link = element("a", { href: `/api/exports/${encodeURIComponent(name)}`, download: name, textContent: name });
        return element("li", {}, link, element("span", { textContent: [label, size(bytes), message].filter(Boolean).join(" · ") }));
      }
      const progress = { waiting: "waiting", running: `${done} of ${total} frames are written`, failed: `the export failed: ${message}` }[state];
      return element("li", {}, name, element("span", { textContent: `${label} · ${progress}` }));
    });
    if (rows.length === 0) rows.push(element("li", {}, element("span", { textContent: "There are no exports yet." })));
    byId("exports").replaceChildren(...rows);
  }
}

function size(bytes) {
  if (!bytes) return "";
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
