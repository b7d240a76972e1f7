"""The protocol: the SDK's server, over standard input and output or HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from importlib.metadata import version
from typing import Any

from mcp.server.lowlevel import Server as ProtocolServer
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ToolDescription

from pgretrieval.errors import InputError
from pgretrieval.mcp.tools import INSTRUCTIONS, TOOLS, Tool
from pgretrieval.serve import health
from pgretrieval.serve.answers import as_json
from pgretrieval.serve.errors import answer_to
from pgretrieval.serve.guard import Guard
from pgretrieval.serve.requests import read_json
from pgretrieval.serve.server import Server, warm_up
from pgretrieval.serve.service import Service

PATH = "/mcp"

_TOOLS = {tool.name: tool for tool in TOOLS}


def create_server(service: Service) -> ProtocolServer[Any]:
    """Return the SDK's server with the tools."""

    async def list_tools(_context: Any, _parameters: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_described(tool) for tool in TOOLS])

    async def call_tool(_context: Any, parameters: CallToolRequestParams) -> CallToolResult:
        try:
            with service.calls.admitted():
                answer = await _answer(service, parameters)
        except Exception as error:  # whatever the library or a model raises becomes an answer
            told = answer_to(error)[1]["error"]
            text = f"{told['type']}: {told['message']}; {told['remedy']}"
            return CallToolResult(content=[TextContent(text=text)], is_error=True)
        return CallToolResult(content=[TextContent(text=as_json(answer).decode())], structured_content=answer)

    return ProtocolServer(
        "pgretrieval",
        version=version("pgretrieval"),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def serve_stdio(service: Service) -> None:
    """Serve one agent over standard input and output until it closes them. Nothing else is written to standard output.

    SIGTERM and Ctrl-C end the process, because the SDK's thread that reads standard input cannot be interrupted.
    """

    def leave() -> None:
        service.database.close()
        os._exit(0)

    async def run() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, leave)
        server = create_server(service)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    asyncio.run(run())


def serve_http(service: Service, listening: socket.socket) -> None:
    """Serve agents at `/mcp` until SIGTERM or Ctrl-C; load the models meanwhile."""
    server, probes = create_server(service), health.probes(service)
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        custom_starlette_routes=probes,
        max_request_body_size=service.options.max_body,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # the guard's work
    )
    guarded = Guard(app, service, frozenset(route.path for route in probes))
    warm_up(service)

    async def run() -> None:
        async with server.session_manager.run():
            await Server(service, guarded).serve(sockets=[listening])

    asyncio.run(run())


async def _answer(service: Service, parameters: CallToolRequestParams) -> dict[str, Any]:
    """Return the answer of a tool. Raises the errors of the library and the service."""
    tool = _TOOLS.get(parameters.name)
    if tool is None:
        msg = f"there is no tool {parameters.name[:100]!r}; call one of {', '.join(_TOOLS)}"
        raise InputError(msg)
    work, loop = tool.work, asyncio.get_running_loop()
    asked = read_json(tool.request, as_json(parameters.arguments or {}))
    return await service.calls.run(lambda: work(service, asked), loop.create_future(), loop.time() + service.options.seconds)


def _described(tool: Tool) -> ToolDescription:
    return ToolDescription(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.request.model_json_schema(),
        output_schema=tool.answer.model_json_schema(),
        annotations=ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False),
    )
