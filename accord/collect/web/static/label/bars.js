// What the page says about itself: the saved mark, and bars above the work with what happened and what can be done.

import { h } from "./element.js";
import { visible } from "./texts.js";

const mark = () => document.getElementById("saved");

/** state: as Drafts tells it. */
export function showSaved(state, detail = {}) {
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const kept = detail.kept === false ? "" : ", kept in this browser";
  const texts = {
    none: "",
    saving: "Saving…",
    saved: `Saved ${time}`,
    lost: `Not saved: ${detail.why}${kept}`,
    stale: "Not saved: changed elsewhere",
    refused: `Not saved: ${detail.message}`,
    restored: "Restored from this browser",
  };
  mark().textContent = texts[state];
  mark().dataset.state = state;
}

/** A bar; the one of the same name goes. buttons: [[words, act]]. */
export function bar(name, kind, content, buttons = []) {
  dropBar(name);
  const made = buttons.map(([words, act]) => h("button.button.small", { type: "button", onclick: act }, words));
  const element = h(`div.alert.bar-line.${kind}`, { "data-bar": name, role: kind === "bad" ? "alert" : "status" },
    typeof content === "string" ? h("p", {}, visible(content)) : content, made.length ? h("div.actions", {}, made) : null);
  document.getElementById("bars").append(element);
  return element;
}

export function dropBar(name) {
  document.querySelector(`[data-bar="${name}"]`)?.remove();
}

export function dropBars() {
  document.getElementById("bars").replaceChildren();
}

/** For screen readers. The same words again are said again. */
export function say(text) {
  const said = document.getElementById("said");
  said.textContent = said.textContent === text ? `${text}\u00a0` : text;
}
