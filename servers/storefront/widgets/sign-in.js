"use strict";
const { h, amount, ask, button, can, day, heading, words } = shop;

function guest(view) {
  return [
    h("div", { class: "head" }, heading("You shop as a guest"), h("p", { class: "tag" }, "Guest")),
    h("p", null, "To buy, to see orders or to become a member, sign in with the shop. Your cart comes along."),
    h("p", { class: "note small" }, "The shop's own page opens for that. Never type a password or a card number into a chat."),
    can.message && h("div", null, button("Sign in", "sign-in",
      () => ask("I would like to sign in to the shop."), { class: "main" })),
  ];
}

function known(view) {
  return [
    h("div", { class: "head" }, heading(view.name ? `Hello, ${view.name}` : "You are signed in"),
      h("p", { class: "tag good" }, "Signed in")),
    h("dl", { class: "sum" },
      h("dt", null, "Membership"), h("dd", null, view.membership ? words(view.membership) : "None"),
      h("dt", null, "Cart"), h("dd", null, view.cart_id ? "Open" : "None"),
      view.payment_methods.map((each, at) => [h("dt", null, at ? "" : "Payment"), h("dd", null, each.words)])),
    h("h2", null, "Latest orders"),
    view.orders.length
      ? h("ul", { class: "list", "aria-label": "Orders" }, view.orders.map((order) => h("li", null,
        h("div", { class: "grow" }, h("h3", null, order.order_id),
          h("p", { class: "small soft" }, order.placed_at ? `${day(order.placed_at)}, ${words(order.status)}` : words(order.status))),
        h("p", { class: "num" }, amount(order.total)),
        can.message && button("Show", `show ${order.order_id}`,
          () => ask(`How does my order ${order.order_id} stand?`), { "aria-label": `Show order ${order.order_id}` }))))
      : h("p", { class: "soft" }, "None yet."),
    view.cart_id && can.message && h("div", null, button("Show the cart", "cart", () => ask("Show me my cart."))),
  ];
}

shop.start({
  name: "sign-in",
  title: "Your account",
  again: () => ({ tool: "get_account_status", args: {} }),
  draw: (view) => (view.signed_in ? known(view) : guest(view)),
});
