"""HTTP jobs: one request with assertions on its response, a task like any other (semantics.md section 9)."""
