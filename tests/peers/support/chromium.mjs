// A real browser, Debian's Chromium, and the people who sit before it. Owns its
// process; every person has cookies of their own. It reaches this machine only.
import { accessSync, constants, mkdirSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import path from "node:path";

import { chromium } from "playwright-core";

const PATIENCE = 30_000;

/** Where screenshots go: MCP_REMOTE_SCREENSHOTS, or one folder of this user. */
export const SCREENSHOTS =
  process.env.MCP_REMOTE_SCREENSHOTS ?? path.join(tmpdir(), `mcp-remote-screenshots-${userInfo().uid}`);

/** The browser's program: CHROMIUM, or `chromium` on PATH. */
function program() {
  const named = process.env.CHROMIUM;
  const places = named ? [named] : process.env.PATH.split(path.delimiter).map((folder) => path.join(folder, "chromium"));
  const found = places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (found === undefined) throw new Error("chromium was not found: run install.sh, or name it in CHROMIUM");
  return found;
}

/** The browser. */
export class Chromium {
  #browser;

  /** `elsewhere`: on another machine, where nobody listens for a redirect to ours. */
  static async launch({ elsewhere = false } = {}) {
    // The pages of the authorization server would like fonts from the internet.
    const reachable = elsewhere ? ["127.0.0.1"] : ["127.0.0.1", "localhost"];
    const rules = ["MAP * ~NOTFOUND", ...reachable.map((host) => `EXCLUDE ${host}`)];
    const browser = new Chromium();
    browser.#browser = await chromium.launch({
      executablePath: program(),
      args: [`--host-resolver-rules=${rules.join(", ")}`],
      timeout: PATIENCE,
    });
    return browser;
  }

  /** Somebody whom no server knows yet. */
  async person(options = {}) {
    const context = await this.#browser.newContext({ viewport: { width: 1000, height: 700 }, ...options });
    context.setDefaultTimeout(PATIENCE);
    return new Person(context);
  }

  async close() {
    await this.#browser.close();
  }
}

/** Somebody at the browser. */
export class Person {
  #context;

  constructor(context) {
    this.#context = context;
  }

  /** Opens a tab; it keeps what it was asked to load, and what it said. */
  async open(url) {
    const page = await this.#context.newPage();
    page.loaded = [];
    page.said = [];
    page.on("request", (request) => page.loaded.push(request.url()));
    page.on("console", (message) => page.said.push(message.text()));
    page.on("dialog", (dialog) => {
      page.said.push(`dialog: ${dialog.message()}`);
      return dialog.dismiss();
    });
    await page.goto(url);
    return page;
  }

  /** Logs in and agrees, as far as asked; returns the tab, wherever it ended. */
  async signIn(url, name = "alice") {
    const page = await this.open(url);
    if ((await page.locator("input[name=login]").count()) > 0) {
      await page.fill("input[name=login]", name);
      await page.fill("input[name=password]", "secret");
      await page.click("button[type=submit]");
    }
    await page.click("button:text('Continue')");
    await page.waitForLoadState();
    return page;
  }

  /** Says no; returns the tab. */
  async refuse(url) {
    const page = await this.open(url);
    await page.click("a:text('Cancel')");
    await page.waitForLoadState();
    return page;
  }

  async leave() {
    await this.#context.close();
  }
}

/** Keeps what a tab shows. */
export async function screenshot(page, name) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`) });
}
