// One group's page: what is said of it, its draft, its clock, and how it is submitted or skipped.

import { Answer } from "./answer.js";
import { bar, dropBar, say, showSaved } from "./bars.js";
import { Refused, Unreachable, call } from "./call.js";
import { Clock } from "./clock.js";
import { dialog } from "./dialogs.js";
import { Drafts } from "./drafts.js";
import { h } from "./element.js";
import { instruction } from "./instruction.js";
import { LAYOUTS } from "./layouts.js";
import { begun, delivered } from "./submit.js";

export class Sheet {
  /** submitted(message, became): it is done. failed(error): only a person can mend it. */
  constructor({ task, page, kept, place, submitted, failed }) {
    Object.assign(this, { task, page, kept, place, submitted, failed, sending: false });
    this.answer = new Answer(task, page.outputs.map((output) => output.letter), page.draft ?? page.answer);
    this.clock = new Clock(page.active_ms);
    this.before = page.revision ? page.active_ms : 0; // is counted among the pages that are done
    this.drafts = new Drafts({ kept, page, given: () => this.given(), show: (state, detail) => this.show(state, detail) });
    this.restore();
    this.build();
    this.answer.onChange(() => {
      this.view.update();
      this.stillMissing();
      this.drafts.changed();
    });
    this.leaving = () => this.drafts.send({ keepalive: true });
    document.addEventListener("visibilitychange", this.leaving);
    window.addEventListener("pagehide", this.leaving);
  }

  given() {
    return { answer: this.answer.wire(), active_ms: this.clock.activeMs };
  }

  /** Work on this page that is in no sum of the site yet. */
  get extraMs() {
    return this.clock.activeMs - this.before;
  }

  build() {
    const { answer, page, task } = this;
    const room = { answer, page, task, say, revealed: new Set(), veils: page.sensitive && task.blur };
    this.view = LAYOUTS[task.layout](room);
    const work = h("div.work", {}, this.view.element);
    this.place.replaceChildren(h(`div.judge.layout-${task.layout}`, {}, instruction(room), work));
    this.view.update();
  }

