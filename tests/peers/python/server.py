"""A real MCP server on the official Python SDK: `server.py MODE PORT`.

The tools do what the suites need to see both ways of a message; they are the
same as those of ../rmcp-server. MODE is `stateful` (streams of events, with an
event store), `json` (documents instead of streams), `stateless` or `sse`.
"""

import asyncio
import json
import os
import sys
import warnings
from collections import Counter, defaultdict

import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

# Sampling, roots and logging are what the suites are about.
warnings.filterwarnings("ignore", category=MCPDeprecationWarning)

LARGEST_BODY = 64 * 1024 * 1024
PAGE = 5
RETRY_MS = 200
COUNT_FILE = os.environ.get("COUNT_FILE", os.devnull)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
URIS = [f"test://resource/{n}" for n in range(7)]

cancelled = defaultdict(asyncio.Event)
subscribed = Counter()


class MemoryEvents(EventStore):
    """Every event of every session, in one list; ids are positions in it."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return f"event/{len(self.events) - 1}"

    async def replay_events_after(self, last_event_id, send_callback):
        last = int(last_event_id.removeprefix("event/"))
        stream_id = self.events[last][0]
        for index, (stream, message) in list(enumerate(self.events))[last + 1 :]:
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, f"event/{index}"))
        return stream_id


def text(value):
    """A result of one text: what a tool says of a value."""
    said = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return types.CallToolResult(content=[types.TextContent(type="text", text=said)])


def plain(model):
    """What the client answered, as JSON."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def echo(ctx, arguments):
    result = text(arguments)
    result.structured_content = arguments
    return result


async def media(ctx, arguments):
    return types.CallToolResult(
        content=[
            types.ImageContent(type="image", data=PIXEL, mime_type="image/png"),
            types.AudioContent(type="audio", data="UklGRg==", mime_type="audio/wav"),
            types.ResourceLink(type="resource_link", name="zero", uri=URIS[0]),
            types.EmbeddedResource(
                type="resource",
                resource=types.TextResourceContents(uri=URIS[1], text="é \u2028 \U0001f600"),
            ),
        ],
        _meta={"vendor.example/field": {"null": None, "big": 2**63 + 1}},
    )


async def fail(ctx, arguments):
    return types.CallToolResult(content=[types.TextContent(type="text", text="it failed")], is_error=True)


async def refuse(ctx, arguments):
    raise MCPError(-31999, "refused \u2028 é", {"null": None, "big": 2**64 + 1, "list": [1, 1.0, "1"]})


async def slow(ctx, arguments):
    steps = arguments.get("steps", 3)
    for step in range(1, steps + 1):
        await asyncio.sleep(arguments.get("ms", 20) / 1000)
        await ctx.session.report_progress(step, steps, f"step {step}")
    return text(f"{steps} steps")


async def wait(ctx, arguments):
    try:
        await ctx.session.report_progress(1, None, "waiting")
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        cancelled[arguments["key"]].set()
        raise
    return text("nobody cancelled")


async def was_cancelled(ctx, arguments):
    await asyncio.wait_for(cancelled[arguments["key"]].wait(), 10)
    return text("cancelled")


async def sample(ctx, arguments):
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=arguments["prompt"]))
    answer = await ctx.session.create_message([message], max_tokens=7, related_request_id=ctx.request_id)
    return text(plain(answer))


async def elicit(ctx, arguments):
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
    return text(plain(await ctx.session.elicit_form("Which colour?", schema, ctx.request_id)))


async def elicit_url(ctx, arguments):
    answer = await ctx.session.elicit_url("Please look", "https://example.com/x?y=1", "e-1", ctx.request_id)
    await ctx.session.send_elicit_complete("e-1", ctx.request_id)
    return text(plain(answer))


async def roots(ctx, arguments):
    return text(plain(await ctx.session.list_roots()))


async def ping(ctx, arguments):
    return text(plain(await ctx.session.send_ping()))


async def log(ctx, arguments):
    for related in (ctx.request_id, None):
        where = "beside the call" if related else "apart from it"
        await ctx.session.send_log_message("warning", {"where": where, "null": None}, "a logger", related)
    return text("logged")


async def touch(ctx, arguments):
    if subscribed[arguments["uri"]] > 0:
        await ctx.session.send_resource_updated(arguments["uri"])
    return text("touched")


async def change(ctx, arguments):
    await ctx.session.send_tool_list_changed()
    await ctx.session.send_prompt_list_changed()
    await ctx.session.send_resource_list_changed()
    return text("changed")


async def count(ctx, arguments):
    with open(COUNT_FILE, "a", encoding="utf-8") as file:
        file.write(f"call {arguments['key']}\n")
    await ctx.session.report_progress(1, None, "counted")
    await asyncio.sleep(arguments.get("ms", 0) / 1000)
    return text("counted")


