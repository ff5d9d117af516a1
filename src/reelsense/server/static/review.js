"use strict";

const HISTORY = "reelsense.history"; // key in localStorage
const MAX_HISTORY = 20; // texts
const MAX_LINK = 8000; // characters of a text in a link
const SHOWN = 200; // characters of a text in the list

const element = (id) => document.getElementById(id);
const form = element("form");
let latestRequest = new AbortController();

async function post(path, body, signal) {
  const response = await fetch(path, { method: "POST", body, signal });
  if (response.status === 401) throw new Error("Your session has ended. Reload the page and sign in again.");
  if (!response.ok) {
    const problem = await response.json();
    throw new Error(problem.errors?.[0].detail ?? problem.detail);
  }
  return response.text();
}

function showProblem(problem) {
  element("problem").textContent = problem;
  element("problem").hidden = problem === "";
}

function errorText(error) {
  return {
    TypeError: "Cannot reach the server.",
    SyntaxError: "The server sent an unexpected response.",
  }[error.name] ?? error.message;
}

// The prediction comes first: the explanation takes about twenty times as long.
async function analyse() {
  const fields = new FormData(form);
  latestRequest.abort();
  latestRequest = new AbortController();
  const { signal } = latestRequest;
  element("analyse").disabled = true;
  showProblem("");
  element("why").replaceChildren();
  try {
    element("answer").innerHTML = await post(form.dataset.answer, fields, signal);
    element("answer").scrollIntoView({ block: "nearest" });
    element("analyse").disabled = false;
    offerCopies();
    remember(fields.get("text"));
    element("why").innerHTML = '<p class="hint waiting">Finding the sentences that matter&hellip;</p>';
    element("why").innerHTML = await post(form.dataset.why, fields, signal);
  } catch (error) {
    if (signal.aborted) return;
    if (!element("analyse").disabled) element("why").replaceChildren();
    else element("answer").replaceChildren();
    showProblem(errorText(error));
  }
  element("analyse").disabled = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  analyse();
});

element("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

// Another target error rate: analyse again what was analysed.
element("risk")?.addEventListener("change", () => {
  if (element("answer").childElementCount > 0) form.requestSubmit();
});

element("examples")?.addEventListener("click", (event) => {
  const { text } = event.target.dataset;
  if (text === undefined) return;
  event.preventDefault();
  element("text").value = text;
  form.requestSubmit();
});

// "Was this right?", and Undo.
element("answer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { target, submitter } = event;
  const fields = new FormData(target);
  if (submitter.name) fields.append(submitter.name, submitter.value);
  submitter.disabled = true;
  showProblem("");
  try {
    target.outerHTML = await post(target.action, fields);
    element("feedback").querySelector("button").focus();
  } catch (error) {
    submitter.disabled = false;
    showProblem(errorText(error));
  }
});

// Copies of the result. A link has the text in its fragment, which browsers do not send.
function offerCopies() {
  const copies = document.querySelector(".copies");
  if (!copies || !navigator.clipboard) return;
  copies.hidden = false;
  element("copy-link").disabled = element("text").value.length > MAX_LINK;
}

function link(text) {
  const query = new URLSearchParams({ text });
  if (element("risk")) query.set("risk", element("risk").value);
  return `${new URL("./", location.href).href}#${query}`;
}

element("answer").addEventListener("click", async ({ target }) => {
  const copied = { "copy-link": () => link(element("text").value), "copy-json": () => target.dataset.content }[target.id];
  if (!copied) return;
  const before = target.textContent;
  try {
    await navigator.clipboard.writeText(copied());
    target.textContent = target.dataset.done;
    setTimeout(() => { target.textContent = before; }, 2000);
  } catch {
    showProblem("The browser did not allow access to the clipboard.");
  }
});

// The history of this browser.
function readHistory() {
  try {
    return JSON.parse(localStorage.getItem(HISTORY) ?? "[]").filter((entry) => typeof entry?.text === "string");
  } catch {
    return []; // no storage, or not ours
  }
}

function store(entries) {
  try {
    localStorage.setItem(HISTORY, JSON.stringify(entries));
  } catch { /* no storage, or it is full */ }
  showHistory();
}

function remember(text) {
  const { verdict, confidence } = document.querySelector(".copies").dataset;
  const others = readHistory().filter((entry) => entry.text !== text);
  store([{ text, verdict, confidence }, ...others].slice(0, MAX_HISTORY));
}

function showHistory() {
  const entries = readHistory();
  element("history").hidden = entries.length === 0;
  element("history").querySelector("ul").replaceChildren(...entries.map(({ text, verdict, confidence }) => {
    const item = document.createElement("li");
    const [label, share, again] = ["span", "span", "a"].map((name) => document.createElement(name));
    [label.textContent, share.textContent, again.textContent] = [verdict, confidence, text.slice(0, SHOWN)];
    again.href = link(text);
    item.append(label, share, again);
    return item;
  }));
}

element("clear").addEventListener("click", () => store([]));

function readLink() {
  const query = new URLSearchParams(location.hash.slice(1));
  if (!query.has("text")) return;
  element("text").value = query.get("text");
  if (element("risk") && query.has("risk")) element("risk").value = query.get("risk");
  form.requestSubmit();
}

window.addEventListener("hashchange", readLink);
showHistory();
readLink();
if ("analyse" in form.dataset) form.requestSubmit();
