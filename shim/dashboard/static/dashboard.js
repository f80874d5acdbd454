// Keeps the dashboard current: every 2 seconds, and only while it is visible. The page works without it.
"use strict";
(() => {
  const PAUSE_MS = 2000;
  const LIMIT_MS = 10000;
  const live = document.getElementById("live");
  const announced = document.getElementById("announced");
  const contact = document.getElementById("contact");
  const reader = new DOMParser();
  let lostAt = null;
  let timer = 0;

  async function load(address) {
    const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(LIMIT_MS) });
    if (!answer.ok) throw new Error(String(answer.status));
    return reader.parseFromString(await answer.text(), "text/html");
  }

  // The keyboard stays where it is.
  function replace(old, part) {
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceWith(document.adoptNode(part));
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  // A button that is held down stays, so that letting go of it presses it.
  function replaceParts(fresh) {
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(part.id);
      if (old && old.outerHTML !== part.outerHTML && !old.querySelector("button:active")) replace(old, part);
    }
  }

  // What is open stays open.
  function replaceProjects(fresh) {
    const old = document.getElementById("projects");
    const part = fresh.getElementById("projects");
    if (!old || !part) return;
    for (const details of part.querySelectorAll("details[id]")) {
      const before = document.getElementById(details.id);
      if (before) details.open = before.open;
    }
    replace(old, part);
  }

  async function look() {
    const fresh = await load(live.dataset.address);
    const found = fresh.getElementById("live");
    if (!found) throw new Error("another page");
    replaceParts(fresh);
    if (live.dataset.summary !== found.dataset.summary) {
      announced.textContent = live.dataset.summary = found.dataset.summary;
    }
    if (live.dataset.revision !== found.dataset.revision) {
      replaceProjects(await load(location.pathname));
      live.dataset.revision = found.dataset.revision;
    }
  }

  async function turn() {
    clearTimeout(timer);
    if (document.hidden) return;
    try {
      await look();
      lostAt = null;
      contact.textContent = "";
    } catch {
      lostAt ??= new Date();
      contact.textContent = `No answer since ${lostAt.toLocaleTimeString()}; what you see may be old.`;
    }
    clearTimeout(timer);
    timer = setTimeout(turn, PAUSE_MS);
  }

  document.addEventListener("visibilitychange", turn);
  timer = setTimeout(turn, PAUSE_MS);
})();
