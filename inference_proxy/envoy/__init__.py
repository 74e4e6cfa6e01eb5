"""The Envoy front: Envoy takes the hot path, this process steers it, accounts for it and takes all the rest."""
