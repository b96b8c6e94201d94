// Owns every wait of the suite: each has a deadline and says what it waited
// for. Events are awaited; only what has no event is polled.

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

/** Calls `take` with every line of a stream of UTF-8 text. */
export function linesOf(stream, take) {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk) => {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop();
    parts.forEach(take);
  });
  stream.on("end", () => rest && take(rest));
}
