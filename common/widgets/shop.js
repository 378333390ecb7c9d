"use strict";

/* What every widget shares: talking to the host, drawing, saying what went wrong.
 *
 * A host is either one that speaks MCP Apps (JSON-RPC by postMessage with the parent window) or one
 * that puts window.openai into the page. What comes from the shop is data: it becomes text, never
 * markup. The shop's database is the truth: a widget shows what it was answered last, and reads
 * again when it is loaded and when it is looked at again. */
const shop = (() => {
  const VERSION = "2026-01-26";
  const LONGEST_MS = 60_000;
  const AGAIN_MS = 3_000;
  const DIGITS = { 0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND", 4: "CLF UYW" };
  const EXPONENT = new Map(Object.entries(DIGITS).flatMap(
    ([digits, names]) => names.split(" ").map((name) => [name, Number(digits)])));

  /* The closed codes of the shop's refusals: what a person reads above the message, and whether
   * trying the same once more can help. */
  const REFUSED = {
    not_authenticated: ["Please sign in first", false],
    insufficient_scope: ["This needs your permission first", false],
    invalid_parameters: ["Something is missing or not right", false],
    not_found: ["This is not here", false],
    product_not_found: ["Which product is meant?", false],
    cart_not_found: ["This cart is no longer there", false],
    rule_violation: ["This cannot be done", false],
    insufficient_stock: ["There are not enough left", false],
    insufficient_funds: ["There is not enough money on it", false],
    cart_operation_failed: ["The cart could not be changed", false],
    conflict: ["It changed meanwhile", true],
    idempotency_conflict: ["This was already asked for differently", false],
    possible_duplicate: ["This was asked for a moment ago", false],
    policy_denied: ["The shop does not allow this", false],
    approval_invalid: ["Not approved", true],
    rate_limited: ["A little too fast", true],
    upstream_error: ["A provider did not answer", true],
    busy: ["The shop is busy", true],
    storage_full: ["The shop has no room to write this down", true],
    internal_error: ["Something broke on the shop's side", true],
    unreachable: ["The shop did not answer", true],
    cancelled: ["This was stopped", false],
  };

  const can = { call: false, message: false, context: false, read: false };
  const state = { data: null, input: {}, notice: null, busy: 0, loaded: false };
  let view = null, main = null, said = null, locale, zone, host = null;
  let queue = Promise.resolve(), readAt = 0, later = 0, acts = 0;
  let pressed = false, owed = false;

  /* ---- hosts ---- */

  function appsHost() {
    const waiting = new Map();
    let last = 0;
    const post = (message) => window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
    const request = (method, params) => new Promise((resolve, reject) => {
      const id = ++last;
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(new Error("no answer"));
      }, LONGEST_MS);
      waiting.set(id, { resolve, reject, timer });
      post({ id, method, params });
    });
    const heard = {
      "ui/notifications/tool-input": (params) => { state.input = params.arguments ?? {}; },
      "ui/notifications/tool-result": (params) => arrived(params),
      "ui/notifications/tool-cancelled": () => refuse({ code: "cancelled" }),
      "ui/notifications/host-context-changed": (params) => dress(params),
    };
    window.addEventListener("message", (event) => {
      const message = event.data;
      if (event.source !== window.parent || message?.jsonrpc !== "2.0") return;
      if (message.method) {
        if (message.id === undefined) heard[message.method]?.(message.params ?? {});
        else if (["ping", "ui/resource-teardown"].includes(message.method)) post({ id: message.id, result: {} });
        else post({ id: message.id, error: { code: -32601, message: "Method not found" } });
        return;
      }
      const asked = waiting.get(message.id);
      if (!asked) return;
      waiting.delete(message.id);
      clearTimeout(asked.timer);
      if (message.error) asked.reject(new Error(message.error.message));
      else asked.resolve(message.result);
    });
    return {
      async open() {
        const info = { name: `shop-${view.name}`, version: "1" };
        const found = await request("ui/initialize",
          { appInfo: info, appCapabilities: {}, protocolVersion: VERSION });
        const offered = found.hostCapabilities ?? {};
        can.call = "serverTools" in offered;
        can.read = "serverResources" in offered;
        can.message = "message" in offered;
        can.context = "updateModelContext" in offered;
        dress(found.hostContext ?? {});
        post({ method: "ui/notifications/initialized", params: {} });
        new ResizeObserver(() => post({
          method: "ui/notifications/size-changed",
          params: { width: document.documentElement.scrollWidth,
            height: Math.ceil(document.body.getBoundingClientRect().height) },
        })).observe(document.body);
      },
      call: (name, args) => request("tools/call", { name, arguments: args }),
      read: async (uri) => (await request("resources/read", { uri })).contents[0],
      message: (text) => request("ui/message", { role: "user", content: [{ type: "text", text }] }),
      context: (text, data) => request("ui/update-model-context",
        { content: [{ type: "text", text }], structuredContent: data }),
    };
  }

  function openaiHost() {
    const api = window.openai;
    const look = () => {
      dress({ theme: api.theme, locale: api.locale });
      state.input = api.toolInput ?? {};
      if (!state.loaded && api.toolOutput) arrived({ structuredContent: api.toolOutput });
    };
    return {
      async open() {
        can.call = typeof api.callTool === "function";
        can.message = typeof api.sendFollowUpMessage === "function";
        can.context = typeof api.setWidgetState === "function";
        window.addEventListener("openai:set_globals", look);
        look();
        new ResizeObserver(() => api.notifyIntrinsicHeight?.(document.body.scrollHeight))
          .observe(document.body);
      },
      call: (name, args) => api.callTool(name, args),
      read: () => Promise.reject(new Error("not offered")),
      message: (text) => api.sendFollowUpMessage({ prompt: text }),
      context: (text, data) => api.setWidgetState({ text, data }),
    };
  }

  function dress(context) {
    if (context.theme) document.documentElement.dataset.theme = context.theme;
    if (context.locale) {
      try { locale = Intl.getCanonicalLocales(context.locale)[0]; } catch { locale = undefined; }
    }
    if (context.timeZone) zone = context.timeZone;
    if (state.loaded) paint();
  }

  /* ---- what is answered ---- */

  function structured(result) {
    if (result?.structuredContent) return result.structuredContent;
    try { return JSON.parse(result.content[0].text); } catch { return {}; }
  }

  /** Whether it is an answer: if not, the notice says what it is instead. */
  function settle(result, intent) {
    const data = structured(result);
    const refused = result?.isError || (data.code in REFUSED && "message" in data);
    if (refused) state.notice = { refusal: data, intent };
    else if (data.status === "approval_required") state.notice = { waiting: data, intent };
    else state.notice = null;
    return state.notice ? null : data;
  }

  function arrived(result) {
    const first = !state.loaded;
    state.loaded = true;
    const data = settle(result, null);
    if (data) state.data = data;
    paint();
    if (data && first) again();
  }

  function refuse(refusal, intent = null) {
    state.loaded = true;
    state.notice = { refusal, intent };
    paint();
  }

  /** Read again what is shown: somebody else, or the model, may have changed it. */
  async function again() {
    const wanted = state.data && can.call ? view.again?.(state.data) : null;
    const early = readAt + AGAIN_MS - Date.now();
    if (!wanted || later) return;
    if (early > 0) {
      later = setTimeout(() => { later = 0; again(); }, early);
      return;
    }
    readAt = Date.now();
    const before = acts;
    try {
      const result = await host.call(wanted.tool, wanted.args);
      const data = structured(result);
      // What a person did meanwhile is newer.
      if (!result.isError && data.status !== "approval_required" && acts === before) {
        state.data = data;
        paint();
      }
    } catch { /* what is shown stays: nobody asked for anything */ }
  }

  /* ---- what a person does ---- */

  /** One intent: asked for one after the other, with one idempotency key however often tried.
   * {tool, args, changes, said, then}: `said` goes to the screen reader and to the model. */
  function act(intent) {
    if (intent.changes) intent.args = { idempotency_key: key(), ...intent.args };
    queue = queue.then(() => attempt(intent));
    return queue;
  }

  async function attempt(intent) {
    acts += 1;
    state.busy += 1;
    paint();
    let data = null;
    try {
      data = settle(await host.call(intent.tool, intent.args), intent);
    } catch (error) {
      const outside = /unauthori[sz]ed|\b401\b|sign.?in/i.test(error.message);
      state.notice = { refusal: { code: outside ? "not_authenticated" : "unreachable" }, intent };
    }
    state.busy -= 1;
    if (data) {
      readAt = Date.now();
      if (intent.then) intent.then(data);
      else state.data = data;
      const words = typeof intent.said === "function" ? intent.said(data) : intent.said;
      if (words) say(words);
      if (intent.changes && can.context) {
        const told = `The person did this in the widget: ${words ?? intent.tool}`;
        Promise.resolve(host.context(told, data)).catch(() => {});
      }
    }
    paint();
    if (!data) main.querySelector("[role=alert] h2")?.focus();
  }

  /** Something said to the chat, as if the person had typed it. */
  function ask(text) {
    return Promise.resolve(host.message(text))
      .then(() => say("Sent to the chat."))
      .catch(() => refuse({ code: "unreachable" }));
  }

  function say(text) {
    said.textContent = "";
    setTimeout(() => { said.textContent = text; }, 50);
  }

  function key() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return `w_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }

  /* ---- drawing ---- */

  /** An element. Children are elements or text; nothing is ever read as markup. */
  function h(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name === "key") made.dataset.key = value;
      else made.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(3)) {
      if (child !== null && child !== undefined && child !== false) made.append(child);
    }
    return made;
  }

  function button(label, name, onclick, more = {}) {
    return h("button", { type: "button", key: name, onclick, ...more }, label);
  }

  /** Nothing is drawn anew under a finger: the press would be lost. */
  function press(down) {
    pressed = down;
    if (!down && owed) paint();
  }

  function paint() {
    owed = pressed;
    if (pressed) return;
    const active = document.activeElement;
    const name = main.contains(active) ? active.dataset.key : undefined;
    const typed = [...main.querySelectorAll("input[type=text][data-key], input[type=search][data-key]")]
      .map((input) => [input.dataset.key, input.value]);
    const body = state.data ? view.draw(state.data)
      : state.notice ? [] : [h("p", { class: "soft" }, "One moment…")];
    main.setAttribute("aria-busy", String(state.busy > 0 || !state.loaded));
    main.replaceChildren(...[noticed(), state.data ? null : heading(view.title), body].flat(3)
      .filter(Boolean));
    for (const [key, value] of typed) {
      const input = main.querySelector(`input[data-key="${CSS.escape(key)}"]`);
      if (input) input.value = value;
    }
    if (name) {
      const same = main.querySelector(`[data-key="${CSS.escape(name)}"]`);
      (same ?? main.querySelector("h1"))?.focus();
    }
  }

  function heading(...words) {
    return h("h1", { tabindex: "-1" }, ...words);
  }

  function empty(title, text, ...more) {
    return h("div", { class: "empty" }, h("h2", null, title), h("p", { class: "soft" }, text), more);
  }

  function noticed() {
    if (!state.notice) return null;
    const { refusal, waiting, intent } = state.notice;
    return waiting ? waits(waiting, intent) : refuses(refusal, intent);
  }

  function refuses(refusal, intent) {
    const [title, retry] = REFUSED[refusal.code] ?? ["That did not work", false];
    const wait = refusal.details?.retry_after_s;
    return h("section", { class: "note bad", role: "alert" },
      h("h2", { tabindex: "-1" }, title),
      refusal.message && h("p", null, refusal.message),
      wait && h("p", { class: "small" }, `Try again in ${wait} s.`),
      view.refused?.(refusal, intent),
      h("div", { class: "row" },
        retry && intent && button("Try again", "retry", () => act(intent)),
        refusal.code === "not_authenticated" && can.message
          && button("Sign in", "sign-in", () => ask("I would like to sign in to the shop.")),
        state.data && button("Close", "close", () => { state.notice = null; paint(); })));
  }

  function waits(waiting, intent) {
    const preview = waiting.preview ?? {};
    const who = { 1: "You decide", 2: "Another person decides", 3: "Two other people decide" };
    return h("section", { class: "note warn", role: "alert" },
      h("h2", { tabindex: "-1" }, "Waiting for a decision"),
      h("p", null, `${who[waiting.level] ?? "A person decides"}: nothing was changed yet.`),
      preview.title && h("p", null, h("strong", null, preview.title)),
      preview.lines?.length > 0 && h("ul", { class: "small" }, preview.lines.map((line) => h("li", null, line))),
      preview.amount && h("p", null, `Amount: ${preview.amount}`),
      h("p", { class: "small" }, waiting.decide_at ? `Decide at ${waiting.decide_at}`
        : `Decide with: ${waiting.how}`),
      h("p", { class: "small soft" }, `Until ${when(waiting.expires_at)}. Check code ${waiting.digest8}.`),
      h("div", { class: "row" },
        intent && button("It was approved: go on", "approved", () => act(
          { ...intent, args: { ...intent.args, approval_id: waiting.approval_id } })),
        state.data && button("Close", "close", () => { state.notice = null; paint(); })));
  }

  /* ---- words ---- */

  function money(minor, currency) {
    const digits = EXPONENT.get(currency) ?? 2;
    const text = String(Math.abs(minor)).padStart(digits + 1, "0");
    const cut = text.length - digits;
    const exact = `${minor < 0 ? "-" : ""}${text.slice(0, cut)}${digits ? `.${text.slice(cut)}` : ""}`;
    return shown(exact, currency, digits);
  }

  /** What an answer says in words: `20.00 EUR`. */
  function amount(text) {
    const [exact, currency] = String(text ?? "").split(" ");
    return /^-?\d+(\.\d+)?$/.test(exact) && /^[A-Z]{3}$/.test(currency)
      ? shown(exact, currency, EXPONENT.get(currency) ?? 2) : String(text ?? "");
  }

  function shown(exact, currency, digits) {
    return new Intl.NumberFormat(locale, {
      style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits,
    }).format(exact);
  }

  /** What a quote or a purchase adds up to. */
  function sums(view) {
    const row = (label, minor, more) => [h("dt", more, label), h("dd", more, money(minor, view.currency))];
    return h("dl", { class: "sum" },
      row("Items", view.subtotal_minor),
      view.discounts.map((each) => row(each.label, -each.amount_minor)),
      row("Shipping", view.shipping_minor),
      view.taxes.map((each) => row(each.included ? `of which ${each.name}` : each.name, each.amount_minor,
        each.included ? { class: "small soft" } : null)),
      row("Total", view.total_minor, { class: "total" }));
  }

  function when(text, style = { dateStyle: "medium", timeStyle: "short" }) {
    const moment = new Date(text);
    if (!text || Number.isNaN(moment.getTime())) return String(text ?? "");
    return new Intl.DateTimeFormat(locale, { ...style, timeZone: zone }).format(moment);
  }

  const day = (text) => when(text, { dateStyle: "medium" });
  const words = (name) => {
    const text = String(name ?? "").replaceAll("_", " ");
    return text.charAt(0).toUpperCase() + text.slice(1);
  };
  const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

  async function start(described) {
    view = described;
    document.title = view.title;
    main = document.querySelector("main");
    said = h("p", { class: "unseen", role: "status" });
    document.body.append(said);
    if (window.matchMedia("(prefers-color-scheme: dark)").matches) {
      document.documentElement.dataset.theme = "dark";
    }
    host = window.openai ? openaiHost() : appsHost();
    paint();
    document.addEventListener("pointerdown", () => press(true), true);
    for (const end of ["pointerup", "pointercancel"]) {
      window.addEventListener(end, () => setTimeout(() => press(false)), true);  // after the click
    }
    document.addEventListener("visibilitychange", () => { if (!document.hidden) again(); });
    window.addEventListener("focus", () => again());
    try { await host.open(); } catch { refuse({ code: "unreachable" }); }
  }

  return {
    start, act, ask, say, h, button, heading, empty, money, amount, sums, when, day, words, count, can, paint,
    read: (uri) => host.read(uri),
    get input() { return state.input; },
  };
})();
