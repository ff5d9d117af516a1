"use strict";

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

if ("analyse" in form.dataset) form.requestSubmit();
