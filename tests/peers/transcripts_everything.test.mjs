// The official client and the official reference server, over both of its HTTP
// transports: the same conversation directly and through us has the same
// transcript at both ends.
import { describe } from "node:test";

import { compare } from "./support/comparison.mjs";
import { Everything } from "./support/everything.mjs";
import { EVERYTHING_STEPS } from "./support/everything_steps.mjs";

/** It asks for the roots by itself, and changes its tools before its stream is open, or just after. */
const VARIANT = { greets: true, handshake: { counts: (text) => !text.includes("list_changed") } };

for (const mode of ["streamableHttp", "sse"]) {
  describe(`server-everything, ${mode}`, { timeout: 60_000 }, () => {
    compare(() => Everything.start(mode), VARIANT, EVERYTHING_STEPS);
  });
}
