"""The shared vocabulary of Tradewind's services: units, readings, decisions, catalogue, policies."""
