"""The edge: Envoy in two tiers, rendered from the templates in `envoy/` and run as children."""
