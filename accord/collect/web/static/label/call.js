// Calls of the site's own JSON interface, and how they fail.

const TIMEOUT = 20_000; // milliseconds

/** The site said no. kind: a word; what, fix: sentences; fields: what is wrong, by the part of the answer. */
export class Refused extends Error {
  constructor(status, { kind = "refused", what = `the site answered ${status}`, fix = "", fields = {} } = {}) {
    super(what);
    Object.assign(this, { status, kind, what, fix, fields });
  }
}

/** No answer, or one that means: later. */
export class Unreachable extends Error {}

export async function call(method, path, body, { keepalive = false } = {}) {
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response, said;
  try {
    const given = { method, headers, keepalive, credentials: "same-origin", cache: "no-store" };
    if (body !== undefined) given.body = JSON.stringify(body);
    response = await fetch(`/api/v1/${path}`, { ...given, signal: AbortSignal.timeout(TIMEOUT) });
    said = response.status === 204 ? null : await response.json().catch(() => undefined);
  } catch {
    throw new Unreachable("connection lost");
  }
  if (response.status === 507) throw new Unreachable("the server has no room left");
  if (response.status >= 500 || response.status === 429) throw new Unreachable("the server is busy");
  if (!response.ok) throw new Refused(response.status, said?.error);
  if (said === undefined) throw new Unreachable("the answer was cut off");
  return said;
}

function csrf() {
  return document.querySelector('meta[name="csrf"]')?.content ?? "";
}
