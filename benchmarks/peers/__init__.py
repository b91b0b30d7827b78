"""One module a contender: its tasks and how they are enqueued. Run in its own environment, where its package is."""
