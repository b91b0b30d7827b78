"""A small ticket shop on FastAPI: an order is written, and its job enqueued, in one transaction."""
