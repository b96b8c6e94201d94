// The official client and a server on rmcp: the same conversation directly and
// through us has the same transcript at both ends.
import { describe } from "node:test";

import { compare } from "./support/comparison.mjs";
import { SDK_STEPS } from "./support/sdk_steps.mjs";
import { startRmcp } from "./support/sdk_servers.mjs";

const VARIANTS = {
  stateful: { logs: 1, unasked: true },
  // It asks the client and never hears the answer: the call has no end.
  stateless: { logs: 1, unasked: true, stateless: true, hearsNothing: true },
};

for (const [mode, variant] of Object.entries(VARIANTS)) {
  describe(`rmcp, ${mode}`, { timeout: 60_000 }, () => {
    compare(() => startRmcp(mode), variant, SDK_STEPS);
  });
}
