"""How Envoy calls the types of its configuration."""

TYPE = "type.googleapis.com/envoy"
