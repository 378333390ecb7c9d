"use strict";
const { h, act, ask, button, can, count, empty, heading, money, when } = shop;
let found = null; // products looked for, to add one of them
let cart = null;

const told = (view) => `The cart now has ${count(view.units, "unit")}, ${view.subtotal}.`;

function add(name, label, quantity = 1) {
  const id = cart?.cart_id ?? shop.input.cart_id;
  const known = id ? { cart_id: id } : {};
  act({
    tool: "add_to_cart", changes: true, args: { product_name: name, quantity, ...known },
    said: (view) => `Added ${quantity} × ${label}. ${told(view)}`,
  });
}

function take(item, quantity) {
  act({
    tool: "remove_from_cart", changes: true,
    args: { product_name: item.sku, cart_id: cart.cart_id, ...(quantity ? { quantity } : {}) },
    said: (view) => `Took out ${quantity || "all"} × ${item.name}. ${told(view)}`,
  });
}

function line(item) {
  const price = money(item.price_minor, cart.currency);
  return h("li", null,
    h("div", { class: "grow" },
      h("h2", null, item.name),
      h("p", { class: "small soft" },
        item.price_was_minor !== undefined && [h("span", { class: "unseen" }, "Price before: "),
          h("span", { class: "was" }, money(item.price_was_minor, cart.currency)), " "],
        `${price} each`),
      item.available !== undefined
        && h("p", { class: "tag warn" }, `Only ${item.available} left`)),
    can.call && !cart.being_paid
      ? h("div", { class: "steps", role: "group", "aria-label": `Quantity of ${item.name}` },
        button("−", `less ${item.sku}`, () => take(item, 1), { "aria-label": `One less ${item.name}` }),
        h("span", { class: "amount" }, item.quantity),
        button("+", `more ${item.sku}`, () => add(item.sku, item.name), { "aria-label": `One more ${item.name}` }))
      : h("p", null, `× ${item.quantity}`),
    h("p", { class: "num" }, money(item.total_minor, cart.currency)),
    can.call && !cart.being_paid
      && button("Remove", `drop ${item.sku}`, () => take(item), { class: "quiet", "aria-label": `Remove ${item.name}` }));
}

function search() {
  const query = document.getElementById("query").value.trim();
  if (!query) return;
  act({
    tool: "search_products", args: { query, limit: 5 },
    said: (view) => `${count(view.count, "product")} found.`,
    then: (view) => { found = view; },
  });
}

function finder() {
  if (!can.call || cart.being_paid) return null;
  return h("div", { class: "stack", role: "search" },
    h("div", { class: "row" },
      h("label", { for: "query" }, "Add something"),
      h("div", { class: "grow" }, h("input", {
        type: "search", id: "query", name: "query", key: "query", maxlength: 200, autocomplete: "off",
        onkeydown: (event) => { if (event.key === "Enter") search(); }, // hosts forbid forms
      })),
      button("Search", "search", search)),
    found && (found.products.length
      ? h("ul", { class: "list", "aria-label": "Products found" }, found.products.map((product) => h("li", null,
        h("div", { class: "grow" }, h("h3", null, product.name)),
        h("p", { class: "num" }, money(product.price_minor, product.currency)),
        product.in_stock
          ? button("Add", `add ${product.sku}`, () => add(product.sku, product.name), { "aria-label": `Add ${product.name}` })
          : h("p", { class: "tag" }, "Sold out"))))
      : h("p", { class: "soft" }, found.message ?? "Nothing was found.")));
}

shop.start({
  name: "cart",
  title: "Your cart",
  again: (view) => ({ tool: "get_cart", args: { cart_id: view.cart_id } }),
  draw(view) {
    cart = view;
    return [
      h("div", { class: "head" }, heading("Your cart"),
        h("p", { class: "soft" }, count(view.units, "unit"))),
      view.being_paid && h("p", { class: "note" }, "This cart is being paid for. It cannot be changed meanwhile."),
      view.note && h("p", { class: "note warn" }, view.note),
      view.items.length
        ? h("ul", { class: "list", "aria-label": "Items" }, view.items.map(line))
        : empty("Nothing in it yet", "Search below, or ask for something in the chat."),
      view.items.length > 0 && h("dl", { class: "sum" },
        h("dt", { class: "total" }, "Subtotal"),
        h("dd", { class: "total" }, money(view.subtotal_minor, view.currency))),
      finder(),
      h("div", { class: "row" },
        h("p", { class: "small soft grow" }, `Kept until ${when(view.expires_at)}. Shipping and taxes come next.`),
        view.items.length > 0 && can.message && !view.being_paid && button("Check out", "checkout",
          () => ask("I would like to check out my cart."), { class: "main" })),
    ];
  },
  refused(refusal, intent) {
    const near = refusal.details?.suggestions ?? [];
    if (!can.call || !near.length) return null;
    return h("ul", { class: "row", "aria-label": "Products that may be meant" }, near.slice(0, 5).map((each) => {
      const name = typeof each === "string" ? each : each.name;
      const quantity = intent?.args.quantity ?? shop.input.quantity ?? 1;
      return h("li", null, button(`Add ${name}`, `near ${name}`, () => add(each.sku ?? name, name, quantity)));
    }));
  },
});
