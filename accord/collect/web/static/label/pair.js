// Two outputs side by side: A is better, B is better, equal, or both are bad.

import { h, newId } from "./element.js";
import { isDone, judge } from "./one_by_one.js";
import { questions } from "./questions.js";
import { contradictions } from "./ranks.js";
import { outputText } from "./texts.js";

const CHOICES = [
  { value: "A", label: "A is better", key: "a" },
  { value: "equal", label: "Equal", key: "=" },
  { value: "bad", label: "Both are bad", key: "0" },
  { value: "B", label: "B is better", key: "b" },
];

export function pair(room) {
  const { answer, page, task } = room;
  const options = CHOICES.filter((one) => task.ties || ["A", "B"].includes(one.value)).map((one, i) => ({ ...one, digit: String(i + 1) }));
  const columns = page.outputs.map(({ letter, turns }) => column(room, letter, turns, () => choose(letter)));
  const verdict = verdictField(answer, options, answer.rates);
  const warning = h("div.alert.warn", { role: "status", hidden: true });
  let current = 0;

  function choose(letter) {
    current = answer.letters.indexOf(letter);
    columns.forEach((one, i) => one.element.classList.toggle("is-current", i === current));
  }

  function update() {
    columns.forEach((one) => one.update());
    verdict.update();
    const said = contradictions(answer.ratings, answer.ranks);
    warning.hidden = !said.length;
    warning.textContent = said.length ? `${said[0]}. Nothing has to be changed if both are meant.` : "";
  }

  function key(pressed) {
    const digits = !answer.rates;
    const found = options.find(({ key, digit }) => key === pressed || (digits && digit === pressed));
    if (!found) return judge(room, answer.letters[current], pressed);
    answer.choose(found.value);
    room.say(found.label);
    return true;
  }

  function move(step) {
    choose(answer.letters[Math.min(1, Math.max(0, current + step))]);
    columns[current].element.scrollIntoView({ block: "nearest" });
    room.say(`Output ${answer.letters[current]}`);
  }

  function show(where) {
    if (where === "ranking") return verdict.focus();
    choose(where.split(".")[1]);
    columns[current].element.querySelector("input")?.focus();
  }

  choose("A");
  const element = h("div.pair", {}, h("div.pair-columns", {}, columns.map((one) => one.element)), warning, verdict.element);
  return { element, update, key, move, show, notes: () => columns[current].notes?.focus() };
}

function column(room, letter, turns, choose) {
  const asked = questions(room, letter);
  const tick = h("span.badge.good", {}, "rated");
  const element = h("section.pair-column", { "aria-label": `Output ${letter}` },
    h("article.card.output", {}, h("div.spread", {}, h("h3.output-name", {}, `Output ${letter}`), tick), outputText(room, letter, turns)),
    asked.element);
  element.addEventListener("pointerdown", choose);
  element.addEventListener("focusin", choose);
  const update = () => {
    asked.update();
    tick.hidden = !isDone(room.answer, letter);
  };
  return { element, update, notes: asked.notes };
}

function verdictField(answer, options, rates) {
  const name = newId("verdict");
  const boxes = options.map(({ value, label, key, digit }) => {
    const input = h("input.visually-hidden", { type: "radio", name, value });
    input.addEventListener("change", () => answer.choose(value));
    const press = h("kbd", { "aria-hidden": "true" }, rates ? key.toUpperCase() : digit);
    return { value, input, element: h(`label.choice.verdict-${value}`, {}, input, h("span", {}, label, press)) };
  });
  const element = h("fieldset.question.verdict", {}, h("legend", {}, "Which one is better, all in all?"),
    h("div.choices", {}, boxes.map((box) => box.element)));
  return {
    element,
    update: () => boxes.forEach((box) => (box.input.checked = answer.choice === box.value)),
    focus: () => boxes[0].input.focus(),
  };
}
