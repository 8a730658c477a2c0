// The data of the page: the project on the server, and the user's choices.

const KEPT = ["size", "tolerance", "opacity", "outlines", "magnifier"]; // choices that are stored for the next visit
const STORE = "hmmn-jax paint";

export class Model {
  #listeners = [];

  constructor() {
    this.project = null; // the response to GET /api/project
    this.frames = []; // {t, state, revision, ids, confidence} for each frame
    this.next = null; // the frame with the lowest confidence
    this.job = { state: "idle" };
    this.exports = [];
    this.current = 0; // the chosen frame
    this.tool = "brush";
    this.object = null; // the id to paint
    this.hidden = false; // whether all masks are hidden
    this.unsaved = 0; // number of frames with unsaved changes
    this.connected = true;
    Object.assign(this, { size: 15, tolerance: 24, opacity: 50, outlines: true, magnifier: false, follow: true });
    try {
      const kept = JSON.parse(localStorage.getItem(STORE) ?? "{}");
      for (const name of KEPT) if (typeof kept[name] === typeof this[name]) this[name] = kept[name];
    } catch {
      // Storage is disabled or damaged, so the defaults are used.
    }
  }

  /** Changes fields and calls their listeners. */
  set(changes) {
    const names = Object.keys(changes);
    Object.assign(this, changes);
    if (names.some((name) => KEPT.includes(name))) {
      try {
        localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(KEPT.map((name) => [name, this[name]]))));
      } catch {
        // Storage is disabled, so the choice is kept only until the page is closed.
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

  /** The object to paint, or undefined. */
  get chosen() {
    return this.objects.find(({ id }) => id === this.object);
  }

  /** Whether a job is computing masks. */
  get running() {
    return this.job.state === "compiling" || this.job.state === "running";
  }

  /** Stores the project, unless the stored revision is newer. */
  takeProject(project) {
    if (project.revision >= (this.project?.revision ?? 0)) this.set({ project: { ...this.project, ...project } });
  }

  /** Stores the states of frames. */
  merge(entries) {
    for (const entry of entries) this.frames[entry.t] = entry;
    this.set({ frames: this.frames });
  }
}

/** A frame is doubtful if the confidence of an object is below this value. */
export const DOUBTFUL = 0.6;

/** The lowest confidence of the objects in a frame; 1 if the frame has no objects. */
export function leastConfidence(entry) {
  return Math.min(1, ...Object.values(entry?.confidence ?? {}).filter((value) => value !== null));
}
