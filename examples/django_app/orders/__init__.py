"""The orders, and the tasks that see to them."""
