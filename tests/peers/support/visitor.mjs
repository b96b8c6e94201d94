// Somebody with a browser elsewhere, who fills in the forms of an authorization
// server by plain HTTP. Owns the cookies; clicks what a test says.

const FORM = /<form[^>]*\smethod="post"[^>]*>[\s\S]*?<\/form>/;
const INPUT = /<input\s[^>]*>/g;

function attribute(tag, name) {
  return tag.match(new RegExp(`\\s${name}="([^"]*)"`))?.[1].replaceAll("&amp;", "&");
}

/** A page: where it is, and what its form would send. */
class Page {
  constructor(url, text) {
    this.url = url;
    this.text = text;
    const [form] = text.match(FORM) ?? [];
    if (form === undefined) return;
    this.action = new URL(attribute(form, "action"), url).href;
    const inputs = form.match(INPUT) ?? [];
    this.fields = Object.fromEntries(inputs.map((tag) => [attribute(tag, "name"), attribute(tag, "value") ?? ""]).filter(([name]) => name));
  }
}

/** The person. */
export class Visitor {
  #cookies = new Map();
  #name;

  constructor(name = "alice") {
    this.#name = name;
  }

  /** Loads a page, through every redirect to a place that starts with `within`. */
  async #load(url, within, body) {
    let request = { method: body === undefined ? "GET" : "POST", body };
    for (;;) {
      const cookie = [...this.#cookies].map((pair) => pair.join("=")).join("; ");
      const response = await fetch(url, { ...request, redirect: "manual", headers: { cookie } });
      for (const set of response.headers.getSetCookie()) {
        const [, name, value] = set.match(/^([^=]+)=([^;]*)/);
        this.#cookies.set(name, value);
      }
      const location = response.headers.get("location");
      if (location === null) return new Page(url, await response.text());
      await response.arrayBuffer();
      url = new URL(location, url).href;
      if (!url.startsWith(within)) return new Page(url, "");
      request = { method: "GET" };
    }
  }

  /** Opens a page and sends its forms, signing in and agreeing, until none is left; returns the last. */
  async agree(url, typed = {}) {
    const within = new URL(url).origin;
    let page = await this.#load(url, within);
    for (let forms = 0; page.action !== undefined; forms += 1) {
      if (forms > 8) throw new Error(`the forms have no end: ${page.url}`);
      page = await this.#load(page.action, within, new URLSearchParams({ ...page.fields, ...this.#answers(page, typed) }));
    }
    return page;
  }

  #answers({ fields }, typed) {
    if ("login" in fields) return { login: this.#name, password: "secret" };
    return "user_code" in fields && fields.user_code === "" ? typed : {};
  }

  /** Opens the page of a device code, and aborts instead of confirming. */
  async refuse(url) {
    const within = new URL(url).origin;
    let page = await this.#load(url, within);
    while (page.action !== undefined && !("confirm" in page.fields)) {
      page = await this.#load(page.action, within, new URLSearchParams(page.fields));
    }
    return this.#load(page.action, within, new URLSearchParams({ ...page.fields, abort: "yes" }));
  }
}
