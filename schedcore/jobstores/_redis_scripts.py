"""The Lua scripts of the Redis store. Redis runs each to its end before anything else, which is what makes them atomic."""

from __future__ import annotations

__all__ = ["DUE", "GET", "LEAVE", "RELEASE", "RENEW", "TAKE", "WRITE"]

# KEYS: owner, meta. ARGV: my name, lease (ms), the name that may be taken over or "", the schema version. Who takes it notes the
# version, because all that was there may have gone meanwhile, and who comes next has to know what is written from now on.
# Returns the name that holds it, and if that is mine, the one that took it before.
TAKE = """
local holder = redis.call('GET', KEYS[1])
if not holder or holder == ARGV[1] or holder == ARGV[3] then
  local before = redis.call('HGET', KEYS[2], 'taken')
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  redis.call('HSET', KEYS[2], 'taken', ARGV[1])
  redis.call('HSETNX', KEYS[2], 'schema', ARGV[4])
  return {ARGV[1], before or ''}
end
return {holder, ''}
"""

# KEYS: owner. ARGV: my name, lease (ms). Returns 1, or 0 if it is not mine any more.
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# KEYS: owner. ARGV: my name.
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""

# KEYS: owner, a timeline. ARGV: my name, names that are taken out of it.
LEAVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for number = 2, #ARGV do redis.call('ZREM', KEYS[2], ARGV[number]) end
return 1
"""

# KEYS: a sorted set. ARGV: the highest score, how many. Returns the names up to that score, as JSON: one answer is read by the
# client in a third of the time of a thousand.
DUE = """
return cjson.encode(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2]))
"""

# KEYS: hashes. ARGV: for each of them how many bytes a value may have; then names. Returns for each name what each hash has
# there; of what is longer the size and the beginning.
GET = """
local found = {}
for at = #KEYS + 1, #ARGV do
  for number, key in ipairs(KEYS) do
    local value = redis.call('HGET', key, ARGV[at])
    if value and #value > tonumber(ARGV[number]) then value = {#value, string.sub(value, 1, 32)} end
    found[#found + 1] = value
  end
end
return found
"""

# KEYS: owner, meta, jobs, payloads, due by the wall clock, due by elapsed time, idle, live, broken, records, history, failed.
# ARGV: my name, a token of this batch, the batch as JSON, and texts: those of documents, records and payloads, one after the
# other. The batch has their sizes in bytes. (As strings of its JSON they would cost twice, to escape and to read.) A batch:
# "ids", "revisions", "sizes": the documents that it is about, which revision each has to have ("0": it must not be there), and
# their texts; 0: it is deleted, and its payload.
# "commands": what else is done, each as the command, the number of its key among KEYS, and its arguments.
# "records": run records as columns: "jobs" (ids), "keys", "fires" (fire times), "sizes", "failed" ("1" or "0"); and "keep", how
# many there may be of each job. A record that is there already is left as it is.
# "payloads": "ids", "sizes".
# Returns 1 if all was done; or, and nothing was, the places of the documents that have another revision; or the name of who owns
# the store now, or "". A client that sends a batch again, because it did not learn what became of it, is told that.
WRITE = """
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] then return holder or '' end
if redis.call('HGET', KEYS[2], 'batch') == ARGV[2] then return 1 end
local batch = cjson.decode(ARGV[3])
local records = batch.records
local texts, place = ARGV[4], 0

local function text(size)
  place = place + size
  return string.sub(texts, place - size + 1, place)
end

-- What a Lua function can be given is limited.
local function many(command, key, values)
  for first = 1, #values, 4000 do
    redis.call(command, key, unpack(values, first, math.min(first + 3999, #values)))
  end
end

local function values_at(key, names)
  local found = {}
  for first = 1, #names, 1000 do
    local last = math.min(first + 999, #names)
    for number, value in ipairs(redis.call('HMGET', key, unpack(names, first, last))) do
      found[first + number - 1] = value
    end
  end
  return found
end

local unfit = {}
for number, value in ipairs(values_at(KEYS[3], batch.ids)) do
  local revision = value and string.match(value, '^([1-9]%d*) ') or '0'
  if #revision > 18 then revision = '0' end
  if revision ~= batch.revisions[number] then unfit[#unfit + 1] = number end
end
if #unfit > 0 then return unfit end
for _, command in ipairs(batch.commands) do many(command[1], KEYS[command[2]], command[3]) end

-- Names, each with its text; and the names of those that have none.
local function named(names, sizes)
  local found, none, last = {}, {}, 0
  for number, size in ipairs(sizes) do
    if size == 0 then
      none[#none + 1] = names[number]
    else
      found[last + 1] = names[number]
      found[last + 2] = text(size)
      last = last + 2
    end
  end
  return found, none
end

local docs, gone = named(batch.ids, batch.sizes)
many('HSET', KEYS[3], docs)
many('HDEL', KEYS[3], gone)
many('HDEL', KEYS[4], gone)

local keys, fires, sizes = records.keys, records.fires, records.sizes
local lines, places, failures, fresh, seen, last = {}, {}, {}, {}, {}, 0
for number, there in ipairs(values_at(KEYS[10], keys)) do
  local key, line = keys[number], text(sizes[number])
  if not there and not seen[key] then
    seen[key] = true
    fresh[#fresh + 1] = number
    lines[last + 1] = key
    lines[last + 2] = line
    places[last + 1] = fires[number]
    places[last + 2] = key
    last = last + 2
    if records.failed[number] == '1' then
      failures[#failures + 1] = fires[number]
      failures[#failures + 1] = key
    end
  end
end
many('HSET', KEYS[10], lines)
many('ZADD', KEYS[11], places)
many('ZADD', KEYS[12], failures)
for _, number in ipairs(fresh) do
  local own = KEYS[11] .. ':' .. records.jobs[number]
  redis.call('ZADD', own, fires[number], keys[number])
  local over = redis.call('ZCARD', own) - records.keep
  if over > 0 then
    local old = redis.call('ZRANGE', own, 0, over - 1)
    many('HDEL', KEYS[10], old)
    many('ZREM', KEYS[11], old)
    many('ZREM', KEYS[12], old)
    many('ZREM', own, old)
  end
end
many('HSET', KEYS[4], (named(batch.payloads.ids, batch.payloads.sizes)))
redis.call('HSET', KEYS[2], 'batch', ARGV[2])
return 1
"""
