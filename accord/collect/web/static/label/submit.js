// One submission: named once, kept in this browser, and sent until the site has said that it has it.

import { Unreachable, call } from "./call.js";
import { submissionId } from "./kept.js";

const WAITS = [1, 2, 4, 8, 15, 30]; // seconds between tries

/** What is to be sent for a page: {assignment, body}. It is kept before it is sent. */
export function begun(kept, assignment, body) {
  const submission = { assignment, body: { submission: submissionId(), ...body } };
  kept.put(`submit:${assignment}`, submission);
  return submission;
}

/** Those that an earlier visit could not send. */
export function waiting(kept) {
  return kept.all("submit:").map(([, submission]) => submission).filter((one) => one?.body);
}

/** The receipt. Refused, where the site does not take it. waits(seconds, why): told before each new try. */
export async function delivered(kept, { assignment, body }, waits) {
  for (let tries = 0; ; tries += 1) {
    try {
      const receipt = await call("POST", `assignments/${assignment}/submit`, body);
      kept.drop(`submit:${assignment}`);
      return receipt;
    } catch (error) {
      if (!(error instanceof Unreachable)) {
        if (error.status !== 401) kept.drop(`submit:${assignment}`);
        throw error;
      }
      const seconds = WAITS[Math.min(tries, WAITS.length - 1)];
      waits(seconds, error.message);
      await pause(seconds);
    }
  }
}

/** Ends early when the connection is back. */
function pause(seconds) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, 1000 * seconds);
    function done() {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      resolve();
    }
    window.addEventListener("online", done);
  });
}
