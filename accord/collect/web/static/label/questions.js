// What is asked about one output: rating or thumbs, flags, notes, whether it takes part in the ranking.

import { h, icon, newId } from "./element.js";
import { visible } from "./texts.js";

/** {element, update(), focus(where)} for the output with this letter. */
export function questions(room, letter) {
  const { answer, task } = room;
  const parts = [
    answer.rates && rating(room, letter),
    task.layout === "thumbs" && thumbs(room, letter),
    task.flags.length && flags(room, letter),
    task.notes && notes(room, letter),
    task.layout === "ranking" && answer.letters.length > 1 && include(room, letter),
  ].filter(Boolean);
  return {
    element: h("div.questions", {}, parts.map((part) => part.element)),
    update: () => parts.forEach((part) => part.update()),
    notes: parts.find((part) => part.field)?.field,
  };
}

function choices(name, legend, ends, options, chosen, choose) {
  const boxes = options.map(({ value, label, title }) => {
    const input = h("input.visually-hidden", { type: "radio", name, value: String(value), "aria-label": title });
    input.addEventListener("change", () => choose(value));
    return { value, input, element: h("label.choice", { title }, input, h("span", {}, label)) };
  });
  const element = h("fieldset.question", {}, h("legend", {}, legend),
    h("div.choices", {}, boxes.map((box) => box.element)), ends);
  const update = () => boxes.forEach((box) => (box.input.checked = chosen() === box.value));
  return { element, update };
}

function rating({ answer, task }, letter) {
  const options = Array.from({ length: task.scale }, (_, i) => {
    const end = { 1: " (worst)", [task.scale]: " (best)" }[i + 1] ?? "";
    return { value: i + 1, label: String(i + 1), title: `${i + 1}${end}` };
  });
  const ends = h("div.ends", { "aria-hidden": "true" }, h("span", {}, "1 = worst"), h("span", {}, `${task.scale} = best`));
  const legend = `How good is output ${letter}, all in all?`;
  const chosen = () => answer.ratings[letter];
  return choices(newId("rating"), legend, ends, options, chosen, (value) => answer.rate(letter, value));
}

function thumbs({ answer }, letter) {
  const options = [
    { value: true, label: [icon("up"), "Good"], title: "Good" },
    { value: false, label: [icon("down"), "Bad"], title: "Bad" },
  ];
  const chosen = () => answer.labels[letter];
  const legend = `Is output ${letter} good?`;
  return choices(newId("thumb"), legend, null, options, chosen, (value) => answer.label(letter, value));
}

function flags(room, letter) {
  const rows = room.task.flags.map((flag) => oneFlag(room, letter, flag));
  const element = h("fieldset.question.flags", {}, h("legend", {}, "Which of these are true of it?"),
    h("ul.flag-list", { role: "list" }, rows.map((row) => row.element)));
  return { element, update: () => rows.forEach((row) => row.update()) };
}

function oneFlag({ answer, keys }, letter, flag) {
  const id = newId("flag");
  const input = h("input.toggle", { type: "checkbox", role: "switch", id, "aria-describedby": flag.definition ? `${id}-what` : null });
  input.addEventListener("change", () => answer.flag(letter, flag.key, input.checked));
  const label = h("label", { for: id }, h("bdi", {}, visible(flag.label)));
  const what = h("p.flag-what.small.muted", { id: `${id}-what`, hidden: true }, visible(flag.definition));
  const ask = flag.definition && h("button.ask", { type: "button", "aria-expanded": "false", "aria-controls": what.id,
    "aria-label": `What does "${visible(flag.label)}" mean?` }, "?");
  ask && ask.addEventListener("click", () => {
    what.hidden = !what.hidden;
    ask.setAttribute("aria-expanded", String(!what.hidden));
  });
  const key = h("kbd", { "aria-hidden": "true", title: `Key ${flag.letter}` }, flag.letter.toUpperCase());
  const element = h("li.flag", {}, key, label, ask || h("span"), input, what);
  return { element, update: () => (input.checked = answer.flags[letter].has(flag.key)) };
}

function notes({ answer }, letter) {
  const id = newId("notes");
  const field = h("textarea", { id, rows: "2", maxlength: "100000", dir: "auto" });
  field.addEventListener("input", () => answer.note(letter, field.value));
  const element = h("div.field", {}, h("label", { for: id }, `Notes on ${letter} `, h("span.muted", {}, "(optional)")), field);
  const update = () => field.value !== (answer.notes[letter] ?? "") && (field.value = answer.notes[letter] ?? "");
  return { element, update, field };
}

function include({ answer }, letter) {
  const input = h("input", { type: "checkbox" });
  input.addEventListener("change", () => answer.include(letter, input.checked));
  const hint = h("span.hint", {}, "Untick it only where the output is broken: it then stays out of the ranking.");
  const element = h("label.check", {}, input, h("span", {}, "Include this output ", hint));
  return { element, update: () => (input.checked = !answer.excluded.has(letter)) };
}
