// The page on which people judge, from one group to the next. What is on one group's page is in `sheet.js`.

import { bar, dropBars, say } from "./bars.js";
import { Refused, Unreachable, call } from "./call.js";
import { clockTime } from "./clock.js";
import { askSkip, showInstructions, showKeys } from "./dialogs.js";
import { h } from "./element.js";
import { Kept } from "./kept.js";
import { listen } from "./keys.js";
import { Sheet } from "./sheet.js";
import { delivered, waiting } from "./submit.js";

const place = document.getElementById("judge");
const button = (name) => document.getElementById(name);
const project = place.dataset.project;
const kept = new Kept(place.dataset.account);
const singleKeys = { get: () => kept.get("single-keys") !== false, set: (yes) => kept.put("single-keys", yes) };
const COUNTED = 20; // pages: so often the site counts how far one is; between, the page counts itself
let task, sheet, progress;
let pages = 0;

async function start() {
  task = await call("GET", `projects/${project}/task`);
  await sendWaiting();
  await show(place.dataset.assignment ? `assignments/${place.dataset.assignment}` : null);
}

/** What could not be sent in an earlier visit. It may have arrived all the same: then nothing is stored twice. */
async function sendWaiting() {
  for (const one of waiting(kept)) {
    try {
      await delivered(kept, one, () => bar("waiting", "warn", "An answer from before is still to be sent. Trying again…"));
      kept.drop(`draft:${one.assignment}`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401) throw error;
      bar(`waiting-${one.assignment}`, "bad", `An answer from before was not taken: ${error.message}. It is kept as a draft.`);
    }
  }
  document.querySelector('[data-bar="waiting"]')?.remove();
}

/** address: of a page of before; null: the next one. */
async function show(address) {
  place.setAttribute("aria-busy", "true");
  const page = await (address ? call("GET", address) : call("POST", `projects/${project}/next`));
  if (!page || !progress || pages % COUNTED === 0) progress = await call("GET", `projects/${project}/progress`);
  pages += 1;
  place.removeAttribute("aria-busy");
  if (page) open(page);
  else ended();
}

function open(page) {
  sheet = new Sheet({ task, page, kept, place, submitted, failed });
  const total = Math.max(page.number, progress.done + progress.skipped + progress.left);
  const title = `Page ${page.number} / ${total}`;
  button("number").textContent = title;
  button("progress").max = Math.max(1, total);
  button("progress").value = progress.done + progress.skipped;
  button("title").textContent = `${title}: ${task.name}`;
  document.title = `${title} · ${task.name} · Accord`;
  button("submit").hidden = false;
  button("submit").textContent = page.revision ? "Submit correction" : "Submit";
  button("skip").hidden = page.status === "done" || page.status === "skipped" || !task.skips.length;
  window.scrollTo(0, 0);
  button("title").focus({ preventScroll: true });
}

/** Straight to the next page. became: what the page before is now, "done" or "skipped"; null: it counts for nothing. */
async function submitted(message, became) {
  const before = sheet.page;
  count(before, became);
  sheet = null;
  dropBars();
  history.replaceState(null, "", `/label/${project}`);
  await again(() => show(null));
  const correct = () => location.assign(`/label/${project}/${before.assignment}`);
  const note = bar("done", "good", message, became === "done" ? [["Correct it", correct]] : []);
  setTimeout(() => note.remove(), 12_000);
  say(`${message} ${sheet ? button("number").textContent : "Nothing is left."}`);
}

function count({ status, revision }, became) {
  if (became === "done") progress.active_ms += sheet.extraMs;
  if (revision || !became) return;
  progress[became] += 1;
  if (status === "skipped") progress.skipped -= 1;
  else progress.left = Math.max(0, progress.left - 1);
}

function ended() {
  for (const name of ["submit", "skip"]) button(name).hidden = true;
  button("number").textContent = "All done";
  button("saved").textContent = "";
  button("progress").value = button("progress").max;
  button("title").textContent = "Nothing is left for you";
  document.title = `All done · ${task.name} · Accord`;
  const numbers = [[progress.done, "pages judged"], [progress.skipped, "skipped"], [clockTime(progress.active_ms), "of work"]];
  place.replaceChildren(h("section.card.end-page.centre.stack", {},
    h("h2", {}, progress.done ? "Thank you. That was all." : "There is nothing for you here now."),
    h("p.muted", {}, progress.done ? "You have judged everything that there is for you in this project." : "Other people hold what is left, or all is judged. Look in again later."),
    h("div.stats", {}, numbers.map(([value, label]) => h("div.stat", {}, h("div.stat-value", {}, String(value)), h("div.stat-label", {}, label)))),
    h("div.actions.end-actions", {}, h("a.button.primary", { href: "/home" }, "To the projects"), h("a.button", { href: `/label/${project}/history` }, "Your pages"))));
  button("title").focus({ preventScroll: true });
}

/** Tries until there is an answer; what the site refuses is said. */
async function again(act) {
  for (let seconds = 1; ; seconds = Math.min(30, 2 * seconds)) {
    try {
      await act();
      document.querySelector('[data-bar="connection"]')?.remove();
      return;
    } catch (error) {
      if (!(error instanceof Unreachable)) return failed(error);
      bar("connection", "warn", `No answer from the site (${error.message}). Trying again in ${seconds} s…`);
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    }
  }
}

/** What only a person can mend. */
function failed(error) {
  if (!(error instanceof Refused)) throw error;
  place.removeAttribute("aria-busy");
  if (!sheet) place.replaceChildren();
  if (error.status === 401) {
    const next = encodeURIComponent(location.pathname);
    bar("failed", "bad", "You are logged out. What you wrote is kept in this browser: log in, and it is here again.", [["Log in", () => location.assign(`/login?next=${next}`)]]);
  } else {
    bar("failed", "bad", [error.message, error.fix].filter(Boolean).join(": "), [["Load again", () => location.reload()], ["To the projects", () => location.assign("/home")]]);
  }
}

function skip() {
  if (sheet && !button("skip").hidden) askSkip(task, (reason) => sheet.skip(reason));
}

const acts = {
  s: skip,
  h: () => task && showInstructions(task),
  "?": () => task && showKeys(task, sheet?.page.outputs.length ?? 0, singleKeys),
  n: () => sheet?.view.notes(),
  j: () => sheet?.view.move(1),
  k: () => sheet?.view.move(-1),
};
button("submit").addEventListener("click", () => sheet?.submit());
button("skip").addEventListener("click", skip);
button("instructions").addEventListener("click", acts.h);
button("keys").addEventListener("click", acts["?"]);
listen({ acts, other: (key) => sheet?.key(key) ?? false, submit: () => sheet?.submit(), on: singleKeys.get });
setInterval(() => {
  if (progress) button("time").textContent = clockTime(progress.active_ms + (sheet?.extraMs ?? 0));
}, 500);
again(start);
