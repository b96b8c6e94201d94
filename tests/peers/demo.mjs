// Shows the main job on something real: `node demo.mjs FOLDER-OF-MCP-REMOTE`.
// Starts server-everything on a loopback port, pipes a whole conversation
// through mcp-remote without and with a daemon, prints what came back and how
// long it took, then what `mcp-remote status` says, and ends the server.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { performance } from "node:perf_hooks";

import { Everything } from "./support/everything.mjs";

const shim = path.join(process.argv[2], "mcp-remote");

const CONVERSATION = [
  {
    jsonrpc: "2.0",
    id: 0,
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "quickstart", version: "1" } },
  },
  { jsonrpc: "2.0", method: "notifications/initialized" },
  { jsonrpc: "2.0", id: 1, method: "tools/list" },
  { jsonrpc: "2.0", id: 2, method: "tools/call", params: { name: "echo", arguments: { message: "hello" } } },
];

/** Pipes the conversation through the shim; says what the server answered. */
function converse(url) {
  const input = CONVERSATION.map((message) => `${JSON.stringify(message)}\n`).join("");
  const start = performance.now();
  const { status, stdout, stderr, error } = spawnSync(shim, [url], { input, encoding: "utf8", timeout: 60_000 });
  const milliseconds = performance.now() - start;
  if (error) throw error;
  const answers = new Map(
    stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line)).map((answer) => [answer.id, answer]),
  );
  const [initialized, listed, called] = [0, 1, 2].map((id) => answers.get(id)?.result);
  if (status !== 0 || !initialized || !listed || !called) {
    throw new Error(`mcp-remote ended with ${status} and printed\n${stdout}${stderr}`);
  }
  const { name, version } = initialized.serverInfo;
  return { milliseconds, said: `${name} ${version}, ${listed.tools.length} tools, "${called.content[0].text}"` };
}

const server = await Everything.start("streamableHttp");
try {
  console.log(`A real MCP server runs at ${server.url}`);
  console.log(`A whole conversation piped through: mcp-remote ${server.url}`);
  for (const temperature of ["cold (no daemon yet)", "warm", "warm", "warm"]) {
    const { milliseconds, said } = converse(server.url);
    console.log(`  ${temperature.padEnd(20)} ${milliseconds.toFixed(1).padStart(7)} ms   ${said}`);
  }
  console.log("\n$ mcp-remote status");
  const { status, error } = spawnSync(shim, ["status"], { stdio: ["ignore", "inherit", "inherit"], timeout: 60_000 });
  if (error) throw error;
  process.exitCode = status;
} finally {
  await server.stop();
}
