// Exact undo and redo of mask changes, separately for each frame.

import { paste } from "./raster.js";

export class History {
  #changes = []; // entries {t, patch, undone}, oldest first; the undone changes of a frame follow its other changes

  /** @param {number} limit maximum number of bytes for all frames; the oldest changes are dropped first */
  constructor(limit = 64e6) {
    this.limit = limit;
  }

  /** Stores a patch of frame t (see `Edit.patch`). Changes of this frame that were undone can no longer be redone. */
  push(t, patch) {
    this.#changes = this.#changes.filter((change) => change.t !== t || !change.undone);
    this.#changes.push({ t, patch, undone: false });
    const bytes = ({ patch: { before, after } }) => before.byteLength + after.byteLength;
    let total = this.#changes.reduce((sum, change) => sum + bytes(change), 0);
    while (total > this.limit && this.#changes.length > 1) {
      const oldest = this.#changes.shift();
      // The later undone changes of the frame cannot be redone without the dropped change.
      if (oldest.undone) this.clear(oldest.t);
      total = this.#changes.reduce((sum, change) => sum + bytes(change), 0);
    }
  }

  /** Undoes the last change of frame t in `ids`. Returns the box of the change, or null if there is no change to undo. */
  undo(t, ids, width) {
    const change = this.#changes.findLast((other) => other.t === t && !other.undone);
    return change ? move(change, ids, width, change.patch.before) : null;
  }

  /** Redoes the last undone change of frame t. Returns the box of the change, or null if there is no change to redo. */
  redo(t, ids, width) {
    const change = this.#changes.find((other) => other.t === t && other.undone);
    return change ? move(change, ids, width, change.patch.after) : null;
  }

  /** The number of changes of frame t that can be undone, and the number of changes that can be redone. */
  count(t) {
    const own = this.#changes.filter((change) => change.t === t);
    const undone = own.filter((change) => change.undone).length;
    return [own.length - undone, undone];
  }

  /** Drops the changes of frame t, or of all frames if t is undefined. Call `clear` when patches no longer match the mask. */
  clear(t) {
    this.#changes = t === undefined ? [] : this.#changes.filter((change) => change.t !== t);
  }
}

function move(change, ids, width, piece) {
  paste(ids, width, change.patch.box, piece);
  change.undone = !change.undone;
  return change.patch.box;
}
