-- The accounts' first place, written by each of Envoy's workers for itself: the counterpart of spool.py, same files.
--
-- A worker makes a directory of its own in the spool and holds a lock in it for as long as it lives, so that the proxy
-- can tell a writer that is gone. One write(2) per request, before the end of its answer goes out: what the kernel has
-- taken is there after a kill -9.

local ffi = require("ffi")

ffi.cdef([[
int open(const char *path, int flags, int mode);
int close(int fd);
long write(int fd, const void *data, size_t count);
int ftruncate(int fd, long length);
int flock(int fd, int operation);
int mkdir(const char *path, unsigned int mode);
typedef struct { int64_t sec; int64_t nsec; } tradewind_timespec;
int clock_gettime(int clock, tradewind_timespec *time);
typedef struct {
  int64_t time_us, energy_uj, smallest_uj, largest_uj, decided_uj;
  uint32_t inferences, key;
} tradewind_record;
]])

local C = ffi.C
local RECORD_BYTES = ffi.sizeof("tradewind_record")
local O_WRONLY, O_CREAT, O_EXCL, O_APPEND, O_CLOEXEC = 1, 64, 128, 1024, 524288
local LOCK_EXCLUSIVE_NOW = 6
local CLOCK_REALTIME = 0
-- Many tenants and decisions make many keys: with so many a segment ends, however few its records.
local KEYS_PER_SEGMENT = 4096

local spool = {}
local moment = ffi.new("tradewind_timespec")
local record = ffi.new("tradewind_record")

-- Microseconds since 1970.
function spool.now_us()
  C.clock_gettime(CLOCK_REALTIME, moment)
  return tonumber(moment.sec) * 1000000 + math.floor(tonumber(moment.nsec) / 1000)
end

local function random_name()
  local source = assert(io.open("/dev/urandom", "rb"))
  local bytes = source:read(16)
  source:close()
  return (bytes:gsub(".", function(one) return string.format("%02x", one:byte()) end))
end

local function create(path)
  return C.open(path, O_WRONLY + O_CREAT + O_EXCL + O_APPEND + O_CLOEXEC, 420)
end

-- A writer below a directory that is there; it makes its files at the first record.
function spool.writer(directory, segment_bytes)
  return {
    parent = directory, segment_bytes = segment_bytes, directory = nil,
    segment = -1, records = -1, keys = -1, written = 0, key_count = 0,
  }
end

local function close(writer)
  if writer.records >= 0 then C.close(writer.records) end
  if writer.keys >= 0 then C.close(writer.keys) end
  writer.records, writer.keys = -1, -1
end

-- Begins the next segment; false when the disk does not take it.
local function begin_segment(writer)
  if not writer.directory then
    local directory = writer.parent .. "/" .. random_name()
    if C.mkdir(directory, 493) ~= 0 then return false end
    local lock = create(directory .. "/lock")
    if lock < 0 or C.flock(lock, LOCK_EXCLUSIVE_NOW) ~= 0 then return false end
    writer.directory = directory
  end
  close(writer)
  writer.segment = writer.segment + 1
  local stem = string.format("%s/%010d", writer.directory, writer.segment)
  -- Keys first: a reader that sees the records finds their keys.
  writer.keys = create(stem .. ".keys")
  writer.records = create(stem .. ".records")
  writer.written, writer.key_count = 0, 0
  return writer.keys >= 0 and writer.records >= 0
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\" }

-- A string as JSON; bytes outside ASCII are written as the characters of their number.
function spool.quote(text)
  return '"' .. text:gsub('[%c"\\\127-\255]', function(one)
    return ESCAPES[one] or string.format("\\u%04x", one:byte())
  end) .. '"'
end

-- The number that the segment knows a charge by; nil when the disk does not take it. `charge` is JSON but for the tenant.
local function number_of(writer, lane, interval, tenant)
  local keys = lane.keys
  if lane.segment ~= writer.segment then
    keys = {}
    lane.keys, lane.segment = keys, writer.segment
  end
  local place = (interval and interval.id or "") .. "\0" .. tenant
  local number = keys[place]
  if number then return number end
  -- The line break comes first as well: a line that a full disk cut short then spoils only itself.
  local line = string.format(
    '\n{"number": %d, %s, "tenant": %s, "reading": %s}\n',
    writer.key_count + 1, lane.charge, spool.quote(tenant), interval and interval.reading or "null"
  )
  if C.write(writer.keys, line, #line) ~= #line then return nil end
  writer.key_count = writer.key_count + 1
  keys[place] = writer.key_count
  return writer.key_count
end

-- Writes one request down; false when the disk does not take it: then nothing is recorded.
function spool.record(writer, lane, interval, tenant, time_us, cost)
  if writer.records < 0 or writer.written >= writer.segment_bytes or writer.key_count >= KEYS_PER_SEGMENT then
    if not begin_segment(writer) then
      close(writer)
      return false
    end
  end
  local number = number_of(writer, lane, interval, tenant)
  if not number then return false end
  record.time_us, record.energy_uj, record.smallest_uj = time_us, cost.energy_uj, cost.smallest_uj
  record.largest_uj, record.decided_uj = cost.largest_uj, cost.decided_uj
  record.inferences, record.key = cost.inferences, number
  if C.write(writer.records, record, RECORD_BYTES) ~= RECORD_BYTES then
    C.ftruncate(writer.records, writer.written)
    return false
  end
  writer.written = writer.written + RECORD_BYTES
  return true
end

return spool
