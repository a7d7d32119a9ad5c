// Dragging with mouse, pen or finger: a copy follows the pointer, and the place beneath it is marked.

const FAR = 6; // pixels from which it is a drag and no click
const EDGE = 70; // pixels from the window's edge where it scrolls

/** card: is dragged anywhere by mouse and pen, by a finger only at its grip (elsewhere a finger scrolls).
 *  dropped(zone): with the element under the pointer that matches `zones`. */
export function draggable(card, { zones, dropped }) {
  card.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest("[data-grip]");
    const control = event.target.closest("button, select, a, input, textarea, summary, .is-read");
    if (event.button !== 0 || (control && !grip) || (event.pointerType === "touch" && !grip)) return;
    new Drag(card, event, zones, dropped);
  });
}

class Drag {
  constructor(card, { clientX, clientY, pointerId }, zones, dropped) {
    Object.assign(this, { card, pointerId, zones, dropped, start: [clientX, clientY], at: [clientX, clientY], ghost: null });
    this.listening = new AbortController();
    const options = { signal: this.listening.signal };
    window.addEventListener("pointermove", (event) => this.move(event), options);
    window.addEventListener("pointerup", (event) => event.pointerId === pointerId && this.end(true), options);
    window.addEventListener("pointercancel", () => this.end(false), options);
    window.addEventListener("blur", () => this.end(false), options);
    window.addEventListener("keydown", (event) => this.key(event), { ...options, capture: true });
  }

  key(event) {
    if (event.key !== "Escape" || !this.ghost) return;
    event.preventDefault();
    event.stopPropagation();
    this.end(false);
  }

  move(event) {
    if (event.pointerId !== this.pointerId) return;
    this.at = [event.clientX, event.clientY];
    const [dx, dy] = [this.at[0] - this.start[0], this.at[1] - this.start[1]];
    if (!this.ghost && Math.hypot(dx, dy) < FAR) return;
    if (!this.ghost) this.lift();
    event.preventDefault();
    this.ghost.style.transform = `translate(${dx}px, ${dy}px) rotate(1deg)`;
    this.mark(document.elementFromPoint(...this.at)?.closest(this.zones) ?? null);
  }

  lift() {
    const box = this.card.getBoundingClientRect();
    this.ghost = this.card.cloneNode(true);
    this.ghost.classList.add("ghost");
    this.ghost.inert = true;
    for (const named of this.ghost.querySelectorAll("[id]")) named.removeAttribute("id");
    Object.assign(this.ghost.style, { left: `${box.left}px`, top: `${box.top}px`, width: `${box.width}px` });
    document.body.append(this.ghost);
    document.body.classList.add("is-dragging");
    this.card.classList.add("is-lifted");
    getSelection()?.removeAllRanges();
    this.scroll();
  }

  /** Near the upper or lower edge the page moves along. */
  scroll() {
    if (!this.ghost) return;
    const [, y] = this.at;
    const near = y < EDGE ? y - EDGE : Math.max(0, y - (window.innerHeight - EDGE));
    if (near) window.scrollBy(0, near / 5);
    requestAnimationFrame(() => this.scroll());
  }

  mark(zone) {
    if (zone === this.zone) return;
    this.zone?.classList.remove("is-over");
    zone?.classList.add("is-over");
    this.zone = zone;
  }

  end(drop) {
    const { zone, ghost } = this;
    this.mark(null);
    this.listening.abort();
    this.card.classList.remove("is-lifted");
    document.body.classList.remove("is-dragging");
    this.ghost = null;
    if (!ghost) return;
    ghost.remove();
    if (drop && zone) this.dropped(zone);
  }
}
