// Time of work: while the page is in sight, and until a minute after the last sign of life.

export const IDLE = 60_000;
const SIGNS = ["pointerdown", "pointermove", "keydown", "wheel", "scroll", "touchmove", "input"];

export class Clock {
  /** active: milliseconds of work on this page before. now: for tests. */
  constructor(active = 0, now = () => performance.now()) {
    Object.assign(this, { now, active, started: now(), counted: now(), sign: now() });
    this.listening = new AbortController();
    const options = { capture: true, passive: true, signal: this.listening.signal };
    for (const name of SIGNS) window.addEventListener(name, () => this.alive(), options);
    document.addEventListener("visibilitychange", () => this.count(document.visibilityState === "visible"), options);
  }

  alive() {
    this.count();
    this.sign = this.now();
  }

  /** Adds what has gone by since the last time. hidden: what went by was out of sight. */
  count(hidden = document.visibilityState === "hidden") {
    const now = this.now();
    const until = Math.min(now, this.sign + IDLE);
    if (!hidden) this.active += Math.max(0, until - this.counted);
    this.counted = now;
    if (hidden) this.sign = now;
  }

  get activeMs() {
    this.count();
    return Math.round(this.active);
  }

  get wallMs() {
    return Math.round(this.now() - this.started);
  }

  stop() {
    this.listening.abort();
  }
}

/** 05:39, or 1:05:39. */
export function clockTime(ms) {
  const seconds = Math.floor(ms / 1000);
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60].map((part) => String(part).padStart(2, "0"));
  return seconds >= 3600 ? [Math.floor(seconds / 3600), ...parts].join(":") : parts.join(":");
}
