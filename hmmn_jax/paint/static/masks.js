// Loads, edits and saves the masks of the frames. A mask is fetched when its frame is shown. Edits change the mask in place,
// and are saved in the background.

import * as api from "./api.js";
import { History } from "./history.js";
import { ask, notice, setBanner } from "./notices.js";

const KEPT_BYTES = 96e6; // memory budget for masks, in bytes; the masks of recently shown frames are cached
const RETRY = 1500; // milliseconds between attempts if the server does not respond

export class Masks {
  #entries = new Map(); // t -> {ids, tag, missing, changes, held, missed}; the most recently used entry is last
  #queue = new Set(); // frames to save
  #saving = null; // the promise of the saving loop

  /**
   * @param {Model} model
   * @param {function(number, number[]|null)} changed called with a frame and the box of the changed pixels (null: all pixels)
   */
  constructor(model, changed) {
    Object.assign(this, { model, changed, history: new History() });
  }

  /** Returns the entry of frame t, and fetches the mask if necessary. If the frame has no mask, all `ids` are background. */
  async load(t) {
    const known = this.#entries.get(t);
    if (known) {
      this.#entries.delete(t);
      this.#entries.set(t, known);
      return known;
    }
    const fetched = await this.#fetch(t);
    if (!this.#entries.has(t)) {
      this.#entries.set(t, { ...fetched, changes: 0, held: false, missed: false });
      this.#evict();
    }
    return this.#entries.get(t);
  }

  /** The entry of frame t, or undefined if the frame is not loaded. */
  at(t) {
    return this.#entries.get(t);
  }

  /** Sets whether frame t is being painted. While a frame is being painted, masks from the server do not replace its mask. */
  hold(t, held) {
    const entry = this.#entries.get(t);
    if (!entry) return;
    entry.held = held;
    if (!held && entry.missed && !this.#queue.has(t)) this.refresh(t);
  }

  /** Converts the mask of frame t to 16 bits if `id` is above 255. */
  widen(t, id) {
    const entry = this.#entries.get(t);
    if (id > 255 && entry.ids.BYTES_PER_ELEMENT === 1) {
      entry.ids = Uint16Array.from(entry.ids);
      this.history.clear(t); // the stored patches have 8 bits per pixel
    }
  }

  /** Stores a change of the mask of frame t for undo, and saves the mask. */
  commit(t, patch) {
    this.history.push(t, patch);
    this.#touch(t);
  }

  /** Undoes a change of frame t. Returns whether there was a change to undo. */
  undo(t) {
    return this.#travel(t, "undo");
  }

  redo(t) {
    return this.#travel(t, "redo");
  }

  /** Annotates frame t with its current mask. */
  accept(t) {
    this.#touch(t);
  }

  /** Removes the annotation of frame t on the server. */
  async unannotate(t) {
    await this.flush();
    const { tag, revision } = await api.removeMask(t, (await this.load(t)).tag);
    this.model.takeProject({ revision });
    this.model.merge([{ t, state: "missing", revision: tag.slice(1, -1), ids: [], confidence: {} }]);
    await this.refresh(t);
  }

  /** Resolves when every change is saved. */
  async flush() {
    while (this.#saving) await this.#saving;
  }

  /**
   * Drops all loaded masks and the undo history. Call this method after the server has rewritten the masks. Unsaved changes are
   * lost, so call `flush` first.
   */
  forget() {
    this.history.clear();
    this.#entries.clear();
  }

  /** Compares entries from the server with the masks in the page, and fetches or drops masks that differ. */
  announced(entries) {
    for (const { t, revision } of entries) {
      const entry = this.#entries.get(t);
      if (!entry || entry.tag === `"${revision}"`) continue;
      if (this.#queue.has(t) || entry.held) entry.missed = true;
      else if (t === this.model.current) this.refresh(t);
      else this.#drop(t);
    }
  }

  /** Fetches the mask of frame t again. If the mask is edited in the meantime, the fetched mask is discarded. */
  async refresh(t) {
    const entry = this.#entries.get(t);
    if (entry === undefined) return;
    const before = entry.changes;
    entry.missed = false;
    const fetched = await this.#fetch(t).catch(() => null);
    if (fetched === null || this.#entries.get(t) !== entry) return;
    if (entry.held || entry.changes !== before || this.#queue.has(t)) {
      entry.missed = true;
      return;
    }
    const same = fetched.ids.length === entry.ids.length && fetched.ids.every((id, i) => id === entry.ids[i]);
    if (!same) this.history.clear(t);
    const untouched = this.history.count(t).every((count) => count === 0);
    entry.tag = fetched.tag;
    if (untouched) entry.missing = fetched.missing;
    if (same) return;
    entry.ids = fetched.ids;
    this.changed(t, null);
  }

  async #fetch(t) {
    const { state, revision } = this.model.frames[t];
    const { ids, tag } = state === "missing" ? { ids: null, tag: `"${revision}"` } : await api.mask(t);
    const { height, width } = this.model.project;
    return { ids: ids ?? new Uint8Array(height * width), tag, missing: ids === null };
  }

  #drop(t) {
    this.#entries.delete(t);
    this.history.clear(t);
  }

  #evict() {
    const { height, width } = this.model.project;
    let spare = this.#entries.size - Math.max(8, Math.floor(KEPT_BYTES / (height * width)));
    for (const [t, entry] of this.#entries) {
      if (spare <= 0) return;
      if (t === this.model.current || this.#queue.has(t) || entry.held) continue;
      this.#drop(t);
      spare--;
    }
  }

  #travel(t, way) {
    const entry = this.#entries.get(t);
    if (!entry) return false;
    const box = this.history[way](t, entry.ids, this.model.project.width);
    if (box === null) return false;
    this.#touch(t);
    this.changed(t, box);
    return true;
  }

  #touch(t) {
    this.#entries.get(t).changes++;
    this.#queue.add(t);
    this.model.set({ unsaved: this.#queue.size });
    this.#pump();
  }

  #pump() {
    this.#saving ??= this.#save().finally(() => {
      this.#saving = null;
      if (this.#queue.size) this.#pump(); // save a change that was made while the loop was ending
    });
  }

