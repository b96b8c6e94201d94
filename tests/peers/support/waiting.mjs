// Owns every wait of the suite: each has a deadline and says what it waited
// for. Events are awaited; only what has no event is polled.
import { StringDecoder } from "node:string_decoder";

/** Awaits `promise`, at most `milliseconds`. */
export async function within(milliseconds, what, promise) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${milliseconds} ms for ${what}`)), milliseconds);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks `condition` until it gives something truthy, and returns that. */
export async function until(milliseconds, what, condition) {
  const end = Date.now() + milliseconds;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${milliseconds} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Calls `take` with every line of UTF-8 text that comes in chunks. */
export class Lines {
  #decoder = new StringDecoder("utf8");
  #pieces = [];
  #take;

  constructor(take) {
    this.#take = take;
  }

  push(chunk) {
    const parts = this.#decoder.write(chunk).split("\n");
    // Joined once: a long line comes in many chunks.
    for (const part of parts.slice(0, -1)) {
      this.#take([...this.#pieces, part].join(""));
      this.#pieces = [];
    }
    this.#pieces.push(parts.at(-1));
  }

  end() {
    const rest = this.#pieces.join("");
    if (rest) this.#take(rest);
  }
}

/** Calls `take` with every line of a stream, which others may read too. */
export function linesOf(stream, take) {
  const lines = new Lines(take);
  stream.on("data", (chunk) => lines.push(chunk));
  stream.on("end", () => lines.end());
}
