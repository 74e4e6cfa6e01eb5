"""Energy, latency and error of every variant, measured on a live Triton."""
