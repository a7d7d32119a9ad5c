// The dialogs of the page: why a page is skipped, the instructions, the keys. The frame stands in label.html.

import { cleanHtml, h, newId } from "./element.js";
import { keyList } from "./keys.js";
import { visible } from "./texts.js";

export function dialog(name) {
  return document.getElementById(`dialog-${name}`);
}

function fill(name, ...content) {
  dialog(name).querySelector(".dialog-body").replaceChildren(...content);
  return dialog(name);
}

export function showInstructions(task) {
  if (dialog("instructions").open) return;
  const given = task.instructions.trim() ? cleanHtml(task.instructions) : h("p.muted", {}, "The owner of this project wrote no instructions.");
  const examples = task.examples.map((one) => h("details.fold", {}, h("summary", {}, h("bdi", {}, visible(one.title))), cleanHtml(one.html)));
  fill("instructions", given, ...(examples.length ? [h("h3", {}, "Examples"), ...examples] : [])).showModal();
}

/** setting: {get(), set(yes)} whether single keys do something. */
export function showKeys(task, k, setting) {
  if (dialog("keys").open) return;
  const box = h("input.toggle", { type: "checkbox", role: "switch" });
  box.checked = setting.get();
  box.addEventListener("change", () => setting.set(box.checked));
  fill("keys", h("label.check", {}, box, "Single keys do something (turn this off if they get in your way)"), keyList(task, k)).showModal();
}

/** Calls skip(reason) with what was chosen or written. */
export function askSkip(task, skip) {
  if (dialog("skip").open) return;
  const name = newId("reason");
  const other = h("input", { type: "text", maxlength: "500", "aria-label": "Another reason", placeholder: "Another reason" });
  const boxes = task.skips.map((reason) => h("input", { type: "radio", name, value: reason, autofocus: reason === task.skips[0] }));
  const rows = boxes.map((box, i) => h("label.check", {}, box, h("bdi", {}, visible(task.skips[i]))));
  const error = h("p.error", { role: "alert", hidden: true }, "Choose a reason, or write one.");
  other.addEventListener("input", () => other.value && boxes.forEach((box) => (box.checked = false)));
  const form = h("form.stack", { method: "dialog" }, h("fieldset.field", {}, h("legend", {}, "Why can you not judge this one?"), rows), other, error,
    h("div.actions.end", {}, h("button.button", { type: "button", onclick: () => dialog("skip").close() }, "Cancel"),
      h("button.button.primary", { type: "submit" }, "Skip this page")));
  form.addEventListener("submit", (event) => {
    const reason = other.value.trim() || boxes.find((box) => box.checked)?.value;
    error.hidden = Boolean(reason);
    if (reason) skip(reason);
    else event.preventDefault();
  });
  fill("skip", h("p.muted", {}, "Somebody else gets it. What you have said of it so far is kept, but does not count."), form).showModal();
}
