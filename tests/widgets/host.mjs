// A host for tests: a chat whose "model" is the test. It keeps what was said over a reload, as hosts
// do, and shows the old answers again. It speaks MCP Apps, or is one that offers window.openai.
import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";
import {
  auth, Client, extractWWWAuthenticateParams, StreamableHTTPClientTransport, UnauthorizedError,
} from "@modelcontextprotocol/client";

const UI = "io.modelcontextprotocol/ui";
const MIME = "text/html;profile=mcp-app";
const SKYBRIDGE = "text/html+skybridge";
const NOTHING = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:";
const INFO = { name: "test-host", version: "1" };

let client, tools, theme, form;
const bridges = [];
const resources = new Map();
window.chat = { messages: [], contexts: [], heights: [] };

window.connect = async (settings) => {
  theme = settings.theme;
  form = settings.form === "openai" ? openaiForm : appsForm;
  document.documentElement.dataset.theme = theme;
  client = new Client(INFO, {
    capabilities: { extensions: { [UI]: { mimeTypes: [MIME] } } },
    versionNegotiation: { mode: settings.mode ?? "auto" },
  });
  const headers = settings.token ? { Authorization: `Bearer ${settings.token}` } : {};
  const who = settings.links ? { authProvider: linking() } : { requestInit: { headers } };
  await client.connect(new StreamableHTTPClientTransport(new URL(settings.url), who));
  tools = new Map((await client.listTools()).tools.map((tool) => [tool.name, tool]));
  const before = JSON.parse(sessionStorage.getItem("said") ?? "null");
  if (before) await show(before.name, before.args, before.result);
};

// Linking an account as hosts do: nobody at first; when the shop says that a call needs more, its own
// page opens in a window, and the call goes on when the person comes back from there.
function linking() {
  const kept = { tokens: JSON.parse(sessionStorage.getItem("tokens") ?? "null") ?? undefined };
  const redirectUrl = `${location.origin}/oauth/callback`;
  const provider = {
    redirectUrl,
    clientMetadata: {
      client_name: "test-host", redirect_uris: [redirectUrl], token_endpoint_auth_method: "none",
      grant_types: ["authorization_code"], response_types: ["code"],
    },
    clientInformation: () => ({ client_id: "shop-native" }),
    state: () => (kept.state = crypto.randomUUID()),
    tokens: () => kept.tokens,
    saveTokens: (tokens) => {
      kept.tokens = tokens;
      sessionStorage.setItem("tokens", JSON.stringify(tokens));
    },
    redirectToAuthorization: (to) => { window.open(to, "sign-in"); },
    saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
    codeVerifier: () => kept.verifier,
    saveDiscoveryState: (found) => { kept.discovery = found; },
    discoveryState: () => kept.discovery,
  };
  return {
    token: async () => kept.tokens?.access_token,
    async onUnauthorized({ response, serverUrl }) {
      const asked = { serverUrl, ...extractWWWAuthenticateParams(response) };
      window.chat.asked = [...(window.chat.asked ?? []), asked.scope];
      const channel = new BroadcastChannel("came-back");
      const back = new Promise((resolve) => {
        channel.onmessage = ({ data }) => resolve(new URLSearchParams(data));
      });
      await auth(provider, asked);
      const said = await back;
      channel.close();
      if (said.get("state") !== kept.state) throw new Error("somebody else came back");
      if (said.has("error")) throw new UnauthorizedError("Unauthorized");
      await auth(provider, { ...asked, authorizationCode: said.get("code"), iss: said.get("iss") });
    },
  };
}

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
  for (const bridge of bridges) bridge.dress(next);
};

const context = () => ({ theme, locale: "en-GB", timeZone: "UTC", displayMode: "inline", platform: "web" });

function bubble(text) {
  const line = document.createElement("p");
  line.className = "person";
  line.textContent = text;
  document.querySelector("#chat").append(line);
}

async function show(name, args, result) {
  const uri = form.uri(tools.get(name)?._meta ?? {});
  if (!uri) return;
  if (!resources.has(uri)) resources.set(uri, (await client.readResource({ uri })).contents[0]);
  const page = resources.get(uri);
  if (page.mimeType !== form.mime) throw new Error(`${uri} is ${page.mimeType}`);
  const frame = document.createElement("iframe");
  frame.title = tools.get(name).title;
  frame.setAttribute("sandbox", "allow-scripts");
  document.querySelector("#chat").append(frame);
  await form.show(frame, page.text, args, result);
}

