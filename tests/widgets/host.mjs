// A host of MCP Apps for tests: a chat whose "model" is the test. It keeps what was said over a
// reload, as hosts do, and shows the old answers again.
import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const UI = "io.modelcontextprotocol/ui";
const MIME = "text/html;profile=mcp-app";
const NOTHING = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:";
const INFO = { name: "test-host", version: "1" };

let client, tools, theme;
const bridges = [];
const resources = new Map();
window.chat = { messages: [], contexts: [] };

window.connect = async (settings) => {
  theme = settings.theme;
  document.documentElement.dataset.theme = theme;
  client = new Client(INFO, {
    capabilities: { extensions: { [UI]: { mimeTypes: [MIME] } } },
    versionNegotiation: { mode: settings.mode ?? "auto" },
  });
  const headers = settings.token ? { Authorization: `Bearer ${settings.token}` } : {};
  await client.connect(new StreamableHTTPClientTransport(new URL(settings.url), { requestInit: { headers } }));
  tools = new Map((await client.listTools()).tools.map((tool) => [tool.name, tool]));
  const before = JSON.parse(sessionStorage.getItem("said") ?? "null");
  if (before) await show(before.name, before.args, before.result);
};

// What the model does: one call, and its answer shown.
window.say = async (name, args, words) => {
  if (words) bubble(words);
  const result = await client.callTool({ name, arguments: args });
  sessionStorage.setItem("said", JSON.stringify({ name, args, result }));
  await show(name, args, result);
  return result;
};

// What the model would be answered, without a widget for it.
window.ask_quietly = (name, args) => client.callTool({ name, arguments: args });

window.dress = (next) => {
  theme = next;
  document.documentElement.dataset.theme = next;
  for (const bridge of bridges) bridge.setHostContext({ ...context(), theme });
};

const context = () => ({ theme, locale: "en-GB", timeZone: "UTC", displayMode: "inline", platform: "web" });

function bubble(text) {
  const line = document.createElement("p");
  line.className = "person";
  line.textContent = text;
  document.querySelector("#chat").append(line);
}

async function show(name, args, result) {
  const uri = tools.get(name)?._meta?.ui?.resourceUri;
  if (!uri) return;
  if (!resources.has(uri)) resources.set(uri, (await client.readResource({ uri })).contents[0]);
  const page = resources.get(uri);
  if (page.mimeType !== MIME) throw new Error(`${uri} is ${page.mimeType}`);
  const frame = document.createElement("iframe");
  frame.title = tools.get(name).title;
  frame.setAttribute("sandbox", "allow-scripts");
  document.querySelector("#chat").append(frame);
  const bridge = new AppBridge(
    client, INFO, { serverTools: {}, serverResources: {}, message: {}, updateModelContext: {} },
    { hostContext: context() });
  bridge.onmessage = async ({ content }) => {
    window.chat.messages.push(content.map((each) => each.text).join("\n"));
    return {};
  };
  bridge.onupdatemodelcontext = async (told) => {
    window.chat.contexts.push(told);
    return {};
  };
  bridge.onsizechange = ({ height }) => { if (height) frame.style.height = `${height}px`; };
  const ready = new Promise((resolve) => { bridge.oninitialized = () => resolve(); });
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.srcdoc = page.text.replace("<head>",
    `<head><meta http-equiv="Content-Security-Policy" content="${NOTHING}">`);
  await ready;
  bridges.push(bridge);
  await bridge.sendToolInput({ arguments: args });
  await bridge.sendToolResult(result);
}

window.hostReady = true;
