// Copies text, also on plain http, where navigator.clipboard does not exist.

/** Returns whether the text was copied. `parent`: an open dialog, outside of which nothing can have the focus. */
export async function copy(text, parent = document.body) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text, parent);
  }
}

function copyBySelection(text, parent) {
  const focused = document.activeElement;
  const box = document.createElement("textarea");
  box.value = text;
  box.className = "unseen";
  parent.append(box);
  box.select();
  const done = document.execCommand("copy");
  box.remove();
  focused?.focus();
  return done;
}
