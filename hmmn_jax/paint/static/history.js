// Undo and redo of the changes of masks, frame by frame, to the byte.

import { paste } from "./raster.js";

export class History {
  #changes = []; // {t, patch, undone}, the oldest first; of one frame, those undone are the last

  /** @param {number} limit bytes kept for all frames together; the oldest changes are dropped first */
  constructor(limit = 64e6) {
    this.limit = limit;
  }

  /** Remembers a patch of frame t, as of `Edit.patch`. What was undone before cannot be redone. */
  push(t, patch) {
    this.#changes = this.#changes.filter((change) => change.t !== t || !change.undone);
    this.#changes.push({ t, patch, undone: false });
    const bytes = ({ patch: { before, after } }) => before.byteLength + after.byteLength;
    let total = this.#changes.reduce((sum, change) => sum + bytes(change), 0);
    while (total > this.limit && this.#changes.length > 1) {
      const oldest = this.#changes.shift();
      // Changes that follow an undone one cannot be redone without it.
      if (oldest.undone) this.clear(oldest.t);
      total = this.#changes.reduce((sum, change) => sum + bytes(change), 0);
    }
  }

  /** Takes the last change of frame t back in `ids`. Returns its box, or null where there is no change. */
  undo(t, ids, width) {
    const change = this.#changes.findLast((other) => other.t === t && !other.undone);
    return change ? move(change, ids, width, change.patch.before) : null;
  }

  /** Makes the change of frame t that was undone last again. Returns its box, or null. */
  redo(t, ids, width) {
    const change = this.#changes.find((other) => other.t === t && other.undone);
    return change ? move(change, ids, width, change.patch.after) : null;
  }

  /** How many changes of frame t can be undone, and how many redone. */
  count(t) {
    const own = this.#changes.filter((change) => change.t === t);
    const undone = own.filter((change) => change.undone).length;
    return [own.length - undone, undone];
  }

  /** Forgets the changes of frame t, or of all frames: something else changed the masks. */
  clear(t) {
    this.#changes = t === undefined ? [] : this.#changes.filter((change) => change.t !== t);
  }
}

function move(change, ids, width, piece) {
  paste(ids, width, change.patch.box, piece);
  change.undone = !change.undone;
  return change.patch.box;
}
