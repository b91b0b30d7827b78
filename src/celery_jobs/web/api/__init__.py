"""The REST API, under `/api/v1`: each operation calls one verb of `Jobs`."""