  async #save() {
    while (this.#queue.size) {
      const [t] = this.#queue;
      const entry = this.#entries.get(t);
      const { changes } = entry;
      try {
        // If all changes of a frame that had no mask are undone, the frame has no mask again.
        const [done, undone] = this.history.count(t);
        const bare = entry.missing && done === 0 && undone > 0 && entry.ids.every((id) => id === 0);
        const { tag, revision } = await (bare ? api.removeMask(t, entry.tag) : api.saveMask(t, entry.ids, entry.tag));
        entry.tag = tag;
        setBanner(null);
        this.model.takeProject({ revision });
        if (entry.changes === changes) this.#queue.delete(t);
        if (entry.missed) await this.refresh(t);
      } catch (error) {
        await this.#failed(t, entry, error);
      }
      this.model.set({ unsaved: this.#queue.size });
    }
  }

  async #failed(t, entry, error) {
    if (error.status === 0 || error.status >= 500 || error.status === 401 || error.status === 403) {
      setBanner(`${this.#queue.size === 1 ? "1 frame is" : `${this.#queue.size} frames are`} not saved. The page will try again. ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, RETRY));
      return;
    }
    if (error.status === 412) {
      const answer = await ask(
        `Frame ${t + 1} was changed elsewhere`,
        "Another tab or program changed this frame after this tab had loaded it. Only one of the two masks can be kept.",
        [
          ["theirs", "Show the other mask"],
          ["mine", "Keep my mask"],
        ],
      );
      if (answer === "mine") {
        entry.tag = error.answer.tag ?? `"${error.answer.revision}"`;
        return;
      }
    } else {
      notice(`Frame ${t + 1} was not saved: ${error.message}`, { error: true });
    }
    this.#queue.delete(t);
    await this.refresh(t);
  }
}
