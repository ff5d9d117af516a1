"use strict";

const element = (id) => document.getElementById(id);
const form = element("form");
const button = form.querySelector("button");

async function ask(text) {
  const answer = await fetch(form.action, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text }),
  });
  const body = await answer.json();
  if (answer.status === 401) throw new Error("You are no longer signed in. Sign in again: load this page anew.");
  if (!answer.ok) throw new Error(body.detail);
  return { ...body.predictions[0], threshold: body.threshold };
}

// Rounds towards doubt: nothing short of certainty is shown as 100 %.
const percent = (share) => `${(Math.floor(share * 1000) / 10).toFixed(1)} %`;

function show(prediction) {
  const unsure = prediction.verdict === "unsure";
  element("label").textContent = prediction.verdict;
  element("score").textContent = unsure
    ? `leans ${prediction.label}, ${percent(prediction.score)}`
    : percent(prediction.score);
  const position = prediction.positive;
  const binary = position !== undefined;
  element("bar").hidden = !binary;
  element("answer").querySelector(".scale").hidden = !binary;
  if (binary) {
    element("marker").style.left = `${position * 100}%`;
    element("bar").setAttribute("aria-label", `positive: ${percent(position)}`);
  }
  const { total, scored } = prediction.tokens;
  element("details").textContent = scored === total
    ? `Read whole: ${total.toLocaleString("en")} word pieces.`
    : `Read ${scored.toLocaleString("en")} of ${total.toLocaleString("en")} word pieces.`;
  if (prediction.stars !== undefined) {
    element("details").textContent =
      `About ${prediction.stars.toFixed(1)} of 10 stars. ${element("details").textContent}`;
  }
  if (unsure) {
    element("details").textContent += prediction.threshold === null
      ? " This model can be sure enough of nothing."
      : ` What is below ${percent(prediction.threshold)} counts as unsure.`;
  }
  element("answer").className = prediction.verdict;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  let problem = "";
  try {
    show(await ask(element("text").value));
  } catch (error) {
    problem = { TypeError: "The server cannot be reached.", SyntaxError: "The server did not understand." }[
      error.name] ?? error.message;
  }
  element("answer").hidden = problem !== "";
  element("problem").hidden = problem === "";
  element("problem").textContent = problem;
  element(problem ? "problem" : "answer").scrollIntoView({ block: "nearest" });
  button.disabled = false;
});

element("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
