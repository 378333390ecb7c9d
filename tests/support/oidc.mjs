// An authorization server that is not ours, for tests: the certified npm package oidc-provider on
// loopback, with a plane of control (/_admin/…, header x-admin-key) to turn keys, break the JWKS
// and sign anything at all.
//
//   node oidc.mjs FOLDER_OF_NODE_MODULES < one line of JSON: {port, admin_key, scopes, resources,
//                                           users, clients, cimd}
// It prints "READY <issuer>" and ends when its standard input does.
import * as crypto from 'node:crypto';
import * as http from 'node:http';
import { createRequire } from 'node:module';
import * as path from 'node:path';
import * as readline from 'node:readline';
import { pathToFileURL } from 'node:url';

const require = createRequire(path.join(process.argv[2], 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { default: Provider, errors } = await load('oidc-provider');

const HOST = '127.0.0.1';
const MOST_BODY = 2_000_000;
const lines = readline.createInterface({ input: process.stdin });
const config = await new Promise((resolve) => {
  lines.once('line', (line) => resolve(JSON.parse(line)));
});
lines.on('close', () => process.exit(0));

const start = () => ({
  resources: structuredClone(config.resources),
  users: structuredClone(config.users),
  clients: structuredClone(config.clients),
  jwks: { mode: 'ok', delay_ms: 0 },
});
let state = start();
let hits = 0;
let issuer;

// ------------------------------------------------------------------------------------------- keys
const KINDS = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};
const HASHES = { RS256: 'sha256', PS256: 'sha256', ES256: 'sha256', EdDSA: null };

function newKey(alg) {
  const { privateKey } = crypto.generateKeyPairSync(...KINDS[alg]);
  const kid = `${alg.toLowerCase()}-${crypto.randomBytes(6).toString('hex')}`;
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid };
}

let keys = Object.keys(KINDS).map(newKey); // the first of an algorithm signs, all are published
const retired = [];

const known = (kid) => [...keys, ...retired].find((key) => key.kid === kid);

function sign(key, input) {
  const options = { key: crypto.createPrivateKey({ key, format: 'jwk' }) };
  if (key.alg === 'PS256') {
    options.padding = crypto.constants.RSA_PKCS1_PSS_PADDING;
    options.saltLength = crypto.constants.RSA_PSS_SALTLEN_DIGEST;
  }
  if (key.alg === 'ES256') options.dsaEncoding = 'ieee-p1363';
  return crypto.sign(HASHES[key.alg], input, options);
}

const forgetPrivate = ({ d, p, q, dp, dq, qi, ...rest }) => rest;

// --------------------------------------------------------------------------------------- storage
// One Map under every Provider: a turned key is a new Provider, and grants outlive it.
const store = new Map();
class Adapter {
  constructor(name) { this.name = name; }
  key(id) { return `${this.name}:${id}`; }
  async upsert(id, payload, expiresIn) {
    const until = expiresIn ? Date.now() + expiresIn * 1000 : Infinity;
    store.set(this.key(id), { payload, until });
    if (payload.uid) store.set(`uid:${payload.uid}`, this.key(id));
    if (payload.grantId) {
      const family = store.get(`family:${payload.grantId}`) ?? new Set();
      store.set(`family:${payload.grantId}`, family.add(this.key(id)));
    }
  }
  async find(id) {
    const found = store.get(this.key(id));
    return found && found.until > Date.now() ? found.payload : undefined;
  }
  async findByUid(uid) { return store.get(store.get(`uid:${uid}`))?.payload; }
  async findByUserCode() { return undefined; }
  async consume(id) {
    const found = store.get(this.key(id));
    if (found) found.payload.consumed = Math.floor(Date.now() / 1000);
  }
  async destroy(id) { store.delete(this.key(id)); }
  async revokeByGrantId(grantId) {
    for (const key of store.get(`family:${grantId}`) ?? []) store.delete(key);
    store.delete(`family:${grantId}`);
  }
}

