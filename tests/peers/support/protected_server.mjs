// A real MCP server that wants tokens, in this process: the official TypeScript
// SDK with its bearer middleware and its metadata, in front of either of its
// transports. Tokens are verified by jose with the issuer's published keys.
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { performance } from "node:perf_hooks";

import { InvalidTokenError } from "@modelcontextprotocol/sdk/server/auth/errors.js";
import { requireBearerAuth } from "@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js";
import { getOAuthProtectedResourceMetadataUrl, mcpAuthMetadataRouter } from "@modelcontextprotocol/sdk/server/auth/router.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { SSEServerTransport } from "@modelcontextprotocol/sdk/server/sse.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import express from "express";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { z } from "zod";

import { SCOPES } from "./authorization_server.mjs";

/** What a token says, if it is one of this issuer for this resource. */
export function verifier(issuer, resource) {
  const keys = createRemoteJWKSet(new URL("/jwks", issuer));
  return {
    async verifyAccessToken(token) {
      const checks = { issuer, audience: resource.href, typ: "at+jwt", algorithms: ["RS256"] };
      const { payload } = await jwtVerify(token, keys, checks).catch((error) => {
        throw new InvalidTokenError(error.message);
      });
      return {
        token,
        clientId: payload.client_id,
        scopes: payload.scope?.split(" ") ?? [],
        expiresAt: payload.exp,
        resource: new URL(payload.aud),
        extra: { subject: payload.sub, key: payload.cnf?.jkt },
      };
    },
  };
}

/** The SDK's own guard: takes a token from whoever bears it, until it distrusts that token. */
export class BearerGuard {
  #borne = new Set();
  #distrusted = new Set();
  /** What the resource's metadata says besides. */
  metadata = {};

  /** The check of a server at `resource` for tokens with these scopes. */
  wanting(issuer, resource, requiredScopes) {
    const { verifyAccessToken } = verifier(issuer, resource);
    return requireBearerAuth({
      verifier: {
        verifyAccessToken: (token) => {
          if (this.#distrusted.has(token)) throw new InvalidTokenError("this token is trusted no more");
          this.#borne.add(token);
          return verifyAccessToken(token);
        },
      },
      requiredScopes,
      resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(resource),
      expectedResource: resource,
    });
  }

  /** Refuses every token that was used until now, though none has expired. */
  distrustAll() {
    for (const token of this.#borne) this.#distrusted.add(token);
  }
}

function tools() {
  const server = new McpServer({ name: "protected-server", version: "1.0.0" });
  const said = (text) => ({ content: [{ type: "text", text }] });
  server.registerTool("echo", { inputSchema: { message: z.string() } }, ({ message }) => said(message));
  server.registerTool("whoami", {}, ({ authInfo }) => said(authInfo.extra.subject));
  server.registerTool("administer", {}, ({ authInfo }) => said(`done by ${authInfo.extra.subject}`));
  return server;
}

/** The server: `http` (Streamable HTTP) or `sse`. */
export class ProtectedServer {
  #listener;
  #sessions = new Map();
  #mode;
  /** Who looks at the tokens. */
  guard;
  /** Milliseconds that were spent on good tokens. */
  checking = 0;
  /** How often a message was refused, by status. */
  refused = { 401: 0, 403: 0 };

  /** Starts it; `guard` decides which tokens do. */
  static async start(authorizationServer, mode = "http", guard = new BearerGuard()) {
    const server = new ProtectedServer();
    server.#mode = mode;
    server.guard = guard;
    const app = express();
    server.#listener = app.listen(0, "127.0.0.1");
    await once(server.#listener, "listening");
    const resourceServerUrl = new URL(server.url);
    app.get(new URL(getOAuthProtectedResourceMetadataUrl(resourceServerUrl)).pathname, server.#metadata);
    app.use(
      mcpAuthMetadataRouter({
        oauthMetadata: await authorizationServer.metadata(),
        resourceServerUrl,
        scopesSupported: [SCOPES.usual],
        resourceName: "the protected server",
      }),
    );
    app.use(server.#guarded(authorizationServer.issuer, resourceServerUrl));
    server.#serve(app);
    return server;
  }

  get url() {
    const path = this.#mode === "sse" ? "/sse" : "/mcp";
    return `http://127.0.0.1:${this.#listener.address().port}${path}`;
  }

  /** Adds what the guard says of itself to what the SDK says of the resource. */
  #metadata = (_request, response, next) => {
    const say = response.json.bind(response);
    response.json = (metadata) => say({ ...metadata, ...this.guard.metadata });
    next();
  };

  /** Wants a token, and another one for the tool that is not for everybody. */
  #guarded(issuer, resource) {
    const usual = this.guard.wanting(issuer, resource, [SCOPES.usual]);
    const more = this.guard.wanting(issuer, resource, [SCOPES.usual, SCOPES.more]);
    return [
      express.json({ limit: "4mb" }),
      (request, response, next) => {
        response.on("finish", () => {
          if (response.statusCode in this.refused) this.refused[response.statusCode] += 1;
        });
        const { method, params } = request.body ?? {};
        const check = method === "tools/call" && params?.name === "administer" ? more : usual;
        const begun = performance.now();
        return check(request, response, (...error) => {
          this.checking += performance.now() - begun;
          next(...error);
        });
      },
    ];
  }

  #serve(app) {
    if (this.#mode === "sse") {
      app.get("/sse", async (_request, response) => {
        const transport = new SSEServerTransport("/messages", response);
        this.#sessions.set(transport.sessionId, transport);
        await tools().connect(transport);
      });
      app.post("/messages", async (request, response) => {
        const transport = this.#sessions.get(request.query.sessionId);
        if (transport === undefined) response.status(404).end();
        else await transport.handlePostMessage(request, response, request.body);
      });
      return;
    }
    app.all("/mcp", async (request, response) => {
      const id = request.headers["mcp-session-id"];
      const transport = id === undefined ? await this.#open() : this.#sessions.get(id);
      if (transport === undefined) response.status(404).end();
      else await transport.handleRequest(request, response, request.body);
    });
  }

  async #open() {
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => this.#sessions.set(id, transport),
    });
    await tools().connect(transport);
    return transport;
  }

  async stop() {
    this.#listener.closeAllConnections();
    this.#listener.close();
    await once(this.#listener, "close");
  }
}
