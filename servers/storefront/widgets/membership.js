"use strict";
const { h, act, ask, button, can, day, empty, heading, money, words } = shop;

function percent(bps) {
  return `${bps % 100 ? (bps / 100).toFixed(2) : bps / 100} %`;
}

function join(tier) {
  act({
    tool: "join_membership", changes: true,
    args: { tier: tier.tier, agreed_fee_minor: tier.yearly_fee_minor },
    said: (view) => (view.member ? `You are a member: ${tier.name}.` : `Asked for: ${tier.name}.`),
  });
}

function card(view, tier) {
  const own = view.member && view.tier === tier.tier;
  const fee = tier.yearly_fee_minor ? `${money(tier.yearly_fee_minor, tier.currency)} a year` : "Free";
  return h("li", null,
    h("div", { class: "stack" },
      h("div", { class: "head" }, h("h2", null, tier.name), own && h("p", { class: "tag good" }, "Yours")),
      h("p", null, h("strong", null, fee)),
      h("ul", { class: "small soft" },
        tier.discount_bps > 0 && h("li", null, `${percent(tier.discount_bps)} off everything`),
        tier.free_shipping_from_minor !== undefined
          && h("li", null, `Free shipping from ${money(tier.free_shipping_from_minor, tier.currency)}`),
        tier.points_per_major_unit > 0
          && h("li", null, `Points for each ${tier.currency}: ${tier.points_per_major_unit}`),
        tier.points_needed > 0 && h("li", null, `From ${tier.points_needed} points`))),
    can.call && !own && button(`Join ${tier.name}`, `join ${tier.tier}`, () => join(tier), { class: "main" }));
}

shop.start({
  name: "membership",
  title: "Membership",
  draw(view) {
    const own = view.tiers.find((tier) => tier.tier === view.tier);
    return [
      h("div", { class: "head" }, heading("Membership"),
        view.state && h("p", { class: `tag ${view.member ? "good" : "warn"}` }, words(view.state))),
      view.tier && h("dl", { class: "sum" },
        h("dt", null, "Tier"), h("dd", null, own?.name ?? view.tier),
        h("dt", null, "Points"), h("dd", null, view.points),
        view.pending_points > 0 && [h("dt", null, "Points to come"), h("dd", null, view.pending_points)],
        view.owed_points > 0 && [h("dt", null, "Taken from points to come"), h("dd", null, view.owed_points)],
        view.renews_at && [h("dt", null, view.auto_renew ? "Renews" : "Ends"), h("dd", null, day(view.renews_at))],
        view.fee_payment_status && [h("dt", null, "Fee"), h("dd", null, words(view.fee_payment_status))]),
      view.note && h("div", { class: "note" }, h("p", null, view.note),
        can.message && h("div", null, button("Sign in", "sign-in", () => ask("I would like to sign in to the shop.")))),
      view.tiers.length ? h("ul", { class: "cards", "aria-label": "Tiers" }, view.tiers.map((tier) => card(view, tier)))
        : empty("No tiers", "This shop has no membership yet."),
    ];
  },
});