// -------------------------------------------------------------------------------------- provider
function build() {
  const made = new Provider(issuer, {
    adapter: Adapter,
    clients: state.clients,
    jwks: { keys },
    scopes: ['openid', 'offline_access', ...config.scopes],
    cookies: { keys: ['for tests only'] },
    pkce: { required: () => true },
    responseTypes: ['code'],
    allowOmittingSingleRegisteredRedirectUri: false,
    rotateRefreshToken: true,
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    ttl: {
      AccessToken: 300, ClientCredentials: 300, AuthorizationCode: 60, IdToken: 300,
      RefreshToken: 3600, Session: 600, Grant: 3600, Interaction: 300,
    },
    clientDefaults: { grant_types: ['authorization_code', 'refresh_token'] },
    findAccount: async (_ctx, id) => (
      state.users[id] ? { accountId: id, claims: async () => ({ sub: id }) } : undefined
    ),
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    extraTokenClaims: (ctx, token) => {
      const authTime = ctx.oidc.entities.AuthorizationCode?.authTime;
      return token.accountId && authTime ? { auth_time: authTime } : undefined;
    },
    features: {
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: {
        enabled: true, allowedPolicy: async (_ctx, client) => client.clientId === 'resource-server',
      },
      revocation: { enabled: true },
      registration: { enabled: true },
      registrationManagement: { enabled: true },
      dPoP: { enabled: true },
      pushedAuthorizationRequests: { enabled: true },
      ...(config.cimd ? { clientIdMetadataDocument: { enabled: true, ack: 'draft-02' } } : {}),
      resourceIndicators: {
        enabled: true,
        defaultResource: (_ctx, _client, oneOf) => oneOf ?? undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: async (_ctx, indicator) => {
          const resource = state.resources[indicator];
          if (!resource) throw new errors.InvalidTarget();
          const opaque = resource.format === 'opaque';
          return {
            scope: resource.scope,
            audience: indicator,
            accessTokenFormat: opaque ? 'opaque' : 'jwt',
            accessTokenTTL: resource.ttl ?? 300,
            ...(opaque ? {} : { jwt: { sign: { alg: resource.alg ?? 'RS256' } } }),
          };
        },
      },
    },
  });
  made.on('server_error', (_ctx, error) => console.error('server_error', error));
  return made;
}

let provider;
let handler;
function rebuild() { provider = build(); handler = provider.callback(); }

// Signs in whom login_hint names and consents to what that person may grant.
async function interaction(req, res) {
  const asked = await provider.interactionDetails(req, res);
  const who = asked.params.login_hint ?? asked.session?.accountId;
  if (!state.users[who]) {
    return provider.interactionFinished(req, res, {
      error: 'access_denied', error_description: 'that person said no',
    });
  }
  if (asked.prompt.name === 'login') {
    const login = { accountId: who };
    return provider.interactionFinished(req, res, { login }, { mergeWithLastSubmission: false });
  }
  const { accountId } = asked.session;
  const grant = asked.grantId
    ? await provider.Grant.find(asked.grantId)
    : new provider.Grant({ accountId, clientId: asked.params.client_id });
  const may = state.users[accountId].grant;
  const allowed = (scope) => may === '*' || may.includes(scope);
  const missing = asked.prompt.details;
  if (missing.missingOIDCScope) grant.addOIDCScope(missing.missingOIDCScope.join(' '));
  for (const [resource, scopes] of Object.entries(missing.missingResourceScopes ?? {})) {
    const yes = scopes.filter(allowed);
    const no = scopes.filter((scope) => !allowed(scope));
    if (yes.length) grant.addResourceScope(resource, yes.join(' '));
    if (no.length) grant.rejectResourceScope(resource, no.join(' '));
  }
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(req, res, { consent }, { mergeWithLastSubmission: true });
}

// ------------------------------------------------------------------------------- plane of control
async function body(req) {
  let size = 0;
  const parts = [];
  for await (const part of req) {
    size += part.length;
    if (size > MOST_BODY) throw new Error('too much');
    parts.push(part);
  }
  return parts.length ? JSON.parse(Buffer.concat(parts)) : {};
}

function json(res, status, value) {
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify(value));
}