  /** What an earlier visit left in this browser, where it goes on from what the site has; else one may choose. */
  restore() {
    showSaved(this.page.draft ? "saved" : "none");
    const left = this.drafts.left();
    if (!left) return;
    if (left.mine) {
      this.answer.take(left.answer);
      this.clock.active = Math.max(this.clock.active, left.active_ms ?? 0);
      this.drafts.changed();
      showSaved("restored");
      return;
    }
    const time = new Date(left.at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    const take = () => this.take(left.answer, () => this.drafts.changed());
    const drop = () => (this.kept.drop(this.drafts.name), dropBar("left"));
    bar("left", "warn", `This browser holds another version of this page, from ${time}, that was never saved.`, [["Take that one", take], ["Throw it away", drop]]);
  }

  /** Another answer in the place of what is on the page. */
  take(wire, after) {
    dropBar("left");
    dropBar("stale");
    this.answer.take(wire ?? {});
    this.build();
    after();
  }

  show(state, detail) {
    showSaved(state, detail);
    if (state === "stale") this.changedElsewhere();
    if (state === "refused") this.failed(detail);
  }

  /** Both are kept until one is chosen. */
  async changedElsewhere() {
    try {
      const page = await call("GET", `assignments/${this.page.assignment}`);
      if (this.drafts.isOwn(page)) return this.drafts.overwrite(page);
      const adopt = () => Object.assign(this.page, { revision: page.revision, draft_version: page.draft_version });
      const other = () => this.take(page.draft ?? page.answer, () => (adopt(), this.drafts.taken(page)));
      const mine = () => (dropBar("stale"), adopt(), this.drafts.overwrite(page));
      const where = page.revision > this.page.revision ? "submitted" : "changed";
      bar("stale", "warn", `This page was ${where} in another tab or on another machine. Which version do you want to go on with? This one stays in this browser until you choose.`,
        [["Keep this one", mine], ["Take the other one", other]]);
    } catch (error) {
      if (error instanceof Refused) this.failed(error);
      else setTimeout(() => this.changedElsewhere(), 3000);
    }
  }

  key(key) {
    return this.sending ? false : this.view.key(key);
  }

  async submit() {
    if (this.sending || !this.complete(this.answer.missing())) return;
    const { page, clock } = this;
    const body = { answer: this.answer.wire({ closed: true }), active_ms: clock.activeMs, wall_ms: clock.wallMs, revision: page.revision };
    this.busy(true);
    await this.drafts.hold();
    const waits = (seconds, why) => bar("sending", "warn", `Not submitted yet: ${why}. Trying again in ${seconds} s; your answer is kept in this browser.`);
    try {
      const receipt = await delivered(this.kept, begun(this.kept, page.assignment, body), waits);
      await this.close();
      const more = receipt.warnings.length ? ` Note: ${receipt.warnings.join("; ")}.` : "";
      await this.submitted(`Page ${page.number} is submitted.${more}`, "done");
    } catch (error) {
      this.busy(false);
      this.drafts.resume();
      if (!(error instanceof Refused)) throw error;
      this.refused(error);
    }
  }

  refused(error) {
    if (error.kind === "stale") this.changedElsewhere();
    else if (error.kind === "taken") this.taken(error);
    else if (error.kind === "invalid" && Object.keys(error.fields).length) {
      this.complete(Object.entries(error.fields).map(([where, what]) => ({ where, say: `${where}: ${what}` })));
    } else this.failed(error);
  }

  /** Others have judged the group: what was written stays in sight, and can be copied. */
  taken(error) {
    const text = this.task.layout === "demonstration" ? this.answer.text : Object.entries(this.answer.notes).map(([letter, note]) => `${letter}: ${note}`).join("\n\n");
    const field = h("textarea", { rows: "10", readonly: true, "aria-label": "Your text" });
    field.value = text;
    const box = dialog("kept");
    const next = h("button.button.primary", { type: "button" }, "Next page");
    next.addEventListener("click", () => (box.close(), this.close({ forget: false }).then(() => this.submitted("On to the next page.", null))));
    box.querySelector(".dialog-body").replaceChildren(h("p", {}, `${error.message}. It was not counted, and what you said stays in your pages as a draft.`), ...(text ? [field] : []), h("div.actions.end", {}, next));
    box.showModal();
  }

  async skip(reason) {
    this.busy(true);
    try {
      await this.drafts.send();
      await call("POST", `assignments/${this.page.assignment}/skip`, { reason });
      await this.close();
      await this.submitted(`Page ${this.page.number} is skipped.`, "skipped");
    } catch (error) {
      this.busy(false);
      if (error instanceof Unreachable) bar("sending", "warn", `Not skipped: ${error.message}. Try again.`);
      else this.failed(error);
    }
  }

  async close({ forget = true } = {}) {
    this.clock.stop();
    document.removeEventListener("visibilitychange", this.leaving);
    window.removeEventListener("pagehide", this.leaving);
    await this.drafts.end({ forget });
    this.busy(false);
  }

  /** While it is on its way nothing can be changed. */
  busy(yes) {
    this.sending = yes;
    this.place.inert = yes;
    for (const name of ["submit", "skip"]) document.getElementById(name).disabled = yes;
    if (!yes) dropBar("sending");
  }

  /** Whether nothing is missing; else it is said, and the first of it shown. */
  complete(missing, go = true) {
    dropBar("missing");
    this.missing = missing;
    if (!missing.length) return true;
    const rows = missing.map(({ where, say }) => h("li", {}, h("button.link", { type: "button", onclick: () => this.view.show(where) }, say)));
    bar("missing", "bad", h("div", {}, h("p.strong", {}, "Not complete yet"), h("ul", {}, rows)));
    if (go) this.view.show(missing[0].where);
    return false;
  }

  /** What was said to be missing, once some of it is there. */
  stillMissing() {
    if (!this.missing?.length) return;
    const before = this.missing.map((one) => one.where);
    this.complete(this.answer.missing().filter((one) => before.includes(one.where)), false);
  }
}
