// One user with a desktop, one authorization server and one server that takes its
// tokens, for the length of one test. Owns all of them and the steps that most
// tests share.
import { AuthorizationServer } from "./authorization_server.mjs";
import { Desktop } from "./desktop.mjs";
import { Home } from "./home.mjs";
import { ProtectedServer } from "./protected_server.mjs";
import { startFastMcp } from "./sdk_servers.mjs";
import { until } from "./waiting.mjs";

/** Every server that wants tokens, by name. */
export const PROTECTED = {
  "the TypeScript SDK, Streamable HTTP": (authorization) => ProtectedServer.start(authorization, "http"),
  "the TypeScript SDK, SSE": (authorization) => ProtectedServer.start(authorization, "sse"),
  FastMCP: ({ issuer }) => startFastMcp(issuer),
};

/** What a tool said. */
export const text = (result) => result.content.map((part) => part.text).join("");

/** Says a message, and checks that it comes back. */
export async function echo(client, message) {
  const said = text(await client.callTool({ name: "echo", arguments: { message } }));
  if (said !== message) throw new Error(`echo said ${said}`);
}

/** What a test may use. */
class Scene {
  #people = [];

  constructor(chromium) {
    this.chromium = chromium;
    this.home = new Home();
    this.desktop = new Desktop(this.home);
  }

  /** Somebody at the browser; leaves at the end. */
  async person(options) {
    const person = await this.chromium.person(options);
    this.#people.push(person);
    return person;
  }

  /** Connects the first client: alice signs in on the page that is opened. */
  async signedIn(options) {
    const before = this.desktop.tabs().length;
    const connecting = this.home.connect(this.server.url, { flags: ["--auth-timeout", "90"], ...options });
    // Its failure is the test's, but the page may fail first.
    connecting.catch(() => {});
    this.alice ??= await this.person();
    this.page = await this.alice.signIn(await this.desktop.nextTab(before));
    return connecting;
  }

  /** Connects clients at the same time. */
  connect(count) {
    return Promise.all(Array.from({ length: count }, () => this.home.connect(this.server.url)));
  }

  /** The grant, as status says it. */
  async grant() {
    const { servers } = await this.home.status();
    return servers.find(({ url }) => url === this.server.url).auth[0];
  }

  /** Waits until the access token of the moment has ended by everybody's clock. */
  async expired() {
    for (;;) {
      const { expires_at_unix_ms: end } = await this.grant();
      // It may have been renewed meanwhile, which is done unasked.
      if (Date.now() > end + 1_000) return;
      await until(60_000, "the token to expire", () => Date.now() > end + 1_000);
    }
  }

  async end() {
    await Promise.all(this.#people.map((person) => person.leave()));
    await this.home.end();
    await this.server?.stop();
    await this.authorization?.stop();
  }
}

/** Runs `body` in a new scene. */
export async function protectedScene(chromium, start, body) {
  const scene = new Scene(chromium);
  try {
    scene.authorization = await AuthorizationServer.start();
    scene.server = await start(scene.authorization);
    await body(scene);
  } catch (error) {
    error.message += `\nauthorization server: ${JSON.stringify(scene.authorization?.events)}`;
    throw error;
  } finally {
    await scene.end();
  }
}
