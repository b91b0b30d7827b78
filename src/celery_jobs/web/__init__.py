"""The dashboard, the REST API and the metrics, inside Flower."""
