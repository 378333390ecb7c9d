// node --import signed.mjs <program>: a bearer token from the environment on every HTTP request.
// The runner has no option for one. It uses fetch and undici (one dispatcher) and http.request.
import http from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const token = process.env.CONFORMANCE_TOKEN;
const named = (name) => String(name).toLowerCase() === "authorization";

function signed(headers) {
  if (Array.isArray(headers)) {
    const there = headers.some((name, place) => place % 2 === 0 && named(name));
    return there ? headers : [...headers, "authorization", `Bearer ${token}`];
  }
  const plain =
    headers && typeof headers[Symbol.iterator] === "function" ? Object.fromEntries(headers) : headers;
  const there = Object.keys(plain ?? {}).some(named);
  return there ? plain : { ...plain, authorization: `Bearer ${token}` };
}

if (token) {
  const { Agent, setGlobalDispatcher } = createRequire(pathToFileURL(process.argv[1]))("undici");
  const compose = (dispatch) => (options, handler) =>
    dispatch({ ...options, headers: signed(options.headers) }, handler);
  setGlobalDispatcher(new Agent().compose(compose));
  const request = http.request;
  http.request = (options, ...rest) => {
    const plain = typeof options === "object" && !(options instanceof URL);
    return request(plain ? { ...options, headers: signed(options.headers) } : options, ...rest);
  };
}
