"use strict";
const { h, act, ask, button, can, day, empty, heading, money, sums, when, words } = shop;
const FIELDS = [
  ["recipient", "Name on the parcel", "name"], ["line1", "Street and number", "address-line1"],
  ["line2", "More (optional)", "address-line2"], ["postal_code", "Postal code", "postal-code"],
  ["city", "City", "address-level2"], ["region", "Region (optional)", "address-level1"],
  ["country", "Country code, as DE", "country"],
];
let quote = null, method = null, agreed = null, editing = false;

function prepare(more, said) {
  act({
    tool: "prepare_checkout", changes: true, args: { cart_id: quote.cart_id, ...more },
    said: (view) => `${said} The total is ${view.total}.`,
  });
}

function place(to) {
  const city = [to?.postal_code, to?.city].filter(Boolean).join(" ");
  return [to?.recipient, to?.line1, to?.line2, city, to?.region, to?.country].filter(Boolean).join(", ");
}

function save() {
  const value = (name) => document.getElementById(name).value.trim();
  const missing = FIELDS.find(([name, label]) => !label.includes("optional") && !value(name));
  if (missing) {
    document.getElementById(missing[0]).focus();
    shop.say(`${missing[1]} is needed.`);
    return;
  }
  const ship_to = {};
  for (const [name] of FIELDS.slice(1)) if (value(name)) ship_to[name] = value(name);
  editing = false;
  prepare({ ship_to, recipient: value("recipient") }, "The address is written down.");
}

function address() {
  const needed = quote.missing.some((name) => ["ship_to", "recipient"].includes(name));
  if (!needed && !editing) {
    return h("section", { class: "stack" }, h("h2", null, "Where to"), h("div", { class: "row" },
      h("p", { class: "grow" }, place(quote.ship_to)),
      can.call && button("Change", "edit", () => { editing = true; shop.paint(); },
        { class: "quiet", "aria-label": "Change the address" })));
  }
  if (!can.call) return null;
  return h("fieldset", { class: "stack" }, h("legend", null, "Where to"),
    h("div", { class: "fields" }, FIELDS.map(([name, label, fill]) => h("label", { for: name }, label,
      h("input", { type: "text", id: name, key: name, maxlength: 200, autocomplete: fill,
        value: quote.ship_to?.[name] })))),
    h("div", { class: "row" }, button("Use this address", "save", save)));
}

function shipping() {
  if (!quote.shipping_options.length) return null;
  return h("fieldset", { class: "stack" }, h("legend", null, "Shipping"),
    quote.shipping_options.map((option) => h("label", { class: "choice" },
      h("input", {
        type: "radio", name: "shipping", value: option.shipping_service,
        checked: option.chosen, disabled: !can.call,
        key: `service ${option.shipping_service}`,
        onchange: () => prepare({ shipping_service: option.shipping_service }, `Shipping by ${option.name}.`),
      }),
      h("span", { class: "grow" }, option.name,
        option.arrives_by && h("span", { class: "small soft" }, `, there by ${day(option.arrives_by)}`)),
      h("span", { class: "num" }, money(option.price_minor, quote.currency)))));
}

function payment() {
  if (!quote.payment_methods.length) return null;
  method = quote.payment_methods.some((each) => each.payment_method_id === method)
    ? method : quote.payment_methods[0].payment_method_id;
  return h("fieldset", { class: "stack" }, h("legend", null, "Payment"),
    quote.payment_methods.map((each) => h("label", { class: "choice" },
      h("input", {
        type: "radio", name: "method", value: each.payment_method_id,
        checked: each.payment_method_id === method, key: `method ${each.payment_method_id}`,
        onchange: () => { method = each.payment_method_id; },
      }),
      h("span", null, each.words))));
}

function buy() {
  act(purchase({
    cart_id: quote.cart_id, quote_id: quote.quote_id, agreed_total_minor: quote.total_minor,
    ...(method ? { payment_method_id: method } : {}),
  }));
}

/** The same purchase asked for again tells how far it is; it is never bought twice. */
function purchase(terms) {
  agreed = terms;
  return {
    tool: "checkout", changes: true, args: { ...terms },
    said: (view) => (view.order_id ? `Bought. The order is ${view.order_id}.` : `The purchase: ${words(view.status)}.`),
  };
}

function items(view) {
  return h("ul", { class: "list", "aria-label": "Items" }, view.items.map((item) => h("li", null,
    h("p", { class: "grow" }, `${item.quantity} × ${item.name}`,
      item.discount_minor > 0 && h("span", { class: "small soft" }, `, ${money(-item.discount_minor, view.currency)}`)),
    h("p", { class: "num" }, money(item.total_minor, view.currency)))));
}

function offered(view) {
  quote = view;
  if (!view.items.length) return [heading("Checkout"), empty("The cart is empty", "There is nothing to buy yet.")];
  const ready = !view.missing.length;
  return [
    heading("Checkout"),
    items(view),
    view.rejected_codes.length > 0 && h("ul", { class: "note warn" },
      view.rejected_codes.map((each) => h("li", null, `${each.code}: ${each.why}`))),
    address(), shipping(), payment(), sums(view),
    view.missing.length > 0 && h("p", { class: "note" },
      `Still needed: ${view.missing.map((name) => (name === "ship_to" ? "address" : words(name).toLowerCase())).join(", ")}.`),
    h("div", { class: "row" },
      h("p", { class: "small soft grow" }, `This offer stands until ${when(view.expires_at)}. Nothing is reserved yet.`),
      can.call && ready && button(`Buy for ${money(view.total_minor, view.currency)}`, "buy", buy, { class: "main" })),
  ];
}

const ENDED = {
  completed: ["Thank you", "good", "Paid"],
  complete_in_progress: ["The payment is being asked for", "warn", "In progress"],
};

function bought(view) {
  const [title, tone, tag] = ENDED[view.status] ?? ["Nothing was bought", "bad", words(view.status)];
  return [
    h("div", { class: "head" }, heading(title), h("p", { class: `tag ${tone}` }, tag)),
    view.order_id && h("p", null, "Your order is ", h("strong", null, view.order_id), "."),
    view.status === "complete_in_progress" && h("p", { class: "note" }, "The goods are kept for you meanwhile."),
    view.failure && h("p", { class: "note bad" }, `Why: ${words(view.failure)}. Goods and payment were let go.`),
    items(view), sums(view),
    view.ship_to && h("p", { class: "small soft" },
      `To ${[place(view.ship_to), view.shipping && `by ${view.shipping}`].filter(Boolean).join(", ")}.`),
    h("div", { class: "row" },
      can.call && view.status === "complete_in_progress" && button("How far is it?", "status",
        () => act(agreed ? purchase(agreed) : {
          tool: "get_order_status", args: { order_id: view.checkout_id },
          said: (now) => `${words(now.status)}.`,
        }), { class: "main" }),
      can.message && view.order_id && button("Where is my order?", "follow",
        () => ask(`How does my order ${view.order_id} stand?`))),
  ];
}

shop.start({
  name: "checkout",
  title: "Checkout",
  draw: (view) => ("quote_id" in view ? offered(view) : bought(view)),
});
