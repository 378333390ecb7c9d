"use strict";
const { h, act, ask, button, can, heading, money, when, words } = shop;
const BAD = ["cancelled", "failed", "expired", "declined", "canceled"];
const DONE = ["completed", "delivered", "captured", "fulfilled", "paid"];
const tone = (state) => (BAD.includes(state) ? "bad" : DONE.includes(state) ? "good" : "warn");

function fact(label, state) {
  return state && [h("dt", null, label), h("dd", null, h("span", { class: `tag ${tone(state)}` }, words(state)))];
}

shop.start({
  name: "order-status",
  title: "Your order",
  again: (view) => ({ tool: "get_order_status", args: { order_id: view.order_id ?? view.checkout_id } }),
  draw(view) {
    return [
      h("div", { class: "head" }, heading(view.order_id ? `Order ${view.order_id}` : "Your purchase"),
        h("p", { class: `tag ${tone(view.status)}` }, words(view.status))),
      view.failure && h("p", { class: "note bad" }, `Why: ${words(view.failure)}. Nothing was bought.`),
      h("dl", { class: "sum" },
        fact("Order", view.order_status), fact("Payment", view.payment_status),
        fact("Parcel", view.fulfilment_status),
        view.promised_at && [h("dt", null, "There by"), h("dd", null, when(view.promised_at))]),
      h("ul", { class: "list", "aria-label": "Items" }, view.items.map((item) => h("li", null,
        h("p", { class: "grow" }, `${item.quantity} × ${item.name}`),
        h("p", { class: "num" }, money(item.total_minor, view.currency))))),
      shop.sums(view),
      h("div", { class: "row" },
        can.call && button("Look again", "again", () => act({
          tool: "get_order_status", args: { order_id: view.order_id ?? view.checkout_id },
          said: (now) => `The order: ${words(now.order_status ?? now.status)}.`,
        })),
        can.message && view.order_id && button("Ask about this order", "ask",
          () => ask(`I have a question about my order ${view.order_id}.`), { class: "quiet" })),
    ];
  },
});