const guarded = (text, more = "") => text.replace("<head>",
  `<head><meta http-equiv="Content-Security-Policy" content="${NOTHING}">${more}`);

const appsForm = { mime: MIME, uri: (meta) => meta.ui?.resourceUri, show: showApp };

async function showApp(frame, text, args, result) {
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
  frame.srcdoc = guarded(text);
  await ready;
  bridges.push({ dress: (next) => bridge.setHostContext({ ...context(), theme: next }) });
  await bridge.sendToolInput({ arguments: args });
  await bridge.sendToolResult(result);
}

// ---- a host that offers window.openai ----

// What the page finds: values it may read, and functions that are answered by this window.
const INJECTED = `(values) => {
  const waiting = new Map();
  let last = 0;
  const ask = (method, params) => new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject });
    parent.postMessage({ openai: last, method, params }, "*");
  });
  addEventListener("message", ({ source, data }) => {
    if (source !== parent || data?.openai === undefined) return;
    if (data.globals) {
      Object.assign(window.openai, data.globals);
      dispatchEvent(new CustomEvent("openai:set_globals", { detail: { globals: data.globals } }));
      return;
    }
    const { resolve, reject } = waiting.get(data.openai);
    waiting.delete(data.openai);
    if (data.error) reject(new Error(data.error)); else resolve(data.result);
  });
  window.openai = {
    ...values,
    callTool: (name, args) => ask("callTool", { name, args }),
    sendFollowUpMessage: ({ prompt }) => ask("sendFollowUpMessage", { prompt }),
    setWidgetState: (state) => {
      window.openai.widgetState = state;
      return ask("setWidgetState", { state });
    },
    notifyIntrinsicHeight: (height) => { ask("notifyIntrinsicHeight", { height }); },
  };
}`;

const openaiForm = { mime: SKYBRIDGE, uri: (meta) => meta["openai/outputTemplate"], show: showOpenai };

// Kept by the session that the answer names, so that the next widget of the same cart finds it.
const widgetStates = new Map();

async function showOpenai(frame, text, args, result) {
  const session = result._meta?.widgetSessionId ?? crypto.randomUUID();
  const values = {
    theme, locale: "en-GB", displayMode: "inline", maxHeight: 2000, userAgent: { device: { type: "desktop" } },
    safeArea: { insets: { top: 0, bottom: 0, left: 0, right: 0 } }, toolInput: args,
    toolOutput: result.structuredContent ?? null, toolResponseMetadata: result._meta ?? null,
    widgetState: widgetStates.get(session) ?? null,
  };
  const does = {
    async callTool({ name, args }) {
      if (tools.get(name)?._meta?.["openai/widgetAccessible"] !== true) {
        throw new Error(`${name} is not for widgets`);
      }
      return client.callTool({ name, arguments: args });
    },
    async sendFollowUpMessage({ prompt }) { window.chat.messages.push(prompt); },
    async setWidgetState({ state }) {
      widgetStates.set(session, state);
      window.chat.contexts.push(state);
    },
    async notifyIntrinsicHeight({ height }) {
      window.chat.heights.push(height);
      frame.style.height = `${height}px`;
    },
  };
  window.addEventListener("message", async ({ source, data }) => {
    if (source !== frame.contentWindow || data?.openai === undefined) return;
    const answer = { openai: data.openai };
    try {
      answer.result = await does[data.method](data.params);
    } catch (error) {
      answer.error = error.message;
    }
    frame.contentWindow.postMessage(answer, "*");
  });
  const loaded = new Promise((resolve) => { frame.addEventListener("load", resolve, { once: true }); });
  const given = JSON.stringify(values).replaceAll("<", "\\u003c");
  frame.srcdoc = guarded(text, `<script>(${INJECTED})(${given})</script>`);
  await loaded;
  bridges.push({
    dress: (next) => frame.contentWindow.postMessage({ openai: 0, globals: { theme: next } }, "*"),
  });
}

window.hostReady = true;
