// Sending again what was not answered.

import { setTimeout as sleep } from "node:timers/promises";
import { transient } from "./failure.js";

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2_000;

/** The pauses between attempts: doubling, each drawn between half and all of that. */
export class Pauses {
  #next = FIRST_PAUSE_MS;

  /** Waits before the next attempt; rejects when the signal ends the waiting. */
  async wait(signal?: AbortSignal): Promise<void> {
    const pause = this.#next / 2 + (Math.random() * this.#next) / 2;
    this.#next = Math.min(2 * this.#next, LONGEST_PAUSE_MS);
    await sleep(pause, undefined, { signal });
  }

  /** Begins anew: something went well. */
  succeeded(): void {
    this.#next = FIRST_PAUSE_MS;
  }
}

/**
 * Calls until the answer is more than "not now", or the signal ends it. The request must be the same
 * each time, for a command with the same command id: however often it arrives, it takes effect once.
 */
export async function again<Response>(
  call: () => Promise<Response>,
  signal?: AbortSignal,
): Promise<Response> {
  const pauses = new Pauses();
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (signal?.aborted || !transient(error)) throw error;
    }
    await pauses.wait(signal);
  }
}
