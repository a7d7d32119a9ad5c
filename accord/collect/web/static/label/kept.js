// What is kept in this browser until the site has acknowledged it: drafts, and answers on their way.

/** One place of the browser's store, which may be full or forbidden: then it keeps nothing, and says so. */
export class Kept {
  constructor(account) {
    this.prefix = `accord:${account}:`;
  }

  get(name) {
    try {
      return JSON.parse(localStorage.getItem(this.prefix + name));
    } catch {
      return null;
    }
  }

  /** Whether it is kept. */
  put(name, value) {
    try {
      localStorage.setItem(this.prefix + name, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  }

  drop(name) {
    try {
      localStorage.removeItem(this.prefix + name);
    } catch {
      // nothing is kept, so nothing is to be dropped
    }
  }

  /** [name, value] of all whose names begin so. */
  all(beginning) {
    try {
      const names = Object.keys(localStorage).filter((name) => name.startsWith(this.prefix + beginning));
      return names.map((name) => name.slice(this.prefix.length)).map((name) => [name, this.get(name)]);
    } catch {
      return [];
    }
  }
}

/** A name for one submission, also where the page is not reached over https. */
export function submissionId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
