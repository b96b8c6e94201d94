"""A real MCP server on FastMCP that wants tokens: `fastmcp_server.py PORT ISSUER`.

It finds the issuer's keys and verifies JWTs by itself, and publishes where its
tokens come from.
"""

import sys

from fastmcp import FastMCP
from fastmcp.server.auth import RemoteAuthProvider
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token
from pydantic import AnyHttpUrl

port, issuer = int(sys.argv[1]), sys.argv[2]
base = f"http://127.0.0.1:{port}"
verifier = JWTVerifier(
    jwks_uri=f"{issuer}/jwks",
    issuer=issuer,
    audience=f"{base}/mcp",
    required_scopes=["tools"],
)
auth = RemoteAuthProvider(
    token_verifier=verifier,
    authorization_servers=[AnyHttpUrl(issuer)],
    base_url=base,
    resource_name="the FastMCP server",
)
server = FastMCP("fastmcp-server", version="1.2.3", auth=auth)


@server.tool
def echo(message: str) -> str:
    return message


@server.tool
def whoami() -> str:
    return get_access_token().claims["sub"]


server.run(
    transport="http",
    host="127.0.0.1",
    port=port,
    show_banner=False,
    uvicorn_config={"access_log": False, "timeout_graceful_shutdown": 1},
)
