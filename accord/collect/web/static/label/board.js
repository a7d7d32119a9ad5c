// The ranking: cards go from "to be ranked" into Rank 1 (best) .. Rank K (worst); cards in one rank are equals.

import { card } from "./card.js";
import { h, icon } from "./element.js";
import { contradictions } from "./ranks.js";

/** {element, update, key(key), focus()}. */
export function board(room) {
  const { answer, page } = room;
  const k = answer.letters.length;
  const zones = Array.from({ length: k }, (_, i) => rankZone(i + 1, k));
  const waiting = h("div.zone-cards", {});
  const toRank = h("section.zone.zone-waiting", { "data-rank": "0", "aria-label": "To be ranked" },
    h("h3.zone-name", {}, "To be ranked"), waiting);
  const cards = Object.fromEntries(page.outputs.map((output) => [output.letter, card(room, output, place)]));
  const help = h("p.hint", {}, room.task.ties
    ? "Drag each card into a rank, or press a digit on it. Cards in one rank are equals."
    : "Drag each card into a rank, or press a digit on it. No two may be equal.");
  const byRating = h("button.button.small", { type: "button", onclick: () => rankAll() }, icon("star"), "Rank by my ratings");
  const clear = h("button.button.small.quiet", { type: "button", onclick: () => clearAll() }, "Clear");
  const warning = h("div.alert.warn.contradictions", { role: "status", hidden: true });
  let current = null;

  function place(letter, rank) {
    if (answer.excluded.has(letter)) return;
    const held = document.activeElement;
    answer.place(letter, rank);
    room.say(placeSaid(answer, letter));
    if (held && held !== document.body && document.contains(held)) held.focus({ preventScroll: true });
  }

  function rankAll() {
    answer.rankByRatings();
    room.say("Ranked by your ratings");
  }

  function clearAll() {
    answer.clearRanks();
    room.say("Nothing is ranked");
  }

  function update() {
    const out = answer.letters.filter((letter) => answer.excluded.has(letter));
    fill(waiting, [...answer.unranked, ...out], cards);
    zones.forEach((zone, i) => fill(zone.cards, answer.included.filter((l) => answer.ranks[l] === i + 1), cards));
    toRank.classList.toggle("is-empty", !waiting.children.length);
    byRating.hidden = !answer.rates;
    byRating.disabled = !mayFollowRatings(answer);
    clear.disabled = answer.unranked.length === answer.included.length;
    Object.values(cards).forEach((one) => one.update());
    warn(warning, contradictions(answer.ratings, answer.ranks));
  }

  /** Where the next digit goes: the card with the focus, else the first that is not ranked. */
  function focused() {
    const found = document.activeElement?.closest(".rank-card")?.dataset.letter;
    return found ?? current ?? answer.unranked[0];
  }

  function key(pressed) {
    const letter = focused();
    if (!letter || answer.excluded.has(letter)) return false;
    const number = /^[0-9]$/.test(pressed) ? Number(pressed) : null;
    if (number === null || number > k) return false;
    place(letter, number || null);
    focus(number ? (answer.unranked[0] ?? letter) : letter);
    return true;
  }

  function focus(letter = answer.unranked[0] ?? answer.included[0]) {
    current = letter ?? null;
    if (letter) cards[letter].element.focus();
  }

  /** To the next or previous card, in the order in which they stand. */
  function move(step) {
    const stand = [...element.querySelectorAll(".rank-card")];
    const at = stand.findIndex((one) => one.contains(document.activeElement));
    const to = stand[Math.min(stand.length - 1, Math.max(0, at + step))];
    if (to) focus(to.dataset.letter);
  }

  const element = h("div.board", {}, h("div.spread", {}, help, h("div.row", {}, byRating, clear)), warning,
    h("div.board-columns", {}, toRank, h("div.ranks", {}, zones.map((zone) => zone.element))));
  update();
  return { element, update, key, focus, move };
}

function rankZone(rank, k) {
  const cards = h("div.zone-cards", {});
  const end = { 1: "best", [k]: "worst" }[rank];
  const name = `Rank ${rank}${end ? ` (${end})` : ""}`;
  const element = h("section.zone", { "data-rank": rank, "aria-label": name },
    h("h3.zone-name", {}, `Rank ${rank}`, end ? h("span.muted", {}, ` ${end}`) : null), cards);
  return { element, cards };
}

/** Moves only the cards that stand elsewhere, so that the others keep their focus and their place. */
function fill(zone, letters, cards) {
  letters.forEach((letter, i) => {
    const { element } = cards[letter];
    if (zone.children[i] !== element) zone.insertBefore(element, zone.children[i] ?? null);
  });
}

/** Where equals are not allowed, ratings give a ranking only if no two are the same. */
function mayFollowRatings(answer) {
  const ratings = answer.included.map((letter) => answer.ratings[letter]);
  if (ratings.includes(undefined)) return false;
  return answer.task.ties || new Set(ratings).size === ratings.length;
}

function placeSaid(answer, letter) {
  const rank = answer.ranks[letter];
  const left = answer.unranked.length;
  if (!rank) return `Output ${letter} is to be ranked; ${left} left`;
  const equals = answer.letters.filter((other) => other !== letter && answer.ranks[other] === rank);
  const beside = equals.length ? `, equal with ${equals.join(" and ")}` : "";
  return `Output ${letter} is in rank ${rank}${beside}; ${left ? `${left} left` : "all are ranked"}`;
}

function warn(box, said) {
  box.hidden = !said.length;
  if (box.dataset.said === said.join()) return;
  box.dataset.said = said.join();
  box.replaceChildren(h("p", {}, "Ratings and ranks say different things. Nothing has to be changed if both are meant:"),
    h("ul", {}, said.map((one) => h("li", {}, one))));
}
