"""Middleware of all requests: context, authentication, limits, problems, metrics, logging."""
