// node oauth_client.mjs <sdk 1|2> <url> <legacy|new> <redirect uri> <client id>
// Prints an authorization URL, reads the code from standard input, calls tools, prints a report.
import { createInterface } from "node:readline/promises";

const [version, url, era, redirectUrl, clientId] = process.argv.slice(2);
const folder = version === "1" ? "@modelcontextprotocol/sdk/client" : "@modelcontextprotocol/client";
const one = version === "1";
const { Client } = await import(one ? `${folder}/index.js` : folder);
const { StreamableHTTPClientTransport } = await import(one ? `${folder}/streamableHttp.js` : folder);
const { UnauthorizedError } = await import(one ? `${folder}/auth.js` : folder);

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const kept = {};
const provider = {
  redirectUrl,
  clientMetadata: {
    client_name: "node", redirect_uris: [redirectUrl], token_endpoint_auth_method: "none",
    grant_types: ["authorization_code", "refresh_token"], response_types: ["code"],
  },
  clientInformation: () => ({ client_id: clientId }),
  saveClientInformation: () => {},
  tokens: () => kept.tokens,
  saveTokens: (tokens) => {
    kept.tokens = { ...tokens };
    // 1.x refreshes when it should step up, and a refresh cannot ask for more: it would give up.
    if (one) delete kept.tokens.refresh_token;
  },
  redirectToAuthorization: (to) => say({ authorize: String(to) }),
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  codeVerifier: () => kept.verifier,
};

const options = { versionNegotiation: { mode: era === "new" ? { pin: "2026-07-28" } : "legacy" } };
async function signedIn(work) {
  for (let round = 0; round < 3; round++) {
    const client = new Client({ name: "node", version: "1" }, one ? {} : options);
    const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
    try {
      await client.connect(transport);
      const found = await work(client);
      await client.close();
      return found;
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error;
      const { code, iss } = JSON.parse((await lines.next()).value);
      await transport.finishAuth(code, iss);
    }
  }
  throw new Error("never signed in");
}

const call = async (client, name, args) =>
  (await client.callTool({ name, arguments: args })).structuredContent;
const peeked = await signedIn(async (client) => ({
  tools: (await client.listTools()).tools.length,
  available: (await call(client, "peek", {})).available,
}));
const taken = await signedIn((client) => call(client, "take", { quantity: 1 }));
say({ ...peeked, taken: taken.available });
process.exit(0);
