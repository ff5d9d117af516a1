"use strict";

const element = (id) => document.getElementById(id);
const progress = element("progress");
const rows = element("rows");
const summary = element("summary");
const filter = element("filter");
const POLL_INTERVAL = 1000; // milliseconds
let latestRequest = new AbortController();

async function fetchPart(url, signal) {
  const response = await fetch(url, { signal });
  // The job was deleted, or the session has ended: the page itself says which.
  if (response.status === 404 || response.status === 401) location.reload();
  if (!response.ok) throw new Error(response.status);
  return response.text();
}

const stateName = () => element("state").querySelector("strong").textContent;
const isOpen = () => element("state").dataset.open === "1";

// The table is not replaced while the user interacts with it.
const isInUse = (part) => part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
const isTableInUse = () => isInUse(rows) || isInUse(summary);

// Reload the progress every second until the job ends, and the table now and then.
let polls = 0;
async function poll() {
  let wait = POLL_INTERVAL;
  try {
    const done = element("state").dataset.done;
    const html = await fetchPart(progress.dataset.from);
    const focused = progress.contains(document.activeElement) ? document.activeElement.textContent : null;
    const stateBefore = stateName();
    progress.innerHTML = html;
    // Announce changes of the state to screen readers, but not every row.
    if (stateName() !== stateBefore) element("announcement").textContent = element("state").querySelector(".state").textContent;
    if (focused) [...progress.querySelectorAll("a, button")].find((control) => control.textContent === focused)?.focus();
    polls += 1;
    const isDue = polls % 5 === 0 || !isOpen() || rows.querySelector(".pages") === null;
    if (element("state").dataset.done !== done && isDue && (!isTableInUse() || !isOpen())) await show(location.search, { quiet: true });
  } catch {
    wait = 5 * POLL_INTERVAL; // the server may be restarting
  }
  if (isOpen()) setTimeout(poll, wait);
}

async function show(query, { quiet = false } = {}) {
  latestRequest.abort();
  latestRequest = new AbortController();
  const { signal } = latestRequest;
  try {
    const parts = [rows, summary];
    const contents = await Promise.all(parts.map((part) => fetchPart(part.dataset.from + query, signal)));
    parts.forEach((part, n) => { part.innerHTML = contents[n]; });
    if (!quiet) history.replaceState(null, "", location.pathname + query);
  } catch {
    if (!signal.aborted && !quiet) location.search = query;
  }
}

const DEFAULTS = { sort: "n", by: "rows" };

function filterQuery() {
  const fields = [...new FormData(filter)].filter(([name, value]) => value !== "" && value !== DEFAULTS[name]);
  const query = new URLSearchParams(fields).toString();
  return query ? `?${query}` : "";
}

filter.addEventListener("submit", (event) => {
  event.preventDefault();
  show(filterQuery());
});
filter.addEventListener("change", () => show(filterQuery()));

let typingTimer;
filter.elements.search.addEventListener("input", () => {
  clearTimeout(typingTimer);
  typingTimer = setTimeout(() => show(filterQuery()), 250);
});

// Links that sort the rows or the groups, or turn the pages of the rows.
for (const part of [rows, summary]) {
  part.addEventListener("click", async (event) => {
    const link = event.target.closest("th a, .pages a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const { search, searchParams } = new URL(link.href);
    for (const name of ["sort", "descending", "by", "up"]) {
      if (filter.elements[name]) filter.elements[name].value = searchParams.get(name) ?? DEFAULTS[name] ?? "";
    }
    await show(search);
    part.querySelector(part === rows ? ".scroll" : "[aria-label=Groups]").focus({ preventScroll: true });
    if (link.rel) element("results").scrollIntoView();
  });
}

if (isOpen()) setTimeout(poll, POLL_INTERVAL);
