"""The demo: a small shop on real processes, whose jobs fail, wait, die and come back while one watches."""
