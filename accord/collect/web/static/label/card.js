// One output as a card of the ranking: its letter, rating, the beginning of its text, and a field for its rank.

import { draggable } from "./drag.js";
import { h, icon, newId } from "./element.js";
import { conversation, plainText, veiled } from "./texts.js";

const SHORT = 320; // characters that are shown without being asked for, about

/** {element, update}. place(letter, rank or null) moves it. */
export function card(room, { letter, turns }, place) {
  const { answer } = room;
  const k = answer.letters.length;
  const rating = h("span.badge", {});
  const flags = h("span.badge.warn", {});
  const rank = rankField(letter, k, place);
  const body = cardText(room, letter, turns);
  const grip = h("span.grip", { "data-grip": true, title: "Drag" }, icon("grip"));
  const out = h("span.badge", {}, "not included");
  const element = h("article.rank-card", { tabindex: "0", "data-letter": letter },
    h("header.rank-card-head", {}, grip, h("span.letter", { "aria-hidden": "true" }, letter), rating, flags, out, h("span.gap"), rank.element), body);
  element.addEventListener("keydown", (event) => moved(event, element, answer, letter, place));
  draggable(element, { zones: "[data-rank]", dropped: (zone) => place(letter, Number(zone.dataset.rank) || null) });

  function update() {
    const given = answer.ratings[letter];
    rating.hidden = !given;
    rating.textContent = given ? `${given} / ${answer.task.scale}` : "";
    const marks = answer.flags[letter].size;
    flags.hidden = !marks;
    flags.textContent = marks === 1 ? "1 flag" : `${marks} flags`;
    out.hidden = !answer.excluded.has(letter);
    element.classList.toggle("is-out", answer.excluded.has(letter));
    rank.update(answer.ranks[letter], answer.excluded.has(letter));
    element.setAttribute("aria-label", name(answer, letter));
  }
  return { element, update };
}

function name(answer, letter) {
  const rating = answer.ratings[letter] ? `, rated ${answer.ratings[letter]}` : "";
  if (answer.excluded.has(letter)) return `Output ${letter}${rating}, not included`;
  return `Output ${letter}${rating}, ${answer.ranks[letter] ? `rank ${answer.ranks[letter]}` : "not ranked"}`;
}

function rankField(letter, k, place) {
  const options = Array.from({ length: k }, (_, i) => h("option", { value: i + 1 }, `Rank ${i + 1}`));
  const select = h("select.rank-field", { "aria-label": `Rank of output ${letter}` }, h("option", { value: "" }, "Not ranked"), options);
  select.addEventListener("change", () => place(letter, Number(select.value) || null));
  const update = (rank, out) => {
    select.value = rank ? String(rank) : "";
    select.disabled = out;
  };
  return { element: select, update };
}

/** The whole text is there; folded it shows its first lines. */
function cardText(room, letter, turns) {
  const id = newId("card");
  const text = conversation(turns);
  const whole = plainText(turns);
  const body = h("div.card-text.is-short", { id }, room.veils ? veiled(text, `output-${letter}`, room.revealed) : text);
  if (whole.length <= SHORT && whole.split("\n").length <= 4) {
    body.classList.remove("is-short");
    return body;
  }
  const button = h("button.button.small.quiet.card-more", { type: "button", "aria-expanded": "false", "aria-controls": id }, icon("more"), h("span", {}, "Read all"));
  button.addEventListener("click", () => {
    const open = !body.classList.toggle("is-short");
    body.classList.toggle("is-read", open);
    button.setAttribute("aria-expanded", String(open));
    button.lastChild.textContent = open ? "Fold" : "Read all";
  });
  return h("div", {}, body, button);
}

/** Arrows move the card that has the focus one rank up or down; Enter reads it. */
function moved(event, element, answer, letter, place) {
  if (event.target !== element || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" || event.key === " ") element.querySelector(".card-more")?.click();
  else if (event.key === "Backspace" || event.key === "Delete") place(letter, null);
  else if (event.key === "ArrowUp" || event.key === "ArrowDown") place(letter, next(answer, letter, event.key === "ArrowUp" ? -1 : 1));
  else return;
  event.preventDefault();
}

/** From "to be ranked", up is the worst rank and down the best: the card goes in from either end. */
function next(answer, letter, step) {
  const k = answer.letters.length;
  const at = answer.ranks[letter];
  if (!at) return step > 0 ? 1 : k;
  return at + step < 1 || at + step > k ? at : at + step;
}
