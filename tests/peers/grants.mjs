// Uses every grant that needs no browser here from an empty home, and prints
// what each costs: `npm run grants`, with MCP_REMOTE_BIN_DIR for another build,
// and names of grants for some of them only.
import { GRANTS } from "./support/grants.mjs";
import { inWorld, measure } from "./support/grants_world.mjs";

/** Warm calls, of which the median counts. */
const CALLS = 200;

const wanted = process.argv.slice(2);
const names = wanted.length === 0 ? Object.keys(GRANTS) : wanted;
const unknown = names.filter((name) => GRANTS[name] === undefined);
if (unknown.length > 0) {
  console.error(`no such grant: ${unknown.join("; ")}; there are: ${Object.keys(GRANTS).join("; ")}`);
  process.exit(2);
}

console.log("| grant | first call ms | warm call ms | first call of another client ms | token requests, first call | token requests, warm |");
console.log("|---|---|---|---|---|---|");
for (const name of names) {
  const cost = await inWorld(GRANTS[name], (world) => measure(world, CALLS));
  const { first, warm, other } = cost;
  const cells = [name, first.toFixed(0), warm.toFixed(2), other.toFixed(0), cost.firstRequests, cost.warmRequests];
  console.log(`| ${cells.join(" | ")} |`);
}
