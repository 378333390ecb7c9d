"use strict";
const { h, ask, button, can, heading, when, words } = shop;
const TONE = { done: "good", delivered: "good", failed: "bad", skipped: "bad" };
const time = (text) => when(text, { timeStyle: "short" });
let drawn = null; // the picture of one route, as a data URL

async function draw_map(uri) {
  drawn = { uri, src: null };
  try {
    const page = await shop.read(uri);
    drawn.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(page.text)}`;
  } catch { drawn.src = null; }
  shop.paint();
}

function stop(halt) {
  return h("li", null,
    h("span", { class: "tag" }, halt.position),
    h("div", { class: "grow" }, h("h2", null, halt.shipment_id),
      h("p", { class: "small soft" }, halt.order_id && `Order ${halt.order_id}, `, `planned ${time(halt.arrival)}`,
        halt.eta && `, expected ${time(halt.eta)}`)),
    halt.late && h("p", { class: "tag warn" }, "Late"),
    h("p", { class: `tag ${TONE[halt.status] ?? ""}` }, words(halt.status)));
}

shop.start({
  name: "route-map",
  title: "Route",
  again: (view) => ({ tool: "get_route", args: { route_id: view.route_id } }),
  draw(view) {
    if (can.read && drawn?.uri !== view.map) draw_map(view.map);
    return [
      h("div", { class: "head" }, heading(`Route ${view.route_id}`), h("p", { class: "tag" }, words(view.status))),
      h("p", { class: "soft" }, view.summary),
      drawn?.src && h("img", { class: "picture", src: drawn.src, alt: `The way of route ${view.route_id}: ${view.stops.length} stops, listed below` }),
      h("ol", { class: "list", "aria-label": "Stops" }, view.stops.map(stop)),
      can.message && view.status === "draft" && h("div", null, button("Dispatch it", "dispatch",
        () => ask(`Please dispatch route ${view.route_id}.`), { class: "main" })),
    ];
  },
});
