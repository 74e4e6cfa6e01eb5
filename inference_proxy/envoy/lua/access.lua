-- Whether a request may go straight to Triton: the counterpart of tokens.py, with the digests that it tells.

local sha256 = require("tradewind.sha256")

local LONGEST = 8192
local UNAUTHENTICATED = "16"

local access = {}

-- The token of the `authorization` header; nil where it has none.
function access.bearer(value)
  if not value or #value > LONGEST then return nil end
  local scheme, token = value:match("^%s*(%S+)%s+(%S+)%s*$")
  return scheme and scheme:lower() == "bearer" and token or nil
end

-- Why a request is not let in; nil when it is.
function access.refusal(tokens, headers)
  if headers:getNumValues("authorization") ~= 1 then return tokens.missing end
  local token = access.bearer(headers:get("authorization"))
  if not token then return tokens.missing end
  -- What is looked up is a digest, which nobody can choose: the time that it takes tells nothing of the tokens.
  return not (tokens.known and tokens.known[sha256(token)]) and tokens.unknown or nil
end

-- Ends a request before anything of its body is read.
function access.refuse(handle, text)
  handle:respond({
    [":status"] = "200",
    ["content-type"] = "application/grpc",
    ["grpc-status"] = UNAUTHENTICATED,
    ["grpc-message"] = text,
  })
end

return access
