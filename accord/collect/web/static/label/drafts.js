// A draft goes to the site within a second of each change, and stays in this browser until the site has it.

import { Refused, Unreachable, call } from "./call.js";

const SOON = 600; // milliseconds from a change until it is sent
const WAITS = [1, 2, 4, 8, 15, 30]; // seconds between tries

export class Drafts {
  /** page: as the site gave it. given(): {answer, active_ms} as they are now. show(state, detail): tells the annotator. */
  constructor({ kept, page, given, show }) {
    Object.assign(this, { kept, page, given, show, version: page.draft_version, revision: page.revision });
    this.name = `draft:${page.assignment}`;
    this.flying = []; // marks of what was sent and not acknowledged: it may be stored all the same
    Object.assign(this, { timer: null, sending: null, changes: 0, sent: 0, tries: 0, paused: false, ended: false });
    this.online = () => this.dirty && this.soon(0);
    window.addEventListener("online", this.online);
  }

  /** What an earlier visit left in this browser. mine: it follows on what the site has, else the site has something else. */
  left() {
    const found = this.kept.get(this.name);
    if (!found?.answer) return null;
    if (marked(found.answer) === marked(this.page.draft)) {
      this.kept.drop(this.name); // it arrived after all
      return null;
    }
    const same = found.version === this.version && found.revision === this.revision;
    return { ...found, mine: same || isOwn(this.page, found) };
  }

  /** Whether what the site has is an earlier state of this very page, of which the acknowledgement was lost. */
  isOwn(page) {
    return isOwn(page, this);
  }

  get dirty() {
    return this.changes > this.sent;
  }

  changed() {
    this.changes += 1;
    this.keep();
    if (this.paused) return;
    this.show("saving");
    this.soon(this.tries ? null : SOON);
  }

  keep() {
    const { version, revision, flying } = this;
    this.isKept = this.kept.put(this.name, { ...this.given(), version, revision, flying, at: Date.now() });
  }

  /** null: whenever the timer that runs says. */
  soon(wait) {
    if (wait === null && this.timer) return;
    if (this.timer && wait) return; // a change while others wait does not put them off
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), wait ?? SOON);
  }

  async send({ keepalive = false } = {}) {
    clearTimeout(this.timer);
    this.timer = null;
    while (this.sending) await this.sending;
    if (!this.dirty || this.paused || this.held || this.ended) return;
    this.sending = this.put(keepalive);
    await this.sending;
    this.sending = null;
    if (this.dirty && !this.paused && !this.held && !this.timer) this.soon(this.tries ? this.wait : SOON);
  }

  async put(keepalive) {
    const upTo = this.changes;
    try {
      const body = { version: this.version, ...this.given() };
      this.flying.push(marked(body.answer));
      this.keep();
      const stored = await call("PUT", `assignments/${this.page.assignment}/draft`, body, { keepalive });
      Object.assign(this, { version: stored.version, sent: upTo, tries: 0, flying: [] });
      if (this.dirty) this.keep();
      else if (!this.ended) this.settled();
    } catch (error) {
      this.failed(error);
    }
  }

  /** Nothing more is sent until `resume`: the answer itself is on its way. What is on its way already arrives first. */
  async hold() {
    this.held = true;
    clearTimeout(this.timer);
    this.timer = null;
    if (this.sending) await this.sending;
  }

  resume() {
    this.held = false;
    if (this.dirty) this.soon(SOON);
  }

  settled() {
    this.kept.drop(this.name);
    this.show("saved");
  }

  get wait() {
    return 1000 * WAITS[Math.min(this.tries, WAITS.length) - 1];
  }

  failed(error) {
    if (this.ended) return;
    if (error instanceof Unreachable) {
      this.tries += 1;
      this.show("lost", { why: error.message, kept: this.isKept });
      return;
    }
    if (!(error instanceof Refused)) throw error;
    this.paused = true;
    this.show(error.kind === "stale" ? "stale" : "refused", error);
  }

  /** Goes on from the version that the site has, with what is on the page. */
  overwrite(page) {
    Object.assign(this, { version: page.draft_version, revision: page.revision, paused: false, flying: [] });
    this.changed();
  }

  /** Goes on from what the site has, which is now on the page. */
  taken(page) {
    Object.assign(this, { version: page.draft_version, revision: page.revision, paused: false, sent: this.changes, flying: [] });
    this.settled();
  }

  /** The page was submitted or skipped, or another one is shown. */
  async end({ forget }) {
    this.ended = true;
    clearTimeout(this.timer);
    window.removeEventListener("online", this.online);
    if (this.sending) await this.sending;
    if (forget) this.kept.drop(this.name);
  }
}

function isOwn(page, { version, revision, flying }) {
  return page.revision === revision && page.draft_version === version + 1 && flying?.includes(marked(page.draft)) === true;
}

/** A short mark of an answer (FNV-1a of its JSON, and its length): to know one's own again, not to keep a secret. */
function marked(answer) {
  const text = JSON.stringify(answer);
  let sum = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) sum = Math.imul(sum ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return `${text.length}-${sum}`;
}
