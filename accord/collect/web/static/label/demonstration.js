// The ideal answer, written by the annotator.

import { h, newId } from "./element.js";

export function demonstration({ answer }) {
  const id = newId("text");
  const count = h("span.muted.small", { id: `${id}-count` });
  const field = h("textarea.writing", { id, rows: "14", maxlength: "100000", dir: "auto", "aria-describedby": `${id}-count ${id}-hint` });
  field.addEventListener("input", () => answer.write(field.value));
  const hint = h("span.hint", { id: `${id}-hint` }, "Ctrl-Enter submits");
  const element = h("div.card", {}, h("div.field", {},
    h("label", { for: id }, "What should the assistant have answered?"), field, h("div.spread", {}, count, hint)));
  const update = () => {
    if (field.value !== answer.text) field.value = answer.text;
    const words = answer.text.split(/\s+/u).filter(Boolean).length;
    count.textContent = `${words.toLocaleString("en")} ${words === 1 ? "word" : "words"}`;
  };
  const focus = () => field.focus();
  return { element, update, key: () => false, move: () => {}, show: focus, notes: focus };
}
