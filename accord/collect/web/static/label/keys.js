// Keys that do something by themselves, and their list. They sleep while somebody types, and can be turned off.

import { h } from "./element.js";

const TYPED = "textarea, select, [contenteditable], input:not([type=radio], [type=checkbox], [type=button])";

/** acts: what each key does, {s: skip}. other(key): all other keys; whether one did something. submit: Ctrl-Enter. */
export function listen({ acts, other, submit, on }) {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      if (document.querySelector("dialog[open]")) return;
      event.preventDefault();
      submit();
      return;
    }
    if (event.key === "Escape" && event.target.matches?.("textarea")) event.target.blur();
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (document.querySelector("dialog[open]") || event.target.closest?.(TYPED) || event.isComposing || !on()) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = acts[key];
    if (!act && !other(key)) return;
    event.preventDefault();
    act?.();
  });
}

const MANY = { ranking: "1-K", pair: "1-2" };

/** [keys, what they do] of a layout. */
export function keysOf(task, k) {
  const rates = task.layout === "rating" || (MANY[task.layout] && task.rate);
  const ranking = task.layout === "ranking" && k > 1;
  return [
    rates && [[`1`, `${Math.min(task.scale, 9)}`], "Rate the current output, 1 is worst", "to"],
    rates && task.scale === 10 && [["0"], "Rate it 10"],
    task.layout === "thumbs" && [["1", "+"], "Good", "or"],
    task.layout === "thumbs" && [["2", "-"], "Bad", "or"],
    task.layout === "pair" && [["A", "B"], "A is better, B is better", "and"],
    task.layout === "pair" && task.ties && [["=", "0"], "Equal, both are bad", "and"],
    task.layout === "pair" && !rates && [["1", task.ties ? "4" : "2"], "The same, from left to right", "to"],
    task.layout !== "demonstration" && [["J", "K"], "Next and previous output", "and"],
    ranking && [["R"], "Between step 1 and step 2"],
    ranking && [["1", String(k)], "In step 2: the rank of the card; 0 takes it back", "to"],
    ranking && [["↑", "↓"], "In step 2: the card one rank up or down", "and"],
    ranking && [["Enter"], "In step 2: read all of the card"],
    ...(task.layout === "demonstration" ? [] : task.flags.map((flag) => [[flag.letter.toUpperCase()], flag.label])),
    (task.notes || task.layout === "demonstration") && [["N"], task.notes && task.layout !== "demonstration" ? "Notes" : "Write"],
    [["Esc"], "Leave a text field"],
    [["Ctrl", "Enter"], "Submit", "+"],
    task.skips.length && [["S"], "Skip this page"],
    [["H"], "Instructions and examples"],
    [["?"], "This list"],
  ].filter(Boolean);
}

export function keyList(task, k) {
  const rows = keysOf(task, k).map(([keys, what, between]) => {
    const shown = keys.flatMap((key, i) => (i ? [` ${between} `, h("kbd", {}, key)] : [h("kbd", {}, key)]));
    return [h("dt", {}, shown), h("dd", {}, h("bdi", {}, what))];
  });
  return h("dl.key-list", {}, rows);
}
