"use strict";
const { h, act, amount, button, can, count, day, empty, heading, money, words } = shop;
const TONE = { settled: "good", rejected: "bad", cancelled: "bad", expired: "bad" };
const STEPS = {
  requested: ["authorize_return", "Authorize", "authorized"],
  needs_review: ["authorize_return", "Authorize", "authorized"],
  inspected: ["settle_return", "Settle", "settled"],
};
const TO = { original: "the method that paid", method: "another method", store_credit: "store credit" };
let list = null; // to go back to

function open(id) {
  act({ tool: "get_return", args: { return_id: id }, said: (view) => `Return ${view.return_id}, ${words(view.state)}.` });
}

function row(item) {
  return h("li", null,
    h("div", { class: "grow" }, h("h2", { class: "small" }, item.return_id),
      h("p", { class: "small soft" }, `Order ${item.order_id}, since ${day(item.requested_at)}`)),
    h("p", { class: `tag ${TONE[item.state] ?? "warn"}` }, words(item.state)),
    h("p", { class: "num" }, amount(item.refund)),
    can.call && button("Open", `open ${item.return_id}`, () => open(item.return_id), { "aria-label": `Open return ${item.return_id}` }));
}

function desk(view) {
  list = view;
  return [
    h("div", { class: "head" }, heading("Returns"), h("p", { class: "soft" }, count(view.count, "return"))),
    view.returns.length ? h("ul", { class: "list", "aria-label": "Returns" }, view.returns.map(row))
      : empty("Nothing is waiting", "Every return has been dealt with."),
    view.next_cursor && h("p", { class: "small soft" }, "There are more; ask for them in the chat."),
  ];
}

function one(view) {
  const step = STEPS[view.state];
  return [
    h("div", { class: "head" }, heading(`Return ${view.return_id}`),
      h("p", { class: `tag ${TONE[view.state] ?? "warn"}` }, words(view.state))),
    h("p", { class: "soft" }, `${words(view.kind)} of order ${view.order_id}, money to ${TO[view.refund_to] ?? words(view.refund_to).toLowerCase()}. ${words(view.rule)}`),
    h("ul", { class: "list", "aria-label": "Lines" }, view.lines.map((line) => h("li", null,
      h("div", { class: "grow" }, h("h2", null, `${line.quantity} × ${line.sku}`),
        h("p", { class: "small soft" }, `${words(line.reason)}, ${line.received} received`,
          line.damaged && `, ${line.damaged} damaged`)),
      h("p", { class: "num" }, money(line.settled_minor ?? line.refund_minor, view.currency))))),
    h("dl", { class: "sum" }, h("dt", { class: "total" }, "Refund"), h("dd", { class: "total" }, amount(view.refund))),
    h("div", { class: "row" },
      can.call && step && button(step[1], step[0], () => act({
        tool: step[0], changes: true, args: { return_id: view.return_id }, said: `Return ${view.return_id} is ${step[2]}.`,
      }), { class: "main" }),
      can.call && button("All returns", "all", () => act({
        tool: "list_returns", args: list ? {} : { open_only: true }, said: (now) => `${count(now.count, "return")}.`,
      }), { class: "quiet" })),
  ];
}

shop.start({
  name: "desk",
  title: "Returns",
  draw: (view) => ("returns" in view ? desk(view) : one(view)),
});
