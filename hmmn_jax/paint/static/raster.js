// Paints object ids with integer arithmetic. Shapes drawn on a canvas have soft edges, which would result in wrong ids.
//
// A mask is a Uint8Array or Uint16Array of height * width ids in row-major order; 0 is the background. Pixel (x, y) covers the
// square from (x, y) to (x + 1, y + 1).

/** One change of a mask, with the data to undo the change. */
export class Edit {
  /**
   * @param {Uint8Array|Uint16Array} ids the mask, which is changed in place
   * @param {number} width of the mask in pixels
   * @param {number} value the id to paint; 0 erases
   * @param {Set<number>} locked ids whose pixels do not change
   */
  constructor(ids, width, value, locked = new Set()) {
    Object.assign(this, { ids, width, height: ids.length / width, value, locked, before: ids.slice() });
    this.box = null; // [left, top, right, bottom) of the painted pixels
  }

  /** Paints the pixels left <= x < right of row y that are inside the mask. */
  span(y, left, right) {
    left = Math.max(left, 0);
    right = Math.min(right, this.width);
    if (y < 0 || y >= this.height || left >= right) return;
    const row = y * this.width;
    if (this.locked.size === 0) {
      this.ids.fill(this.value, row + left, row + right);
    } else {
      for (let i = row + left; i < row + right; i++) if (!this.locked.has(this.ids[i])) this.ids[i] = this.value;
    }
    const box = this.box;
    this.box = box
      ? [Math.min(box[0], left), Math.min(box[1], y), Math.max(box[2], right), Math.max(box[3], y + 1)]
      : [left, y, right, y + 1];
  }

  /** The patch between the old and the new mask, or null if no pixel changed. */
  patch() {
    if (this.box === null) return null;
    const before = cut(this.before, this.width, this.box);
    const after = cut(this.ids, this.width, this.box);
    return before.every((id, i) => id === after[i]) ? null : { box: this.box, before, after };
  }
}

/** The ids in a box of a mask, in row-major order. */
export function cut(ids, width, [left, top, right, bottom]) {
  const piece = new ids.constructor((right - left) * (bottom - top));
  for (let y = top; y < bottom; y++) {
    piece.set(ids.subarray(y * width + left, y * width + right), (y - top) * (right - left));
  }
  return piece;
}

/** Writes ids into a box of a mask, in place. */
export function paste(ids, width, [left, top, right, bottom], piece) {
  for (let y = top; y < bottom; y++) {
    ids.set(piece.subarray((y - top) * (right - left), (y - top + 1) * (right - left)), y * width + left);
  }
}

/**
 * The range of columns `[left, right)` for each of the `size` rows of a disc. A pixel belongs to the disc if the distance from
 * its centre to the centre of the size * size square is less than size / 2. The code uses doubled coordinates, which are
 * integers.
 */
export function disc(size) {
  const rows = [];
  for (let y = 0; y < size; y++) {
    let left = 0;
    while ((2 * left - size + 1) ** 2 + (2 * y - size + 1) ** 2 >= size ** 2) left++;
    rows.push([left, size - left]);
  }
  return rows;
}

/** The top left pixel of the square that encloses a disc around a point. The point may have fractional coordinates. */
export function discAt(point, size) {
  return point.map((value) => Math.round(value - size / 2));
}

/** Paints a disc. The top left pixel of the square that encloses the disc is (x, y). */
export function stamp(edit, rows, [x, y]) {
  rows.forEach(([left, right], i) => edit.span(y + i, x + left, x + right));
}

/** Paints a disc at each pixel of the line between two pixels. */
export function stroke(edit, rows, from, to) {
  for (const at of line(from, to)) stamp(edit, rows, at);
}

/** The pixels of a line by Bresenham's algorithm, including both ends. */
export function* line([x, y], [toX, toY]) {
  const dx = Math.abs(toX - x);
  const dy = -Math.abs(toY - y);
  let error = dx + dy;
  for (;;) {
    yield [x, y];
    if (x === toX && y === toY) return;
    const twice = 2 * error;
    if (twice >= dy) {
      error += dy;
      x += Math.sign(toX - x);
    }
    if (twice <= dx) {
      error += dx;
      y += Math.sign(toY - y);
    }
  }
}

/** Paints the pixels whose centres are inside a polygon, by the even-odd rule. Corners `[x, y]` have integer coordinates. */
export function polygon(edit, corners) {
  const top = Math.max(Math.min(...corners.map(([, y]) => y)), 0);
  const bottom = Math.min(Math.max(...corners.map(([, y]) => y)), edit.height);
  for (let y = top; y < bottom; y++) {
    const crossings = [];
    corners.forEach(([x0, y0], i) => {
      const [x1, y1] = corners[(i + 1) % corners.length];
      if (y0 <= y !== y1 <= y) {
        // The first pixel whose centre is not left of the edge is ceil(crossing - 1/2), computed as a fraction of integers.
        const [divisor, sign] = y1 > y0 ? [2 * (y1 - y0), 1] : [2 * (y0 - y1), -1];
        crossings.push(Math.ceil((x0 * divisor + sign * (2 * y + 1 - 2 * y0) * (x1 - x0) - divisor / 2) / divisor));
      }
    });
    crossings.sort((a, b) => a - b);
    for (let i = 0; i < crossings.length; i += 2) edit.span(y, crossings[i], crossings[i + 1]);
  }
}

/**
 * Paints the connected region around a pixel. The region contains pixels with the same id whose colour differs from that of the
 * first pixel by at most `tolerance` in each of red, green and blue.
 *
 * @param {Edit} edit the edit that paints the region
 * @param {number[]} pixel [x, y] of the first pixel
 * @param {Uint8ClampedArray} colours the colours of the frame, four bytes for each pixel
 * @param {number} tolerance from 0 to 255; at 255, only the mask limits the region
 */
export function flood(edit, [x, y], colours, tolerance) {
  const { ids, width, height, value } = edit;
  const start = y * width + x;
  const id = ids[start];
  if (id === value || edit.locked.has(id)) return;
  const [red, green, blue] = colours.subarray(4 * start, 4 * start + 3);
  const fits = (i) =>
    ids[i] === id &&
    Math.abs(colours[4 * i] - red) <= tolerance &&
    Math.abs(colours[4 * i + 1] - green) <= tolerance &&
    Math.abs(colours[4 * i + 2] - blue) <= tolerance;
  const queue = [start];
  while (queue.length) {
    const at = queue.pop();
    if (!fits(at)) continue;
    const row = at - (at % width);
    let left = at;
    let right = at + 1;
    while (left > row && fits(left - 1)) left--;
    while (right < row + width && fits(right)) right++;
    edit.span(row / width, left - row, right - row);
    for (const next of [row - width, row + width]) {
      if (next < 0 || next >= width * height) continue;
      // Add one start point for each run of matching pixels in the row above or below.
      for (let i = left; i < right; i++) {
        const other = next + i - row;
        if (fits(other) && (i === left || !fits(other - 1))) queue.push(other);
      }
    }
  }
}
