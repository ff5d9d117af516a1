"""HTML pages, rendered on the server. They work without JavaScript."""
