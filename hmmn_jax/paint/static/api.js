// Functions that send requests to the server. A failed request throws an `ApiError` with the server's message.

export class ApiError extends Error {
  /** @param {number} status HTTP status; 0 if there was no response */
  constructor(status, message, answer = {}) {
    super(message);
    this.status = status;
    this.answer = answer;
  }
}

async function call(method, path, { json, body, headers = {} } = {}) {
  if (json !== undefined) {
    headers = { ...headers, "Content-Type": "application/json" };
    body = JSON.stringify(json);
  }
  let response;
  try {
    response = await fetch(`/api/${path}`, { method, headers, body });
  } catch {
    throw new ApiError(0, "The server does not respond. Check that `hmmn-jax paint` is still running.");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401 || response.status === 403) {
    answer.error = "This page no longer has access. Open the address that `hmmn-jax paint` printed.";
  }
  throw new ApiError(response.status, answer.error ?? `The server responded with status ${response.status}.`, {
    ...answer,
    tag: response.headers.get("ETag"),
  });
}

const read = async (path) => (await call("GET", path)).json();

/** Sends a request that changes the project. Returns the new revision. */
async function change(method, path, options) {
  const response = await call(method, path, options);
  const revision = Number(response.headers.get("X-Project-Revision"));
  const type = response.headers.get("Content-Type") ?? "";
  const answer = type.startsWith("application/json") ? await response.json() : {};
  return { revision, ...answer, tag: response.headers.get("ETag") };
}

export const project = () => read("project");
export const timeline = () => read("timeline");
export const exportList = () => read("exports");

/** The URL of a frame's JPEG. For a thumbnail, `height` is the requested height in pixels. */
export function frameAddress(t, version, height) {
  return `/api/frames/${t}.jpg?v=${encodeURIComponent(version)}${height ? `&h=${height}` : ""}`;
}

/** Fetches the ids of a frame and the ETag of the frame's revision. `ids` is null for a frame without a mask. */
export async function mask(t) {
  try {
    const response = await call("GET", `masks/${t}`);
    const bytes = await response.arrayBuffer();
    const ids = response.headers.get("X-Dtype") === "uint16" ? new Uint16Array(bytes) : new Uint8Array(bytes);
    return { ids, tag: response.headers.get("ETag") };
  } catch (error) {
    if (error.status !== 404) throw error;
    return { ids: null, tag: error.answer.tag };
  }
}

/** Saves ids as the annotation of frame t, unless the frame was edited since the revision `tag`. */
export async function saveMask(t, ids, tag) {
  const stream = new Blob([ids]).stream().pipeThrough(new CompressionStream("gzip"));
  const body = await new Response(stream).blob();
  return change("PUT", `masks/${t}`, { body, headers: matching(tag) });
}

/** Removes the annotation of frame t. */
export const removeMask = (t, tag) => change("DELETE", `masks/${t}`, { headers: matching(tag) });

const matching = (tag) => (tag ? { "If-Match": tag } : { "If-None-Match": "*" });
const since = (revision) => ({ headers: { "If-Match": `"${revision}"` } });

export const addObject = (revision, json) => change("POST", "objects", { json, ...since(revision) });
export const changeObject = (revision, id, json) => change("PATCH", `objects/${id}`, { json, ...since(revision) });
export const deleteObject = (revision, id) => change("DELETE", `objects/${id}`, since(revision));
export const mergeObjects = (revision, into, from) => change("POST", "objects/merge", { json: { into, from }, ...since(revision) });
export const undo = (revision) => change("POST", "undo", since(revision));

/** Stores the in and out points. The points select the frames first <= t < stop. */
export const setRange = (first, stop) => change("PATCH", "project", { json: { range: [first, stop] } });
export const startJob = (json) => change("POST", "jobs", { json });
export const stopJob = () => change("DELETE", "jobs/current");
export const startExport = (json) => change("POST", "exports", { json });

/**
 * Receives the events that the server sends after event number `after`. The browser reconnects automatically.
 *
 * @param {string|number} after the number of an event, for example the `event` field of the project
 * @param {Object<string, function>} handlers the handler for each event name; `open` and `lost` are events of the connection
 */
export function listen(after, handlers) {
  const source = new EventSource(`/api/events?after=${encodeURIComponent(after)}`);
  for (const [name, handle] of Object.entries(handlers)) {
    if (name !== "open" && name !== "lost") source.addEventListener(name, (event) => handle(JSON.parse(event.data || "null")));
  }
  source.onopen = handlers.open;
  source.onerror = () => handlers.lost(source.readyState === EventSource.CLOSED);
  return source;
}
