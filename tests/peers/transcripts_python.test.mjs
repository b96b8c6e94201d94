// The official client and a server on the official Python SDK: the same
// conversation directly and through us has the same transcript at both ends.
import { describe } from "node:test";

import { compare } from "./support/comparison.mjs";
import { SDK_STEPS } from "./support/sdk_steps.mjs";
import { startPython } from "./support/sdk_servers.mjs";

/** What each mode can do: messages beside a call, and unasked; or how the client finds it. */
const VARIANTS = {
  stateful: { logs: 2, unasked: true },
  "stateful, warm": { logs: 2, unasked: true, warm: true },
  json: { logs: 1, unasked: true, json: true },
  stateless: { logs: 1, unasked: false, stateless: true },
  sse: { logs: 2, unasked: true },
  "sse, warm": { logs: 2, unasked: true, warm: true },
};

for (const [mode, variant] of Object.entries(VARIANTS)) {
  describe(`Python, ${mode}`, { timeout: 60_000 }, () => {
    compare(() => startPython(mode.split(",")[0]), variant, SDK_STEPS);
  });
}
