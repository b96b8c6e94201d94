// The desktop of one HOME: a browser that our programs may start, which only
// notes what it was given. A test takes the URL from there to a real one.
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import { until } from "./waiting.mjs";

/** A program for BROWSER, and a file that says how it was called. */
export class Desktop {
  #log;

  /** Gives `home` a desktop. */
  constructor(home) {
    const browser = path.join(home.folder, "browser");
    this.#log = path.join(home.folder, "tabs");
    writeFileSync(this.#log, "");
    // One write a call, so that calls at the same time do not mix.
    writeFileSync(browser, `#!/bin/sh\nprintf '%s %s\\n' "$#" "$*" >>'${this.#log}'\n`, { mode: 0o700 });
    home.variables.BROWSER = browser;
  }

  /** Every URL so far, each of which was the only word. */
  tabs() {
    const lines = readFileSync(this.#log, "utf8").split("\n").filter(Boolean);
    return lines.map((line) => {
      const url = line.match(/^1 (http:\S+)$/)?.[1];
      if (url === undefined) throw new Error(`the browser was called with ${line}`);
      return url;
    });
  }

  /** Waits for a tab after the first `before`, and returns its URL. */
  async nextTab(before) {
    await until(30_000, "a browser to be opened", () => this.tabs().length > before);
    return this.tabs()[before];
  }
}
