"use strict";
const { h, act, button, can, count, day, empty, heading, words } = shop;
const LONG = 28; // days of cover that fill the bar
const ACTION = { reorder_now: "Buy", expedite: "Hurry", transfer: "Move", ignore: "Leave" };

function cover(item) {
  const days = item.cover_days;
  if (days === undefined) return h("span", { class: "soft" }, "no demand");
  const tone = days <= 3 ? "bad" : days <= 10 ? "warn" : "";
  const part = Math.min(100, Math.round((days * 100) / LONG));
  return h("div", { class: "stack", style: "gap:0.2rem" },
    h("span", null, count(days, "day")),
    h("span", { class: `bar ${tone}`, "aria-hidden": "true" }, h("span", { style: `width:${part}%` })));
}

function reorder(item) {
  act({
    tool: "create_reorder", changes: true,
    args: { sku: item.sku, quantity: item.order_quantity, warehouse: item.warehouse },
    said: (made) => `Proposed: ${made.quantity} of ${made.sku} for ${made.warehouse}.`,
    then: () => {},
  });
}

function row(item) {
  return h("tr", null,
    h("th", { scope: "row" }, item.name, h("div", { class: "small soft" }, item.sku)),
    h("td", { class: "num" }, item.available),
    h("td", { class: "num" }, item.incoming),
    h("td", null, cover(item)),
    h("td", null, h("span", { class: "tag" }, ACTION[item.action] ?? words(item.action)),
      item.stock_out_on && h("div", { class: "small soft" }, `out on ${day(item.stock_out_on)}`)),
    h("td", null, can.call && item.action === "reorder_now" && button(`Buy ${item.order_quantity}`,
      `buy ${item.sku} ${item.warehouse}`, () => reorder(item),
      { "aria-label": `Propose to buy ${item.order_quantity} of ${item.name} for ${item.warehouse}` })));
}

function table(caption, titles, rows) {
  return h("section", { class: "stack" }, h("h2", null, caption),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", null,
        h("thead", null, h("tr", null, titles.map((title) => h("th", { scope: "col" }, title)))),
        h("tbody", null, rows))));
}

function low(view) {
  const places = [...new Set(view.items.map((item) => item.warehouse))].sort();
  return [
    h("div", { class: "head" }, heading("Running low"),
      h("p", { class: "soft" }, view.region === "all" ? "Every region" : view.region)),
    h("ul", { class: "row" }, Object.entries(view.counts).map(([name, number]) => h("li", { class: "tag" },
      `${ACTION[name] ?? words(name)}: ${number}`))),
    view.items.length ? places.map((place) => table(place,
      ["Item", "Available", "Coming", "Days of cover", "What to do", "Propose"],
      view.items.filter((item) => item.warehouse === place).map(row)))
      : empty("Nothing runs low", "Everything is covered."),
    view.notes.length > 0 && h("ul", { class: "note small" }, view.notes.map((note) => h("li", null, note))),
  ];
}

function one(view) {
  return [
    h("div", { class: "head" }, heading(view.name), h("p", { class: "soft" }, view.sku)),
    h("p", null, `${view.available} available of ${view.on_hand} on hand`),
    table("By warehouse", ["Warehouse", "On hand", "Reserved", "Available", "Coming"],
      view.shelves.map((shelf) => h("tr", null, h("th", { scope: "row" }, shelf.warehouse),
        [shelf.on_hand, shelf.reserved, shelf.available, shelf.incoming ?? 0].map(
          (number) => h("td", { class: "num", style: "text-align:left" }, number))))),
  ];
}

shop.start({
  name: "stock",
  title: "Stock",
  draw: (view) => ("shelves" in view ? one(view) : low(view)),
});
