// What each layout shows: {element, update, key(key), move(step), show(where), notes()}. One table, one entry a layout.

import { board } from "./board.js";
import { demonstration } from "./demonstration.js";
import { h } from "./element.js";
import { oneByOne } from "./one_by_one.js";
import { pair } from "./pair.js";

export const LAYOUTS = { ranking, pair, rating: oneByOneLayout, thumbs: oneByOneLayout, demonstration };

function oneByOneLayout(room) {
  const view = oneByOne(room);
  const show = (where) => view.show(where.split(".")[1] ?? room.answer.letters[0], true);
  return { element: view.element, update: view.update, key: view.key, move: view.move, notes: view.notes, show };
}

/** Step 1: each output by itself. Step 2: all of them in order. Back and forth at any time. */
function ranking(room) {
  if (room.answer.letters.length < 2) return oneByOneLayout(room);
  const after = { name: "Rank", go: () => go(2, true) };
  const steps = [oneByOne(room, { after }), board(room)];
  const buttons = ["Rate", "Rank"].map((name, i) => stepButton(i + 1, name, () => go(i + 1)));
  if (!room.answer.rates) buttons[0].name.textContent = "Read";
  const rooms = steps.map((step, i) => h("section", { "aria-label": `Step ${i + 1}` }, step.element));
  const stepper = h("nav.stepper", { "aria-label": "Steps" }, h("ol", {}, buttons.map((one) => h("li", {}, one.element))));
  const back = h("button.button", { type: "button", onclick: () => go(1) }, "Back to step 1", h("kbd", { "aria-hidden": "true" }, "R"));
  const forth = h("button.button.primary", { type: "button", onclick: () => go(2, true) }, "Go on to ranking", h("kbd", { "aria-hidden": "true" }, "R"));
  rooms[0].append(h("div.actions.end", {}, forth));
  rooms[1].append(h("div.actions", {}, back));
  let at = 1;

  function go(step, focus = false) {
    at = step;
    rooms.forEach((one, i) => (one.hidden = i + 1 !== step));
    buttons.forEach((one, i) => one.choose(i + 1 === step));
    update();
    if (step === 2 && focus) steps[1].focus();
    stepper.scrollIntoView({ block: "nearest" });
  }

  function update() {
    const { answer } = room;
    steps[at - 1].update();
    const rated = answer.letters.filter((letter) => letter in answer.ratings).length;
    buttons[0].say(answer.rates ? `${rated} of ${answer.letters.length} rated` : "", answer.rates && rated === answer.letters.length);
    const ranked = answer.included.length - answer.unranked.length;
    buttons[1].say(`${ranked} of ${answer.included.length} ranked`, ranked === answer.included.length);
  }

  function key(pressed) {
    if (pressed !== "r") return steps[at - 1].key(pressed);
    go(at === 1 ? 2 : 1, true);
    return true;
  }

  function show(where) {
    const letter = where.split(".")[1];
    go(where.startsWith("ranking") ? 2 : 1, true);
    if (at === 1 && letter) steps[0].show(letter, true);
  }

  go(1);
  const notes = () => (go(1), steps[0].notes());
  return { element: h("div.steps", {}, stepper, rooms), update, key, show, notes, move: (step) => steps[at - 1].move(step) };
}

function stepButton(number, name, choose) {
  const title = h("span.step-name", {}, name);
  const state = h("span.step-state", {});
  const element = h("button.step", { type: "button", onclick: choose }, h("span.step-number", { "aria-hidden": "true" }, String(number)),
    h("span", {}, title, state));
  return {
    element,
    name: title,
    choose: (yes) => (yes ? element.setAttribute("aria-current", "step") : element.removeAttribute("aria-current")),
    say(text, done) {
      state.textContent = text;
      element.classList.toggle("is-done", done);
    },
  };
}
