"use strict";

const place = document.getElementById("docs");
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", colour);
colour();
SwaggerUIBundle({
  domNode: place,
  url: place.dataset.contract,
  deepLinking: true,
  validatorUrl: null, // by default it shows the contract to a server elsewhere
});
