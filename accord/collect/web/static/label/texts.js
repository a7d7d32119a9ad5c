// How texts are shown: as they were written, long ones folded, sensitive ones veiled.

import { cleanHtml, h, icon, newId } from "./element.js";

const LONG = { letters: 2400, lines: 32 };
const ROLES = { system: "System", developer: "Developer", user: "User", assistant: "Assistant", tool: "Tool" };
const KEPT = "\n\t\u200c\u200d\u200e\u200f\u061c"; // line breaks, joiners and marks that scripts cannot be written without

/** What a browser would obey or not show (control characters, overrides of the direction) as signs: ⟨U+202E⟩. */
export function visible(text) {
  return text.replaceAll("\r\n", "\n").replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (one) =>
    KEPT.includes(one) ? one : `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
  );
}

export function written(turn) {
  return turn.html === undefined || turn.html === null
    ? h("div.text", { dir: "auto" }, visible(turn.text))
    : cleanHtml(turn.html);
}

/** A conversation: who speaks is said wherever it is not just one instruction or one answer. */
export function conversation(turns) {
  const alone = turns.length === 1 && ["user", "assistant"].includes(turns[0].role);
  return h("div.turns", {}, turns.map((turn) =>
    h(`div.turn.role-${turn.role in ROLES ? turn.role : "other"}`, {},
      alone ? null : h("div.turn-role", {}, ROLES[turn.role] ?? visible(turn.role)), written(turn))));
}

export function plainText(turns) {
  return turns.map((turn) => turn.text).join("\n\n");
}

/** The element, folded with a button "Show all" where its text is long. */
export function folded(element, text) {
  const lines = text.split("\n").length;
  if (text.length <= LONG.letters && lines <= LONG.lines) return element;
  const id = newId("fold");
  const body = h("div.fold-body.is-folded", { id }, element);
  const all = `Show all (${text.length.toLocaleString("en")} characters)`;
  const button = h("button.button.small", { type: "button", "aria-expanded": "false", "aria-controls": id }, all);
  button.addEventListener("click", () => {
    const open = body.classList.toggle("is-folded") === false;
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Show less" : all;
    if (!open) button.scrollIntoView({ block: "nearest" });
  });
  return h("div.folding", {}, body, button);
}

/** Blurred, and out of reach of a screen reader, until somebody asks for it. seen: names that were asked for before. */
export function veiled(element, name, seen) {
  if (seen.has(name)) return element;
  const body = h("div.veil-body", { inert: true }, element);
  const show = () => {
    seen.add(name);
    for (const veil of document.querySelectorAll(`[data-veil="${name}"]`)) lift(veil);
  };
  const button = h("button.button.veil-button", { type: "button", onclick: show }, icon("eye"), "Sensitive content: show");
  return h("div.veil", { "data-veil": name }, body, button);
}

/** The text of an output as a page shows it. */
export function outputText({ veils, revealed }, letter, turns) {
  const text = folded(conversation(turns), plainText(turns));
  return veils ? veiled(text, `output-${letter}`, revealed) : text;
}

function lift(veil) {
  const focused = veil.contains(document.activeElement);
  const body = veil.querySelector(".veil-body");
  body.inert = false;
  veil.classList.add("is-lifted");
  veil.querySelector(".veil-button").remove();
  if (!focused) return;
  body.tabIndex = -1;
  body.focus();
}
