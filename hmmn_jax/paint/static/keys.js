// All actions and their keys. The buttons, the keyboard shortcuts and the help use this list.

import { element } from "./objects.js";
import { TOOLS } from "./tools.js";

/**
 * The actions by group. Each action has a name, keys, a description and a function.
 *
 * A key is a value of `KeyboardEvent.key` with an optional prefix "shift+" or "ctrl+". "ctrl+" also means the command key.
 */
export function actions(app) {
  const { model, view, tools, masks, objects, run } = app;
  const by = (step) => () => app.go(model.current + step);
  const toggle = (name) => () => model.set({ [name]: !model[name] });
  const tool = (name) => () => model.set({ tool: name });
  const grow = (way) => () => {
    const step = Math.max(1, Math.round(model.size / 8));
    model.set({ size: Math.min(Math.max(model.size + way * step, 1), 200) });
  };
  const fade = (by) => () => model.set({ opacity: Math.min(Math.max(model.opacity + by, 0), 100) });
  const pick = Object.fromEntries(
    [...Array(9).keys()].map((i) => [
      `object${i + 1}`,
      { keys: [String(i + 1)], run: () => model.objects[i] && model.set({ object: model.objects[i].id }) },
    ]),
  );
  pick.object1.text = "Select the first to ninth object";
  pick.object1.shown = ["1", "9"];
  return {
    Tools: {
      brush: { keys: ["d"], text: TOOLS.brush, run: tool("brush") },
      eraser: { keys: ["e"], text: "Eraser (also the right mouse button)", run: tool("eraser") },
      polygon: { keys: ["l"], text: "Polygon: click the corners, then click the first corner again", run: tool("polygon") },
      fill: { keys: ["g"], text: "Fill an area of one colour", run: tool("fill") },
      hand: { keys: ["h"], text: "Move the frame (also the middle mouse button)", run: tool("hand") },
      smaller: { keys: ["["], text: "Decrease the brush size", run: grow(-1) },
      larger: { keys: ["]"], text: "Increase the brush size", run: grow(1) },
      cancel: { keys: ["Escape"], text: "Cancel a stroke or a polygon", run: () => tools.cancel() || model.set({ keyboard: false }) },
      corner: { keys: ["Backspace"], text: "Remove the last corner of the polygon", run: () => tools.dropCorner() },
    },
    "Keyboard pointer": {
      keyboard: { keys: ["k"], text: "Switch the arrow keys between moving the pointer and changing frames", run: () => app.setKeyboard(!model.keyboard) },
      press: { keys: ["Enter"], text: "Start or end a stroke, add a corner, or fill an area", run: () => (model.keyboard ? tools.press() : tools.closePolygon()) },
      close: { keys: ["shift+Enter"], text: "Close the polygon", run: () => tools.closePolygon() },
    },
    Changes: {
      undo: { keys: ["z", "ctrl+z"], text: "Undo in this frame", run: () => app.travel("undo") },
      redo: { keys: ["shift+z", "ctrl+shift+z", "ctrl+y"], text: "Redo in this frame", run: () => app.travel("redo") },
      accept: { keys: ["c"], text: "Accept the mask of this frame as its annotation", run: () => app.accept() },
      unannotate: { keys: ["shift+c"], text: "Remove the annotation of this frame", run: () => objects.unannotate() },
    },
    Objects: {
      ...pick,
      add: { keys: ["a"], text: "Add an object", run: () => objects.add() },
    },
    Frames: {
      next: { keys: ["ArrowRight"], text: "Next frame", run: by(1) },
      previous: { keys: ["ArrowLeft"], text: "Previous frame", run: by(-1) },
      tenNext: { keys: ["shift+ArrowRight"], text: "Ten frames forward", run: by(10) },
      tenPrevious: { keys: ["shift+ArrowLeft"], text: "Ten frames back", run: by(-10) },
      home: { keys: ["Home"], text: "First frame", run: () => app.go(0) },
      end: { keys: ["End"], text: "Last frame", run: () => app.go(model.project.frames - 1) },
      nextAnnotated: { keys: ["n"], text: "Next annotated frame", run: () => app.goAnnotated(1) },
      previousAnnotated: { keys: ["p"], text: "Previous annotated frame", run: () => app.goAnnotated(-1) },
      doubtful: { keys: ["j"], text: "Frame with the lowest confidence", run: () => app.goDoubtful() },
      in: { keys: ["i"], text: "Set the in point at this frame", run: () => app.setPoint("in") },
      out: { keys: ["o"], text: "Set the out point at this frame", run: () => app.setPoint("out") },
    },
    "Compute masks": {
      forward: { keys: ["f"], text: "Compute forward from this frame", run: () => run.start("forward") },
      backward: { keys: ["b"], text: "Compute backward from this frame", run: () => run.start("backward") },
      both: { keys: ["r"], text: "Compute all frames in both directions", run: () => run.start("both") },
      pause: { keys: [" "], text: "Stop or continue the computation", run: () => run.pause() },
    },
    View: {
      hide: { keys: ["x"], text: "Show or hide all masks", run: toggle("hidden") },
      outlines: { keys: ["t"], text: "Show or hide the outlines", run: toggle("outlines") },
      magnifier: { keys: ["m"], text: "Show or hide the magnifier", run: toggle("magnifier") },
      fainter: { keys: [","], text: "Decrease the opacity of masks", run: fade(-10) },
      stronger: { keys: ["."], text: "Increase the opacity of masks", run: fade(10) },
      zoomIn: { keys: ["+", "="], text: "Zoom in (also with the mouse wheel)", run: () => view.zoomIn() },
      zoomOut: { keys: ["-"], text: "Zoom out", run: () => view.zoomOut() },
      fit: { keys: ["0"], text: "Show the whole frame", run: () => view.fit() },
    },
    Page: {
      export: { keys: ["s"], text: "Export masks", run: () => app.exports.open() },
      help: { keys: ["?"], text: "Show all keys", run: () => document.getElementById("keys").showModal() },
    },
  };
}

