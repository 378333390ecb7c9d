// An empty call on the TypeScript SDK 1.x, served as its own examples do without sessions: the
// server that benchmarks/peers.py measures. The argument is the port.

import { createServer } from "node:http";

import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";

async function answer(request, response) {
  const server = new McpServer({ name: "peer", version: "1" });
  server.registerTool(
    "add",
    { description: "Add.", inputSchema: { a: z.number(), b: z.number() } },
    async ({ a, b }) => ({ content: [{ type: "text", text: String(a + b) }] }),
  );
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: undefined,
    enableJsonResponse: true,
  });
  response.on("close", () => {
    transport.close();
    server.close();
  });
  await server.connect(transport);
  await transport.handleRequest(request, response);
}

createServer(answer).listen(Number(process.argv[2]), "127.0.0.1");
