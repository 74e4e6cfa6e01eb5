"""The real parts on one machine: broker, database, Triton and the three services as child processes."""
