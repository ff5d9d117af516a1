"""The HTTP server: Flask, JSON at /v1 and as other servers have it, a page at /.

Knows requests and answers; every answer comes from a `Classifier`. Needs no PyTorch.
"""