/** Connects the actions to the keyboard, to buttons (by `data-key`), and to the help. */
export function connect(groups, app) {
  const all = Object.assign({}, ...Object.values(groups));
  const byKey = new Map(Object.values(all).flatMap((action) => action.keys.map((key) => [key, action])));

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input:not([type=checkbox], [type=range]), select, textarea")) return;
    const pressed = keyOf(event);
    // Ignore keys that the focused control handles.
    if (event.target.matches("input[type=range]") && /Arrow|Home|End/.test(event.key)) return;
    if (event.target.matches("button, input, a") && (event.key === " " || event.key === "Enter")) return;
    if (app.model.keyboard && event.target.id === "canvas" && event.key.startsWith("Arrow")) {
      const step = event.shiftKey ? 10 : 1;
      const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      app.tools.step(dx, dy);
      event.preventDefault();
      return;
    }
    const action = byKey.get(pressed);
    if (action === undefined) return;
    event.preventDefault();
    action.run();
  });

  for (const node of document.querySelectorAll("[data-key]")) {
    const action = all[node.dataset.key];
    node.title = `${action.text} (${action.keys[0] === " " ? "Space" : name(action.keys[0])})`;
    node.setAttribute("aria-keyshortcuts", action.keys[0] === " " ? "Space" : action.keys[0]);
    if (node.tagName !== "BUTTON") continue;
    node.addEventListener("click", (event) => {
      action.run();
      // After a mouse click, return the keyboard focus to the canvas.
      if (event.detail > 0 && !document.querySelector("dialog[open]")) document.getElementById("canvas").focus({ preventScroll: true });
    });
  }

  document.getElementById("key-table").replaceChildren(
    ...Object.entries(groups).map(([title, group]) => {
      const rows = Object.values(group).filter(({ text }) => text);
      const list = element("dl", {}, ...rows.map((action) => element("div", {}, element("dt", { textContent: action.text }), caps(action))));
      return element("section", {}, element("h3", { textContent: title }), list);
    }),
  );
}

function keyOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const letter = /^[a-z]$/.test(key) || key.length > 1; // for other characters, `event.key` already reflects the shift key
  return `${event.ctrlKey || event.metaKey ? "ctrl+" : ""}${event.shiftKey && letter ? "shift+" : ""}${key}`;
}

function caps({ keys, shown }) {
  const cap = (key) => element("kbd", { textContent: name(key) });
  return element("dd", {}, ...(shown ? [cap(shown[0]), " – ", cap(shown[1])] : [cap(keys[0])]));
}

function name(key) {
  const names = { " ": "Space", ArrowRight: "→", ArrowLeft: "←", Escape: "Esc" };
  return key
    .split("+")
    .map((part) => (part === "" ? "+" : (names[part] ?? (part.length === 1 ? part.toUpperCase() : part[0].toUpperCase() + part.slice(1)))))
    .filter((part, i, parts) => !(part === "+" && parts[i - 1] === "+"))
    .join(" ");
}
