// The panel for selecting, naming, colouring, showing, locking, merging and deleting objects.

import * as api from "./api.js";
import { attempt, notice } from "./notices.js";

// Bright colours with high contrast, which are assigned to new objects in this order.
const COLOURS = ["#ff4d4d", "#2ec4ff", "#ffd23f", "#3ddc84", "#c77dff", "#ff8c42", "#00e0c6", "#ff66c4", "#9be564", "#6c8cff"];

export class Objects {
  /** @param {Model} model, @param {Masks} masks, @param {function()} rewritten called after the server rewrites the masks */
  constructor(model, masks, rewritten) {
    Object.assign(this, { model, masks, rewritten, list: document.getElementById("objects") });
    this.drawn = "";
    this.edits = Promise.resolve(); // a promise that settles after the last edit
    this.withdraw = () => {}; // removes the notice that offers to undo an edit
    this.offered = null; // the revision for which the offer to undo is valid
    model.on(["project", "object"], () => this.#draw());
    model.on(["project", "unsaved"], () => {
      if (model.project.revision !== this.offered || model.unsaved > 0) this.withdraw();
    });
  }

  /** Adds an object and selects it. */
  async add() {
    const used = new Set(this.model.objects.map((object) => object.colour));
    const colour = COLOURS.find((other) => !used.has(other)) ?? COLOURS[this.model.objects.length % COLOURS.length];
    const answer = await this.#edit((revision) => api.addObject(revision, { colour }));
    if (answer === undefined) return;
    this.model.set({ object: answer.id });
    this.list.querySelector("li.chosen")?.scrollIntoView({ block: "nearest" });
  }

  /** Deletes an object from all frames, and shows a notice that offers to undo the deletion. */
  async remove({ id, name }) {
    if ((await this.#edit((revision) => api.deleteObject(revision, id), true)) === undefined) return;
    this.#offerUndo(`${name} was deleted from all frames.`);
  }

  /** Asks the user for another object, and merges both objects. */
  async merge({ id, name }) {
    const others = this.model.objects.filter((other) => other.id !== id);
    if (others.length === 0) {
      notice("There is only one object.");
      return;
    }
    const dialog = document.getElementById("merging");
    document.getElementById("merge-from").textContent = name;
    const select = document.getElementById("merge-into");
    select.replaceChildren(...others.map((other) => new Option(`${other.id} ${other.name}`, other.id)));
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "merge") return;
    const into = Number(select.value);
    if ((await this.#edit((revision) => api.mergeObjects(revision, into, id), true)) === undefined) return;
    this.model.set({ object: into });
    this.#offerUndo(`${name} is now part of ${this.model.chosen?.name ?? into}.`);
  }

  /** Removes the annotation of the current frame, and shows a notice that offers to undo the removal. */
  async unannotate() {
    const t = this.model.current;
    if (this.model.frames[t]?.state !== "annotated" && this.model.unsaved === 0) {
      notice(`Frame ${t + 1} is not annotated.`);
      return;
    }
    if ((await attempt(async () => (await this.masks.unannotate(t)) ?? true)) === undefined) return;
    this.#offerUndo(`Frame ${t + 1} is no longer annotated.`);
  }

  // The server can undo only the last edit, so the notice that offers to undo an edit is removed at the next edit.
  #offerUndo(text) {
    const { revision } = this.model.project;
    const run = async () => {
      if (this.model.project.revision !== revision || this.model.unsaved > 0) {
        notice("The project has changed in the meantime. This edit can no longer be undone.", { error: true });
        return;
      }
      if ((await this.#edit((now) => api.undo(now), true)) !== undefined) notice("The edit was undone.");
    };
    this.withdraw = notice(text, { action: { label: "Undo", run } });
    this.offered = revision;
  }

  /**
   * Changes the project after saving all strokes. Returns the response. If the request fails, shows the error and returns
   * undefined. Edits run one after the other, because each edit needs the revision that the previous edit returns.
   */
  #edit(run, rewrites = false) {
    const edit = this.edits.then(() => this.#editNow(run, rewrites));
    this.edits = edit.catch(() => {});
    return edit;
  }

  async #editNow(run, rewrites) {
    await this.masks.flush();
    const answer = await attempt(async () => {
      try {
        return await run(this.model.project.revision);
      } catch (error) {
        if (error.status === 412) error.message = "Another tab changed the project. The page now shows the current state. Try again.";
        throw error;
      }
    });
    await attempt(async () => this.model.takeProject(await api.project()));
    if (this.model.chosen === undefined) this.model.set({ object: this.model.objects[0]?.id ?? null });
    if (rewrites && answer !== undefined) this.rewritten();
    return answer;
  }

  #draw() {
    const { model, list } = this;
    const wanted = JSON.stringify(model.objects);
    if (wanted !== this.drawn) {
      this.drawn = wanted;
      const { id, part } = document.activeElement?.dataset ?? {}; // used to restore the keyboard focus
      list.replaceChildren(...model.objects.map((object) => this.#row(object)));
      if (model.objects.length === 0) {
        const empty = document.createElement("li");
        empty.className = "empty";
        empty.textContent = "There is no object yet. Add an object, then paint it.";
        list.append(empty);
      }
      if (part) list.querySelector(`[data-id="${id}"][data-part="${part}"]`)?.focus();
    }
    for (const row of list.querySelectorAll("li[data-row]")) {
      const chosen = Number(row.dataset.row) === model.object;
      row.classList.toggle("chosen", chosen);
      row.querySelector(".pick").setAttribute("aria-pressed", chosen);
      row.querySelector(".more").hidden = !chosen;
    }
  }

  #row(object) {
    const { id, name, colour, visible, locked } = object;
    const row = element("li", { className: visible ? "" : "off" });
    row.dataset.row = id;
    const part = (node, part, act, type = "click") => {
      Object.assign(node.dataset, { id, part });
      node.addEventListener(type, act);
      return node;
    };
    const change = (json) => this.#edit((revision) => api.changeObject(revision, id, json));

    const number = element("span", { className: "number", textContent: id });
    number.style.background = colour;
    number.style.color = readable(colour);
    const pick = element("button", { className: "pick", title: `Paint ${name}`, ariaLabel: `Paint ${name}` }, number);
    part(pick, "pick", () => this.model.set({ object: id }));

    const field = element("input", { className: "name", value: name, ariaLabel: `Name of object ${id}`, maxLength: 60, spellcheck: false });
    part(field, "name", () => field.value.trim() && field.value.trim() !== name && change({ name: field.value.trim() }), "change");
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") field.value = name;
      if (event.key === "Enter" || event.key === "Escape") field.blur();
    });

    const flag = (on, icons, labels, json) => {
      const label = `${labels[on ? 0 : 1]} ${name}`;
      const button = element("button", { title: label, ariaLabel: label, ariaPressed: String(on) }, icon(icons[on ? 0 : 1]));
      return part(button, icons[0], () => change(json));
    };
    const flags = element(
      "span",
      { className: "flags" },
      flag(visible, ["eye", "eye-off"], ["Hide", "Show"], { visible: !visible }),
      flag(locked, ["lock", "unlock"], ["Unlock", "Lock"], { locked: !locked }),
    );

    const swatch = element("input", { type: "color", value: colour, title: "Colour", ariaLabel: `Colour of ${name}` });
    part(swatch, "colour", () => change({ colour: swatch.value }), "change");
    const merge = part(element("button", { ariaLabel: `Merge ${name} into another object` }, icon("merge"), "Merge"), "merge", () => this.merge(object));
    const remove = part(element("button", { ariaLabel: `Delete ${name}` }, icon("delete"), "Delete"), "delete", () => this.remove(object));
    row.append(pick, field, flags, element("span", { className: "more" }, swatch, merge, remove));
    return row;
  }
}

/** An element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** An icon of the page, by name. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Black or white, whichever has more contrast with a colour. */
function readable(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => (parseInt(colour.slice(i, i + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : "#fff";
}
