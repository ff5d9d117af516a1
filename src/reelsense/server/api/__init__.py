"""JSON interfaces over HTTP, and the contract that describes them."""
