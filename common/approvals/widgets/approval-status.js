"use strict";
const { h, act, ask, button, can, heading, when, words } = shop;
const TONE = { approved: "good", used: "good", pending: "warn" };
const SAYS = {
  pending: "A person has not decided yet. Nothing was changed.",
  approved: "It was approved. The call can be repeated now.",
  used: "It was approved and done.",
  rejected: "A person said no. Nothing was changed.",
  cancelled: "It was withdrawn. Nothing was changed.",
  expired: "Nobody decided in time. Nothing was changed.",
  stale: "What was shown has changed since; it has to be asked for anew.",
};

const read = (view) => ({ tool: "approval_status", args: { id: view.approval_id } });

shop.start({
  name: "approval-status",
  title: "Approval",
  again: read,
  draw(view) {
    return [
      h("div", { class: "head" }, heading("Approval"),
        h("p", { class: `tag ${TONE[view.state] ?? "bad"}` }, words(view.state))),
      h("p", null, SAYS[view.state]),
      h("dl", { class: "sum" },
        h("dt", null, "Asked for"), h("dd", null, view.tool),
        h("dt", null, "Approvals"), h("dd", null, `${view.approvals} of ${view.needed}`),
        h("dt", null, "Until"), h("dd", null, when(view.expires_at)),
        h("dt", null, "Number"), h("dd", null, view.approval_id)),
      view.note && h("p", { class: "note" }, view.note),
      h("div", { class: "row" },
        can.call && button("Look again", "again", () => act({
          ...read(view), said: (now) => `It is ${words(now.state).toLowerCase()}.`,
        })),
        can.message && view.state === "approved" && button("Go on with it", "go-on",
          () => ask(`Approval ${view.approval_id} was given: please go on.`), { class: "main" }),
        can.call && ["pending", "approved"].includes(view.state) && button("Withdraw", "withdraw", () => act({
          tool: "approval_cancel", changes: true, args: { id: view.approval_id }, said: "The request was withdrawn.",
        }), { class: "quiet" })),
    ];
  },
});
