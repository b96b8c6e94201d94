// A real MCP server that wants tokens, in this process: the official TypeScript
// SDK with its bearer middleware and its metadata, in front of either of its
// transports. Tokens are verified by jose with the issuer's published keys.
import { randomUUID } from "node:crypto";
import { once } from "node:events";

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
function verifier(issuer, resource) {
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
        scopes: payload.scope.split(" "),
        expiresAt: payload.exp,
        resource: new URL(payload.aud),
        extra: { subject: payload.sub },
      };
    },
  };
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
  /** How often a message was refused, by status. */
  refused = { 401: 0, 403: 0 };

  static async start(authorizationServer, mode = "http") {
    const server = new ProtectedServer();
    server.#mode = mode;
    const app = express();
    server.#listener = app.listen(0, "127.0.0.1");
    await once(server.#listener, "listening");
    const resourceServerUrl = new URL(server.url);
    app.use(
      mcpAuthMetadataRouter({
        oauthMetadata: await authorizationServer.metadata(),
        resourceServerUrl,
        scopesSupported: [SCOPES.usual],
        resourceName: "the protected server",
      }),
    );
    app.use(server.#bearer(authorizationServer.issuer, resourceServerUrl));
    server.#serve(app);
    return server;
  }

  get url() {
    const path = this.#mode === "sse" ? "/sse" : "/mcp";
    return `http://127.0.0.1:${this.#listener.address().port}${path}`;
  }

  /** Wants a token, and another one for the tool that is not for everybody. */
  #bearer(issuer, resource) {
    const wanting = (...requiredScopes) =>
      requireBearerAuth({
        verifier: verifier(issuer, resource),
        requiredScopes,
        resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(resource),
        expectedResource: resource,
      });
    const usual = wanting(SCOPES.usual);
    const more = wanting(SCOPES.usual, SCOPES.more);
    return [
      express.json({ limit: "4mb" }),
      (request, response, next) => {
        response.on("finish", () => {
          if (response.statusCode in this.refused) this.refused[response.statusCode] += 1;
        });
        const { method, params } = request.body ?? {};
        const check = method === "tools/call" && params?.name === "administer" ? more : usual;
        return check(request, response, next);
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
