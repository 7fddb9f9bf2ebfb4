-- Refuses JSON with a field that its message does not have. The transcoder would drop such a field
-- without a word, and a command with a misspelt `expected` would lose the check it was sent with.
-- Only names are looked at; values, and JSON that is none, are the transcoder's business.

-- The request message of each method with one request, by path.
local REQUESTS = {
${requests}
}

-- The fields of each message by both of their names. What may stand in one: the name of a message,
-- `map:` and the name of one, or true for what has no fields to check.
local FIELDS = {
${fields}
}

local ANY = "google.protobuf.Any"
-- Deeper than the transcoder reads.
local DEPTH_MAX = 110
-- More than any request has; what is within is looked through in a tenth of a second at most.
local VALUES_MAX = 100000

local value
local values_left

-- Returns the place behind a string that begins at `at`; nil where it has no end.
local function string_end(text, at)
  local place = at + 1
  while true do
    place = text:find('["\\]', place)
    if not place then return nil end
    if text:byte(place) == 34 then return place + 1 end
    place = place + 2
  end
end

-- Goes through the members of an object that begins at `at`. `visit` gets the name of each and where
-- its value begins, and returns the place behind it; or nil and the path of an unknown field.
-- Returns the place behind the object; or nil and that path, or nil alone for what is no JSON.
local function members(text, at, visit)
  local place = text:find("%S", at + 1)
  if place and text:byte(place) == 125 then return place + 1 end
  while place and text:byte(place) == 34 do
    local behind = string_end(text, place)
    local colon = behind and text:match("^%s*:()", behind)
    if not colon then return nil end
    local found, wrong = visit(text:sub(place + 1, behind - 2), colon)
    if not found then return nil, wrong end
    local sign, next_place = text:match("^%s*([,}])%s*()", found)
    if sign == "}" then return next_place end
    place = sign and next_place
  end
  return nil
end

-- Returns the name of the message in an Any, which may stand anywhere among its members.
local function packed_name(text, at, depth)
  local name
  members(text, at, function(member, colon)
    if member == "@type" then name = text:match('^%s*"[^"]*/([%w_%.]+)"', colon) end
    return value(text, colon, nil, "", depth)
  end)
  return name
end

local function object(text, at, kind, path, depth)
  local packed = kind == ANY
  local each = type(kind) == "string" and kind:match("^map:(.+)")
  local fields = FIELDS[packed and packed_name(text, at, depth) or kind]
  return members(text, at, function(name, colon)
    local inner = each
    if fields then
      inner = fields[name] or (packed and name == "@type")
      if not inner then return nil, path .. name end
    end
    return value(text, colon, inner, path .. name .. ".", depth)
  end)
end

local function array(text, at, kind, path, depth)
  local place = text:match("^%s*()", at + 1)
  if text:byte(place) == 93 then return place + 1 end
  while true do
    local found, wrong = value(text, place, kind, path, depth)
    if not found then return nil, wrong end
    local sign, next_place = text:match("^%s*([,%]])()", found)
    if sign ~= "," then return sign and next_place end
    place = next_place
  end
end

function value(text, at, kind, path, depth)
  local place = text:find("%S", at)
  values_left = values_left - 1
  if not place or depth > DEPTH_MAX or values_left < 0 then return nil end
  local first = text:byte(place)
  if first == 123 then return object(text, place, kind, path, depth + 1) end
  if first == 91 then return array(text, place, kind, path, depth + 1) end
  if first == 34 then return string_end(text, place) end
  return text:match("^[%w%+%-%.]+()", place)
end

-- Answers as a service answers a request with a field that is wrong.
local function refuse(handle, field, cure)
  local shown = field:gsub("[^%w_%.@/-]", "?"):sub(1, 200)
  local body = '{"code":3,"message":"' .. shown .. ": " .. cure .. '","details":['
    .. '{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ERROR_REASON_INVALID_REQUEST",'
    .. '"domain":"eventspine.v1"},'
    .. '{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"' .. shown
    .. '","description":"' .. cure .. '"}]}]}'
  -- Tells the rewriting of local replies that this one is in the caller's own way already.
  handle:headers():replace("x-edge-refused", "unknown-field")
  handle:respond({[":status"] = "400", ["content-type"] = "application/json"}, body)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if (headers:get("content-type") or ""):sub(1, 16) ~= "application/json" then return end
  local kind = REQUESTS[(headers:get(":path") or ""):match("^[^?]*")]
  if not kind then return end
  local body = handle:body()
  if not body then return end
  values_left = VALUES_MAX
  local _, wrong = value(body:getBytes(0, body:length()), 1, kind, "", 0)
  if wrong then
    refuse(handle, wrong, "is not a field of this message; send only fields that the contract has")
  elseif values_left < 0 then
    refuse(handle, "request", "has too many values; send at most " .. VALUES_MAX)
  end
end
