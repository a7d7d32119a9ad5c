// What one annotator says of one page. It knows nothing of how it is shown.

import { byRatings, fromTiers, placed, tiers } from "./ranks.js";

export class Answer {
  /** task: what the project asks. letters: of the outputs, ["A", "B"]. wire: as the site has it, or null. */
  constructor(task, letters, wire) {
    Object.assign(this, { task, letters, listeners: [] });
    this.take(wire ?? {});
  }

  /** Replaces everything, and tells nobody that something changed. */
  take(wire) {
    this.ratings = { ...wire.ratings };
    this.labels = { ...wire.labels };
    this.notes = { ...wire.notes };
    this.flags = Object.fromEntries(this.letters.map((letter) => [letter, new Set(wire.flags?.[letter])]));
    this.excluded = new Set(wire.excluded);
    this.ranks = fromTiers(wire.ranking ?? []);
    this.bothBad = wire.both_bad === true;
    this.text = wire.text ?? "";
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  get rates() {
    return this.task.layout === "rating" || (["ranking", "pair"].includes(this.task.layout) && this.task.rate);
  }

  get included() {
    return this.letters.filter((letter) => !this.excluded.has(letter));
  }

  get unranked() {
    return this.included.filter((letter) => !this.ranks[letter]);
  }

  rate(letter, rating) {
    this.ratings[letter] = rating;
    this.changed();
  }

  label(letter, good) {
    this.labels[letter] = good;
    this.changed();
  }

  flag(letter, key, yes = !this.flags[letter].has(key)) {
    if (yes) this.flags[letter].add(key);
    else this.flags[letter].delete(key);
    this.changed();
  }

  note(letter, text) {
    this.notes[letter] = text;
    this.changed();
  }

  write(text) {
    this.text = text;
    this.changed();
  }

  /** An output that is not included is in no rank. */
  include(letter, yes) {
    if (yes) this.excluded.delete(letter);
    else this.excluded.add(letter);
    if (!yes) delete this.ranks[letter];
    this.changed();
  }

  /** rank: 1 (best) to K, or null: not ranked. */
  place(letter, rank) {
    this.ranks = placed(this.ranks, letter, rank, { ties: this.task.ties, k: this.letters.length });
    this.changed();
  }

  rankByRatings() {
    this.ranks = byRatings(this.ratings, this.included);
    this.changed();
  }

  clearRanks() {
    this.ranks = {};
    this.changed();
  }

  /** Layout pair: "A", "B", "equal" or "bad". */
  choose(which) {
    this.bothBad = which === "bad";
    this.ranks = { A: which === "B" ? 2 : 1, B: which === "A" ? 2 : 1 };
    this.changed();
  }

  get choice() {
    if (!this.ranks.A || !this.ranks.B) return null;
    if (this.ranks.A === this.ranks.B) return this.bothBad ? "bad" : "equal";
    return this.ranks.A < this.ranks.B ? "A" : "B";
  }

  /** As the site takes it. closed: ranks that are empty in between are closed up. */
  wire({ closed = false } = {}) {
    const { task, letters } = this;
    const said = {};
    const ofLetters = (values) => Object.fromEntries(letters.filter((l) => l in values).map((l) => [l, values[l]]));
    if (this.rates) said.ratings = ofLetters(this.ratings);
    if (task.layout === "thumbs") said.labels = ofLetters(this.labels);
    if (task.layout === "demonstration") return { text: this.text };
    said.flags = Object.fromEntries(letters.map((l) => [l, [...this.flags[l]].sort()]).filter(([, keys]) => keys.length));
    if (task.notes) said.notes = Object.fromEntries(letters.filter((l) => this.notes[l]).map((l) => [l, this.notes[l]]));
    if (["ranking", "pair"].includes(task.layout) && letters.length > 1) this.wireRanks(said, closed);
    return said;
  }

  wireRanks(said, closed) {
    const ranking = tiers(this.ranks, this.letters.length);
    while (ranking.length && !ranking.at(-1).length) ranking.pop();
    said.ranking = closed ? ranking.filter((letters) => letters.length) : ranking;
    said.excluded = [...this.excluded].sort();
    if (this.task.layout === "pair" && this.choice === "bad") said.both_bad = true;
  }

  /** What is still to be done: [{where: "ratings.B", say: "Rate output B"}]. */
  missing() {
    const { task, letters } = this;
    const lacking = [];
    if (this.rates) this.each(lacking, "ratings", this.ratings, "Rate output");
    if (task.layout === "thumbs") this.each(lacking, "labels", this.labels, "Thumb up or down for output");
    if (task.layout === "pair" && !this.choice) lacking.push({ where: "ranking", say: "Choose the better one" });
    if (task.layout === "ranking" && letters.length > 1 && this.unranked.length) {
      lacking.push({ where: "ranking", say: `Rank all outputs: ${this.unranked.join(", ")} left` });
    }
    if (task.layout === "demonstration" && !this.text.trim()) lacking.push({ where: "text", say: "Write the answer" });
    return lacking;
  }

  each(lacking, name, values, say) {
    for (const letter of this.letters) {
      if (!(letter in values)) lacking.push({ where: `${name}.${letter}`, say: `${say} ${letter}` });
    }
  }
}
