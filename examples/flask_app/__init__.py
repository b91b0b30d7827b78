"""A small ticket shop on Flask: an order is written, and its job enqueued, in one transaction."""
