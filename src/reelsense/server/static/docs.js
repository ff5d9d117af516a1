"use strict";

const container = document.getElementById("docs");
const darkScheme = matchMedia("(prefers-color-scheme: dark)");
const applyScheme = () => document.documentElement.classList.toggle("dark-mode", darkScheme.matches);
darkScheme.addEventListener("change", applyScheme);
applyScheme();
SwaggerUIBundle({
  domNode: container,
  url: container.dataset.openapi,
  deepLinking: true,
  defaultModelsExpandDepth: 0, // the list of schemas is folded
  validatorUrl: null, // the default sends the document to a server on the internet
});
