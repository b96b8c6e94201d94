// Finds and replaces parts of JSON text without parsing and printing it again,
// which would lose what the suites look for: big integers, escapes, order.

/** Where `pattern` is found at `at` or later. */
function next(text, pattern, at) {
  pattern.lastIndex = at;
  const found = pattern.exec(text);
  if (found === null) throw new Error(`not JSON: ${text.slice(0, 200)}`);
  return found.index;
}

/** Where the value that begins at `at` ends. */
function valueEnd(text, at) {
  if (text[at] === '"') {
    let end = next(text, /["\\]/g, at + 1);
    while (text[end] === "\\") end = next(text, /["\\]/g, end + 2);
    return end + 1;
  }
  if (text[at] !== "{" && text[at] !== "[") return next(text, /[,\]}\s]|$/g, at);
  for (let depth = 0, end = at; ; ) {
    const mark = text[end];
    if (mark === '"') {
      end = valueEnd(text, end);
    } else {
      depth += mark === "{" || mark === "[" ? 1 : -1;
      end++;
    }
    if (depth === 0) return end;
    end = next(text, /["{}[\]]/g, end);
  }
}

/** The members of the object that begins at `from`: name to [begin, end] of its value. */
export function members(text, from = 0) {
  const skip = (at) => at + /^[\s,:]*/.exec(text.slice(at, at + 100))[0].length;
  const found = {};
  let at = skip(text.indexOf("{", from) + 1);
  while (text[at] === '"') {
    const nameEnd = valueEnd(text, at);
    const name = JSON.parse(text.slice(at, nameEnd));
    const begin = skip(nameEnd);
    const end = valueEnd(text, begin);
    found[name] = [begin, end];
    at = skip(end);
  }
  return found;
}

/** The place of the value at `path`, or undefined. */
function place(text, path) {
  let from = next(text, /\S/g, 0);
  let found;
  for (const name of path) {
    if (text[from] !== "{") return undefined;
    found = members(text, from)[name];
    if (found === undefined) return undefined;
    from = found[0];
  }
  return found;
}

/** The text of the value at `path`, or undefined. */
export function textAt(text, ...path) {
  const found = place(text, path);
  return found && text.slice(...found);
}

/** Puts `value` where the value at `path` stands, if there is one. */
function put(text, path, value) {
  const found = place(text, path);
  return found ? text.slice(0, found[0]) + value + text.slice(found[1]) : text;
}

/**
 * Hides what a bridge may replace on the way to a server: the ids of requests
 * and answers, progress tokens, and what cancellations name.
 */
export function withoutIds(text) {
  const paths = [["id"], ["params", "_meta", "progressToken"]];
  const method = textAt(text, "method");
  if (method === '"notifications/cancelled"') paths.push(["params", "requestId"]);
  if (method === '"notifications/progress"') paths.push(["params", "progressToken"]);
  return paths.reduce((text, path) => put(text, path, '"#"'), text);
}

/** Hides the ids of what the server asks: towards a client they are ours. */
export function withoutServerIds(text) {
  const method = textAt(text, "method");
  if (method === undefined) return text;
  const cancelled = method === '"notifications/cancelled"';
  return put(text, cancelled ? ["params", "requestId"] : ["id"], '"#"');
}
