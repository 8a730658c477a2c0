// Drawing at the rate of the screen.

/** Gives a function that calls `render` before the next picture of the screen, once however often it is called until then. */
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
