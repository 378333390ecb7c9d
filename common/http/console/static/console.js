// Live updates. Every page works without this file; it only spares people the reload.
"use strict";

(() => {
  const news = document.querySelector("[data-news]");
  let pause = 1000;

  // "23 h 59 min left", counted down between two answers of the server.
  function left(until) {
    const seconds = Math.floor((until - Date.now()) / 1000);
    if (seconds <= 0) return "no time left";
    const days = Math.floor(seconds / 86400);
    const hours = Math.floor((seconds % 86400) / 3600);
    const minutes = Math.floor((seconds % 3600) / 60);
    const said = [[days, "d"], [hours, "h"], [minutes, "min"]].filter(([count]) => count);
    if (!said.length) return "less than a minute left";
    return said.slice(0, 2).map(([count, unit]) => `${count} ${unit}`).join(" ") + " left";
  }

  function tick() {
    for (const place of document.querySelectorAll("[data-until]")) {
      const text = left(Date.parse(place.dataset.until));
      if (place.textContent !== text) place.textContent = text;
    }
  }

  async function replace(region) {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) throw new Error("no page");
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (!fresh) throw new Error("no region");
    const focused = region.contains(document.activeElement) && document.activeElement.getAttribute("href");
    region.replaceWith(fresh);
    document.title = page.title;
    if (focused) {
      const again = [...fresh.querySelectorAll("a[href]")].find((a) => a.getAttribute("href") === focused);
      if (again) again.focus();
    }
    const decision = page.querySelector(".decision");
    const own = document.querySelector(".decision");
    // A form somebody has begun to fill in stays; one that can no longer be sent is taken away.
    if (decision && own && (!decision.querySelector("form") || !own.querySelector("form"))) own.replaceWith(decision);
    if (news) news.textContent = "Updated just now.";
    tick();
    return fresh;
  }

  async function watch() {
    let region = document.querySelector("[data-live]");
    while (region) {
      if (document.hidden) {
        await new Promise((go) => document.addEventListener("visibilitychange", go, { once: true }));
      }
      try {
        const query = new URLSearchParams({ on: region.dataset.live, mark: region.dataset.mark });
        const answer = await fetch(`/console/changes?${query}`);
        if (answer.status === 401) return; // signed out: the next click signs in again
        if (!answer.ok) throw new Error(String(answer.status));
        const { mark } = await answer.json();
        if (mark !== region.dataset.mark) region = await replace(region);
        pause = 1000;
      } catch {
        pause = Math.min(pause * 2, 60000);
      }
      await new Promise((go) => setTimeout(go, pause * (0.75 + Math.random() / 2)));
    }
  }

  const mistake = document.getElementById("mistake");
  if (mistake) { mistake.tabIndex = -1; mistake.focus(); }
  setInterval(tick, 10000);
  watch();
})();
