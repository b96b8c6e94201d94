"""An MCP server without sessions; /private wants a sign-in that nobody finishes."""

import http.server
import json
import sys

RESULTS = {
    "initialize": {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "stub", "version": "1"},
    },
    "tools/call": {"content": [{"type": "text", "text": "hello"}]},
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=None, headers=()):
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    @property
    def base(self):
        return "http://127.0.0.1:%d" % self.server.server_port

    def do_GET(self):
        if "oauth-protected-resource" in self.path:
            resource = {"resource": self.base + "/private", "authorization_servers": [self.base]}
            return self.answer(200, resource)
        if "oauth-authorization-server" in self.path:
            return self.answer(
                200,
                {
                    "issuer": self.base,
                    "authorization_endpoint": self.base + "/authorize",
                    "token_endpoint": self.base + "/token",
                    "registration_endpoint": self.base + "/register",
                    "response_types_supported": ["code"],
                    "code_challenge_methods_supported": ["S256"],
                },
            )
        return self.answer(405)

    def do_DELETE(self):
        self.answer(200)

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/register":
            return self.answer(201, {**message, "client_id": "stub"})
        if self.path == "/private":
            metadata = self.base + "/.well-known/oauth-protected-resource"
            challenge = 'Bearer resource_metadata="%s"' % metadata
            return self.answer(401, {}, [("WWW-Authenticate", challenge)])
        if "id" not in message:
            return self.answer(202)
        result = RESULTS.get(message["method"], {})
        return self.answer(200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[1], "w") as port:
    port.write("%d\n" % server.server_port)
server.serve_forever()
