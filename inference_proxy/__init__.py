"""KServe V2 as Triton speaks it, each request sent to the decided variant, metered and recorded."""
