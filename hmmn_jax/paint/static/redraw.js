// Limits drawing to the refresh rate of the screen.

/** Returns a function that calls `render` once before the next refresh of the screen. */
export function redrawer(render) {
  let pending = false;
  return () => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      render();
    });
  };
}