async def poll(ctx, arguments):
    """Hangs up before it answers: the client has to come back for the answer."""
    with open(COUNT_FILE, "a", encoding="utf-8") as file:
        file.write(f"call {arguments['key']}\n")
    await ctx.session.report_progress(1, 3, "before")
    if ctx.close_sse_stream is not None:
        # The SDK writes the first event of a stream, with the id to come back with,
        # beside this: a stream that is closed before it is empty, and lost.
        await asyncio.sleep(0.1)
        await ctx.close_sse_stream()
    await ctx.session.report_progress(2, 3, "meanwhile")
    await asyncio.sleep(arguments.get("ms", 300) / 1000)
    await ctx.session.report_progress(3, 3, "after")
    return text("polled")


async def large(ctx, arguments):
    return text("漢x" * (arguments["bytes"] // 4))


TOOLS = {
    tool.__name__: tool
    for tool in [
        echo, media, fail, refuse, slow, wait, was_cancelled, sample, elicit, elicit_url, roots, ping,
        log, touch, change, count, poll, large,
    ]
}  # fmt: skip


def page(items, params):
    start = int(params.cursor) if params and params.cursor else 0
    end = start + PAGE
    return items[start:end], str(end) if end < len(items) else None


async def list_tools(ctx, params):
    names, cursor = page(list(TOOLS), params)
    tools = [
        types.Tool(
            name=name,
            description=f"The tool {name}.",
            input_schema={"type": "object", "additionalProperties": True},
            annotations=types.ToolAnnotations(read_only_hint=name == "echo"),
            _meta={"vendor.example/number": 9007199254740993},
        )
        for name in names
    ]
    return types.ListToolsResult(tools=tools, next_cursor=cursor)


async def call_tool(ctx, params):
    if params.name not in TOOLS:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    return await TOOLS[params.name](ctx, params.arguments or {})


async def list_resources(ctx, params):
    uris, cursor = page(URIS, params)
    return types.ListResourcesResult(
        resources=[types.Resource(name=uri[-1], uri=uri, mime_type="text/plain") for uri in uris], next_cursor=cursor
    )


async def read_resource(ctx, params):
    if params.uri not in URIS:
        raise MCPError(-32002, "Resource not found", {"uri": params.uri})
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text=f"This is {params.uri}")])


async def list_templates(ctx, params):
    template = types.ResourceTemplate(name="any", uri_template="test://resource/{n}")
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def subscribe(ctx, params):
    subscribed[params.uri] += 1
    return types.EmptyResult()


async def unsubscribe(ctx, params):
    subscribed[params.uri] -= 1
    return types.EmptyResult()


async def list_prompts(ctx, params):
    argument = types.PromptArgument(name="city", required=True)
    return types.ListPromptsResult(prompts=[types.Prompt(name="weather", arguments=[argument])])


async def get_prompt(ctx, params):
    if params.name != "weather":
        raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
    said = types.TextContent(type="text", text=f"The weather in {(params.arguments or {}).get('city')}?")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=said)])


async def complete(ctx, params):
    cities = [city for city in ("Ghent", "Geneva", "Lima") if city.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=cities, total=len(cities), has_more=False))


async def set_level(ctx, params):
    return types.EmptyResult()


class PeersServer(Server):
    """Says that its lists may change, which the apps below do not ask for."""

    def create_initialization_options(self, notification_options=None, *rest, **named):
        return super().create_initialization_options(NotificationOptions(True, True, True), *rest, **named)


server = PeersServer(
    "python-server",
    version="1.2.3",
    instructions="A server for tests. é \U0001f600",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_resources=list_resources,
    on_read_resource=read_resource,
    on_list_resource_templates=list_templates,
    on_subscribe_resource=subscribe,
    on_unsubscribe_resource=unsubscribe,
    on_list_prompts=list_prompts,
    on_get_prompt=get_prompt,
    on_completion=complete,
    on_set_logging_level=set_level,
)


async def note_handshakes(ctx, call_next):
    if ctx.method == "initialize":
        with open(COUNT_FILE, "a", encoding="utf-8") as file:
            file.write("initialize\n")
    return await call_next(ctx)


server.middleware.append(note_handshakes)


def sse_app():
    transport = SseServerTransport("/messages/", max_request_body_size=LARGEST_BODY)

    async def connect(request):
        async with transport.connect_sse(request.scope, request.receive, request._send) as (read, write):
            await server.run(read, write, server.create_initialization_options())
        return Response()

    messages = Mount("/messages/", app=transport.handle_post_message)
    return Starlette(routes=[Route("/sse", endpoint=connect, methods=["GET"]), messages])


def http_app(mode):
    return server.streamable_http_app(
        json_response=mode == "json",
        stateless_http=mode == "stateless",
        event_store=MemoryEvents() if mode == "stateful" else None,
        retry_interval=RETRY_MS if mode == "stateful" else None,
        max_request_body_size=LARGEST_BODY,
    )


def main():
    mode, port = sys.argv[1], int(sys.argv[2])
    app = sse_app() if mode == "sse" else http_app(mode)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="info", access_log=False, timeout_graceful_shutdown=1)


main()