const listed = () => ({
  keys: keys.map(forgetPrivate), retired: retired.map(forgetPrivate), hits, jwks: state.jwks,
});

const controls = {
  state: () => listed(),
  rotate: ({ alg }) => { keys.unshift(newKey(alg)); rebuild(); return listed(); },
  retire: () => { // publish only the newest key of each algorithm
    const seen = new Set();
    keys = keys.filter((key) => {
      if (!seen.has(key.alg)) return seen.add(key.alg);
      retired.push(key);
      return false;
    });
    rebuild();
    return listed();
  },
  jwks: ({ mode, delay_ms }) => {
    state.jwks = { mode: mode ?? 'ok', delay_ms: delay_ms ?? 0 };
    return listed();
  },
  sign: ({ kid, input }) => ({
    signature: sign(known(kid), Buffer.from(input, 'base64url')).toString('base64url'),
  }),
  resources: (more) => { Object.assign(state.resources, more); return listed(); },
  users: (more) => { Object.assign(state.users, more); return listed(); },
  clients: (more) => {
    const names = new Set(more.map((client) => client.client_id));
    const others = state.clients.filter((client) => !names.has(client.client_id));
    state.clients = [...others, ...more];
    rebuild();
    return listed();
  },
  reset: () => { state = start(); rebuild(); return listed(); },
};

async function control(req, res, name) {
  if (req.headers['x-admin-key'] !== config.admin_key) return json(res, 403, { error: 'forbidden' });
  if (!Object.hasOwn(controls, name)) return json(res, 404, { error: 'no such control' });
  return json(res, 200, controls[name](await body(req)));
}

async function jwks(res) {
  hits += 1;
  const { mode, delay_ms: delay } = state.jwks;
  if (delay) await new Promise((resolve) => { setTimeout(resolve, delay); });
  const published = { keys: keys.map(forgetPrivate) };
  switch (mode) {
    case 'down': return json(res, 503, { error: 'down' });
    case 'html':
      res.writeHead(200, { 'content-type': 'text/html' });
      return res.end('<!doctype html><title>Sign in</title>');
    case 'redirect':
      res.writeHead(302, { location: '/jwks-elsewhere' });
      return res.end();
    case 'huge': { // 50 MB, or as much as the other side is ready to read
      res.writeHead(200, { 'content-type': 'application/json' });
      res.write('{"keys":[],"padding":"');
      const block = 'x'.repeat(1_000_000);
      for (let n = 0; n < 50 && !res.destroyed; n += 1) {
        if (!res.write(block)) {
          await new Promise((resolve) => { res.once('drain', resolve); res.once('close', resolve); });
        }
      }
      return res.end('"}');
    }
    case 'drip': // a byte at a time, for as long as anybody listens
      res.writeHead(200, { 'content-type': 'application/json' });
      for (let n = 0; n < 200 && !res.destroyed; n += 1) {
        res.write(' ');
        await new Promise((resolve) => { setTimeout(resolve, 100); });
      }
      return res.end();
    case 'oct':
      return json(res, 200, { keys: [
        { kty: 'oct', kid: 'shared', alg: 'HS256', use: 'sig', k: 'c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0' },
        ...published.keys,
      ] });
    case 'list': return json(res, 200, published.keys);
    default: return json(res, 200, published);
  }
}

const server = http.createServer(async (req, res) => {
  try {
    const { pathname } = new URL(req.url, issuer);
    if (pathname.startsWith('/_admin/')) return await control(req, res, pathname.slice(8));
    if (pathname.startsWith('/interaction/')) return await interaction(req, res);
    if (pathname === '/jwks') return await jwks(res);
    if (pathname === '/jwks-elsewhere') return json(res, 200, { keys: keys.map(forgetPrivate) });
    return await handler(req, res);
  } catch (error) {
    console.error(error);
    if (res.headersSent) return res.end();
    return json(res, 500, { error: String(error) });
  }
});
server.listen(config.port, HOST, () => {
  issuer = `http://${HOST}:${server.address().port}`;
  rebuild();
  console.log(`READY ${issuer}`);
});
