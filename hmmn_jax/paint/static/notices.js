// Short messages: temporary notices, a permanent banner, and questions.

const notices = document.getElementById("notices");
const banner = document.getElementById("banner");

/** Shows a message for a few seconds, with at most one action `{label, run}`. Returns a function that removes the message. */
export function notice(text, { action, error = false } = {}) {
  const box = document.createElement("div");
  box.className = error ? "notice error" : "notice";
  box.append(text);
  const remove = () => box.remove();
  if (action) {
    const button = document.createElement("button");
    button.textContent = action.label;
    button.addEventListener("click", () => {
      remove();
      action.run();
    });
    box.append(button);
  }
  for (const other of notices.children) if (other.firstChild.textContent === text) other.remove();
  while (notices.children.length > 2) notices.firstChild.remove();
  notices.append(box);
  setTimeout(remove, action || error ? 12000 : 4000);
  return remove;
}

/** Runs a function that calls the server, and shows an error message if the call fails. */
export async function attempt(run) {
  try {
    return await run();
  } catch (error) {
    if (error.status === undefined) throw error; // a programming error in the page
    notice(error.message, { error: true });
    return undefined;
  }
}

/** Shows a message in the banner. If `text` is null, hides the banner. */
export function setBanner(text) {
  banner.hidden = text === null;
  banner.textContent = text ?? "";
}

/**
 * Asks a question in a dialog.
 *
 * @param {string} title
 * @param {string} text
 * @param {[string, string][]} answers the value and the label of each answer; Enter selects the first answer
 * @returns {Promise<string>} the value of the answer; "" if the dialog was closed
 */
export function ask(title, text, answers) {
  const dialog = document.getElementById("question");
  dialog.querySelector("h2").textContent = title;
  dialog.querySelector("p").textContent = text;
  dialog.querySelector(".answers").replaceChildren(
    ...answers.map(([value, label], i) => {
      const button = document.createElement("button");
      button.value = value;
      button.textContent = label;
      button.className = i === 0 ? "primary" : "";
      return button;
    }),
  );
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
