"use strict";

const place = document.getElementById("docs");
SwaggerUIBundle({
  domNode: place,
  url: place.dataset.contract,
  deepLinking: true,
  validatorUrl: null, // by default it shows the contract to a server elsewhere
});
