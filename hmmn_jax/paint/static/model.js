// What the page shows: the project as the server knows it, and the user's choices.

const KEPT = ["size", "tolerance", "opacity", "outlines", "magnifier"]; // choices kept for the next visit
const STORE = "hmmn-jax paint";

export class Model {
  #listeners = [];

  constructor() {
    this.project = null; // as of GET /api/project
    this.frames = []; // by frame: {t, state, revision, ids, confidence}
    this.next = null; // the most doubtful frame
    this.job = { state: "idle" };
    this.exports = [];
    this.current = 0; // the chosen frame
    this.tool = "brush";
    this.object = null; // the id that is painted
    this.hidden = false; // all masks
    this.unsaved = 0; // frames with changes that the server does not have yet
    this.connected = true;
    Object.assign(this, { size: 15, tolerance: 24, opacity: 50, outlines: true, magnifier: false, follow: true });
    try {
      const kept = JSON.parse(localStorage.getItem(STORE) ?? "{}");
      for (const name of KEPT) if (typeof kept[name] === typeof this[name]) this[name] = kept[name];
    } catch {
      // Storage is off or damaged: the defaults stay.
    }
  }

  /** Changes fields and calls the listeners of those. */
  set(changes) {
    const names = Object.keys(changes);
    Object.assign(this, changes);
    if (names.some((name) => KEPT.includes(name))) {
      try {
        localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(KEPT.map((name) => [name, this[name]]))));
      } catch {
        // Storage is off: the choice lasts as long as the page.
      }
    }
    for (const [wanted, listener] of this.#listeners) if (wanted.some((name) => names.includes(name))) listener();
  }

  /** Calls a function now, and after each change of one of the fields. */
  on(names, listener) {
    this.#listeners.push([names, listener]);
    listener();
  }

  get objects() {
    return this.project?.objects ?? [];
  }

  /** The object that is painted, or undefined. */
  get chosen() {
    return this.objects.find(({ id }) => id === this.object);
  }

  /** Whether a job computes masks now. */
  get running() {
    return this.job.state === "compiling" || this.job.state === "running";
  }

  /** Takes the project over, unless something newer is known. */
  takeProject(project) {
    if (project.revision >= (this.project?.revision ?? 0)) this.set({ project: { ...this.project, ...project } });
  }

  /** Takes frames over, as of the timeline. */
  merge(entries) {
    for (const entry of entries) this.frames[entry.t] = entry;
    this.set({ frames: this.frames });
  }
}

/** Least confidence of an object in a frame that is not called doubtful. */
export const DOUBTFUL = 0.6;

/** The least confidence of a frame's objects, or 1 where none has one. */
export function leastConfidence(entry) {
  return Math.min(1, ...Object.values(entry?.confidence ?? {}).filter((value) => value !== null));
}
