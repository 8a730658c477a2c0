// The pictures of the frames, in full size and as thumbnails. The most recently used pictures are cached.

import * as api from "./api.js";

/** A map of at most `limit` entries. A new entry replaces the least recently used entry if the map is full. */
class Recent {
  #map = new Map();

  constructor(limit, dropped = () => {}) {
    Object.assign(this, { limit, dropped });
  }

  get(key, make) {
    const value = this.#map.get(key) ?? make();
    this.#map.delete(key);
    this.#map.set(key, value);
    if (this.#map.size > this.limit) {
      const [oldest] = this.#map;
      this.#map.delete(oldest[0]);
      this.dropped(oldest[1]);
    }
    return value;
  }

  delete(key) {
    this.#map.delete(key);
  }
}

export class Images {
  /**
   * @param {object} project the project, as sent by the server
   * @param {function()} arrived called when a thumbnail has been loaded
   */
  constructor(project, arrived) {
    Object.assign(this, { project, arrived });
    const pixels = project.height * project.width;
    this.frames = new Recent(Math.max(6, Math.min(60, Math.floor(30e6 / pixels))));
    this.thumbnails = new Recent(400);
  }

  /** Returns a promise of the picture of frame t, an `ImageBitmap`. */
  frame(t) {
    return this.frames.get(t, () => {
      const picture = this.#fetch(t);
      picture.catch(() => this.frames.delete(t)); // the next call requests the frame again
      return picture;
    });
  }

  async #fetch(t) {
    const response = await fetch(api.frameAddress(t, this.project.version)).catch(() => null);
    if (!response?.ok) throw new api.ApiError(response?.status ?? 0, `Frame ${t + 1} could not be loaded.`);
    // The flood fill compares colours, so the browser must not convert the colours.
    return createImageBitmap(await response.blob(), { colorSpaceConversion: "none" });
  }

  /** Preloads the neighbours of frame t. */
  prefetch(t) {
    for (const near of [t + 1, t - 1, t + 2]) {
      if (near >= 0 && near < this.project.frames) this.frame(near).catch(() => {});
    }
  }

  /** The thumbnail of frame t, or null until it is loaded. */
  thumbnail(t, height) {
    const image = this.thumbnails.get(t, () => {
      const made = new Image();
      made.onload = this.arrived;
      made.src = api.frameAddress(t, this.project.version, height);
      return made;
    });
    return image.complete && image.naturalWidth > 0 ? image : null;
  }
}
