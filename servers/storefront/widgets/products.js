"use strict";
const { h, act, ask, button, can, count, empty, heading, money } = shop;
let cart = null; // what was put into it from here

function add(product) {
  act({
    tool: "add_to_cart", changes: true,
    args: { product_name: product.sku, quantity: 1, ...(cart ? { cart_id: cart.cart_id } : {}) },
    said: (view) => `Added 1 × ${product.name}. The cart now has ${count(view.units, "unit")}, ${view.subtotal}.`,
    then: (view) => { cart = view; },
  });
}

function card(product) {
  const within = cart?.items.find((item) => item.sku === product.sku);
  return h("li", null,
    h("div", null,
      h("h2", null, product.name),
      h("p", { class: "small soft" }, product.category),
      product.description && h("p", { class: "small" }, product.description),
      product.why && h("p", { class: "small soft" }, product.why)),
    h("div", { class: "row" },
      h("p", { class: "num grow", style: "text-align:left" }, h("strong", null, money(product.price_minor, product.currency))),
      within && h("p", { class: "tag good" }, `${within.quantity} in cart`),
      !product.in_stock ? h("p", { class: "tag" }, "Sold out")
        : can.call && button("Add", `add ${product.sku}`, () => add(product), { "aria-label": `Add ${product.name}` })));
}

shop.start({
  name: "products",
  title: "Products",
  draw(view) {
    return [
      h("div", { class: "head" }, heading(shop.input.query ? `“${shop.input.query}”` : "Products"),
        h("p", { class: "soft" }, count(view.count, "product"))),
      view.products.length
        ? h("ul", { class: "cards", "aria-label": "Products" }, view.products.map(card))
        : empty("Nothing fits", view.message ?? view.note ?? "Try other words."),
      view.products.length > 0 && view.note && h("p", { class: "small soft" }, view.note),
      cart && h("div", { class: "row" },
        h("p", { class: "grow" }, `Your cart: ${count(cart.units, "unit")}, ${money(cart.subtotal_minor, cart.currency)}`),
        can.message && button("Show the cart", "cart", () => ask("Show me my cart."), { class: "main" })),
    ];
  },
});
