"""The names that Envoy's configuration, the routes and the Lua share."""

TYPE = "type.googleapis.com/envoy"
LUA = "envoy.filters.http.lua"
BUFFER = "envoy.filters.http.buffer"

PROXY = "proxy"
"""The cluster of this process."""

NAMESPACE, MARK = "tradewind", "way"
"""Where the Lua says how a request goes."""
