// One output at a time, with tabs A, B, C ...: the first step of a ranking, and all of the layouts rating and thumbs.

import { h, icon } from "./element.js";
import { questions } from "./questions.js";
import { outputText } from "./texts.js";

/** {element, update, current, move(step), show(letter), key(event)}. after: what comes behind the last output. */
export function oneByOne(room, { after = null } = {}) {
  const { answer, page } = room;
  const panels = page.outputs.map((output) => panel(room, output));
  const tabs = page.outputs.map(({ letter }) => tab(letter, () => show(letter)));
  const list = h("div.letter-tabs", { role: "tablist", "aria-label": "Outputs" }, tabs.map((one) => one.element));
  list.addEventListener("keydown", (event) => arrows(event, (step) => move(step, true)));
  const before = h("button.button.small", { type: "button", onclick: () => move(-1) }, icon("left"), "Previous", h("kbd", { "aria-hidden": "true" }, "K"));
  const next = h("button.button.small", { type: "button", onclick: () => move(1) }, h("span"), icon("right"), h("kbd", { "aria-hidden": "true" }, "J"));
  let current = 0;

  function show(letter, focus = false) {
    current = Math.max(0, answer.letters.indexOf(letter));
    panels.forEach((one, i) => (one.element.hidden = i !== current));
    tabs.forEach((one, i) => one.choose(i === current));
    if (focus) tabs[current].element.focus();
    update();
  }

  function move(step, focus = false) {
    const to = current + step;
    if (to === panels.length && after && !focus) after.go();
    else if (to >= 0 && to < panels.length) show(answer.letters[to], focus);
  }

  function update() {
    panels.forEach((one) => one.update());
    tabs.forEach((one, i) => one.done(isDone(answer, answer.letters[i])));
    before.disabled = current === 0;
    next.disabled = current === panels.length - 1 && !after;
    next.firstChild.textContent = current === panels.length - 1 && after ? after.name : "Next";
  }

  const element = h("div.one-by-one", {}, h("div.letter-bar", {}, list, h("div.row", {}, before, next)),
    panels.map((one) => one.element));
  show(answer.letters[0]);
  return {
    element, update, show, move,
    get current() { return answer.letters[current]; },
    notes: () => panels[current].notes?.focus(),
    key: (key) => judge(room, answer.letters[current], key),
  };
}

/** What a key does to one output: a digit rates it, a flag's letter turns the flag. Whether it did something. */
export function judge({ answer, task, say }, letter, key) {
  if (answer.rates && /^[0-9]$/.test(key)) {
    const rating = key === "0" ? 10 : Number(key);
    if (rating > task.scale) return false;
    answer.rate(letter, rating);
    say(`Output ${letter}: ${rating} of ${task.scale}`);
    return true;
  }
  if (task.layout === "thumbs" && "12+-".includes(key)) {
    answer.label(letter, key === "1" || key === "+");
    say(`Output ${letter}: ${answer.labels[letter] ? "good" : "bad"}`);
    return true;
  }
  const flag = task.flags.find((one) => one.letter === key);
  if (!flag) return false;
  answer.flag(letter, flag.key);
  say(`Output ${letter}: ${flag.label}: ${answer.flags[letter].has(flag.key) ? "yes" : "no"}`);
  return true;
}

export function isDone(answer, letter) {
  if (answer.rates) return letter in answer.ratings;
  return answer.task.layout === "thumbs" && letter in answer.labels;
}

function tab(letter, choose) {
  const mark = h("span.tick", { hidden: true }, icon("check"), h("span.visually-hidden", {}, " done"));
  const element = h("button.letter-tab", { type: "button", role: "tab", id: `tab-${letter}`, "aria-controls": `panel-${letter}`, onclick: choose },
    h("span.visually-hidden", {}, "Output "), letter, mark);
  return {
    element,
    choose(yes) {
      element.setAttribute("aria-selected", String(yes));
      element.tabIndex = yes ? 0 : -1;
    },
    done: (yes) => (mark.hidden = !yes),
  };
}

function panel(room, { letter, turns }) {
  const asked = questions(room, letter);
  const element = h("div.output-panel", { role: "tabpanel", id: `panel-${letter}`, "aria-labelledby": `tab-${letter}` },
    h("article.card.output", { "aria-label": `Output ${letter}` }, h("h3.output-name", {}, `Output ${letter}`),
      outputText(room, letter, turns)), asked.element);
  return { element, update: asked.update, notes: asked.notes };
}

/** Left and right within a list of tabs. */
function arrows(event, move) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  move(step);
}
