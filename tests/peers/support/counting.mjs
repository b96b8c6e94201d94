// Loaded into server-everything before it starts: writes every call that it is
// about to execute, and every handshake, to the file COUNT_FILE, at once.
import { appendFileSync } from "node:fs";

import { Protocol } from "@modelcontextprotocol/sdk/shared/protocol.js";

const handle = Protocol.prototype._onrequest;

Protocol.prototype._onrequest = function (request, extra) {
  const { method, params } = request;
  if (method === "initialize") appendFileSync(process.env.COUNT_FILE, "initialize\n");
  if (method === "tools/call") {
    const { key, message } = params.arguments;
    appendFileSync(process.env.COUNT_FILE, `call ${key ?? message}\n`);
  }
  return handle.call(this, request, extra);
};
