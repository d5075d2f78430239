"""The Lua scripts of the Redis store. Redis runs each to its end before anything else, which is what makes them atomic."""

from __future__ import annotations

__all__ = ["DUE", "GET", "LEAVE", "LOOK", "MOVE", "RELEASE", "RENEW", "TAKE", "WRITE"]

# KEYS: owner, meta, whose the run times are. ARGV: my name, lease (ms), the name that may be taken over or "", the schema
# version, an older one that it is put in the place of, the name for whose the run times are, and the name that took it last, as
# far as is known. One that comes late finds another there, and does not take what has been given back since. Who takes it notes
# version and name, because all that was there may have gone meanwhile, and who comes next has to know what is written from now
# on. A name that nothing ends was copied from elsewhere.
# Returns the name that holds it, the one that took it last, and "" or another version, which nobody takes.
TAKE = """
local schema = redis.call('HGET', KEYS[2], 'schema')
if schema and schema ~= ARGV[4] and schema ~= ARGV[5] then return {'', '', schema} end
local holder = redis.call('GET', KEYS[1]) or ''
local last = redis.call('HGET', KEYS[2], 'taken') or ''
local free = holder == '' or holder == ARGV[1] or holder == ARGV[3] or redis.call('PTTL', KEYS[1]) == -1
if free and last == ARGV[7] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  redis.call('HSET', KEYS[2], 'taken', ARGV[1])
  redis.call('HSET', KEYS[2], 'schema', ARGV[4])
  redis.call('SETNX', KEYS[3], ARGV[6])
  return {ARGV[1], ARGV[1], ''}
end
-- The server's clock was set back.
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {holder, last, ''}
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

# KEYS: owner, runs, by time, by job, failed; and of the version before records, history, failed. ARGV: my name; and of each
# record its old key, the new one, the fire time and the id of the job; without a new one it goes. Returns 1, or the name of who
# owns the store now, or "".
MOVE = """
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] then return holder or '' end
for at = 2, #ARGV, 4 do
  local old, new, fire_us = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local text = redis.call('HGET', KEYS[6], old)
  if new ~= '' and text then
    redis.call('HSET', KEYS[2], new, text)
    redis.call('ZADD', KEYS[3], fire_us, new)
    redis.call('ZADD', KEYS[4], '0', new)
    if redis.call('ZSCORE', KEYS[8], old) then redis.call('ZADD', KEYS[5], fire_us, new) end
    redis.call('DEL', KEYS[7] .. ':' .. ARGV[at + 3])
  end
  redis.call('HDEL', KEYS[6], old)
  redis.call('ZREM', KEYS[7], old)
  redis.call('ZREM', KEYS[8], old)
end
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

# KEYS: owner, jobs. ARGV: my name, ids. Returns 1 if none of these is there; or the places of those that are; or the name of who
# owns the store now, or "".
LOOK = """
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] then return holder or '' end
local there = {}
for first = 2, #ARGV, 4000 do
  local values = redis.call('HMGET', KEYS[2], unpack(ARGV, first, math.min(first + 3999, #ARGV)))
  for number, value in ipairs(values) do
    if value then there[#there + 1] = first + number - 2 end
  end
end
if #there > 0 then return there end
return 1
"""

# KEYS: owner, meta, jobs, payloads, due by the wall clock, due by elapsed time, idle, live, broken, and of run records the texts,
# by time, by job, failed.
# ARGV: my name, what the batch has (JSON), and then, of each as many as that says and one after the other:
# "revisions": what each document has to begin with, a revision and a space ("0 ": it must not be there); none: all of them "0 ".
# "commands": what is done, each as the command, the number of its key among KEYS, and how many arguments. (Redis is given them as
# they came: to read them out of one text took the script longer than all else.) The first sets so many "documents"; the second,
# unless none is, deletes what is "gone".
# "records": run records, of each the key, the text and the fire time; "failed": which of them (from 1) are of runs that failed. A
# record that is there already is left as it is. "cut": ids of jobs of which no more records than "keep" stay.
# Returns 1 if all was done; or, and nothing was, the places of the documents that have another revision, those that go being the
# last; or the name of who owns the store now, or "".
WRITE = """
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] then return holder or '' end
local batch = cjson.decode(ARGV[2])

-- What a Lua function can be given is limited.
local function many(command, key, values, first, last)
  for at = first, last, 4000 do
    redis.call(command, key, unpack(values, at, math.min(at + 3999, last)))
  end
end

local function values_at(key, names)
  local found = {}
  for first = 1, #names, 4000 do
    local values = redis.call('HMGET', key, unpack(names, first, math.min(first + 3999, #names)))
    for number, value in ipairs(values) do found[first + number - 1] = value end
  end
  return found
end

local place = 2 + batch.revisions
local ids = {}
for number = 1, batch.documents do ids[number] = ARGV[place + 2 * number - 1] end
for number = 1, batch.gone do ids[#ids + 1] = ARGV[place + 2 * batch.documents + number] end
local unfit = {}
for number, value in ipairs(values_at(KEYS[3], ids)) do
  local revision = batch.revisions == 0 and '0 ' or ARGV[2 + number]
  if not value then
    if revision ~= '0 ' then unfit[#unfit + 1] = number end
  elseif string.sub(value, 1, #revision) ~= revision then
    -- What begins otherwise than with a revision has none.
    local other = string.match(value, '^([1-9]%d*) ')
    if revision ~= '0 ' or (other and #other <= 18) then unfit[#unfit + 1] = number end
  end
end
if #unfit > 0 then return unfit end

for _, command in ipairs(batch.commands) do
  many(command[1], KEYS[command[2]], ARGV, place + 1, place + command[3])
  place = place + command[3]
end

local failed = {}
for _, number in ipairs(batch.failed) do failed[number] = true end
local keys = {}
for number = 1, batch.records do keys[number] = ARGV[place + 3 * number - 2] end
local texts, times, jobs, failures, fresh = {}, {}, {}, {}, {}
local last = 0
for number, there in ipairs(values_at(KEYS[10], keys)) do
  local key = keys[number]
  if not there and not fresh[key] then
    local at = place + 3 * number
    fresh[key] = true
    texts[last + 1], texts[last + 2] = key, ARGV[at - 1]
    times[last + 1], times[last + 2] = ARGV[at], key
    jobs[last + 1], jobs[last + 2] = '0', key
    last = last + 2
    if failed[number] then
      failures[#failures + 1] = ARGV[at]
      failures[#failures + 1] = key
    end
  end
end
many('HSET', KEYS[10], texts, 1, last)
many('ZADD', KEYS[11], times, 1, last)
many('ZADD', KEYS[12], jobs, 1, last)
many('ZADD', KEYS[13], failures, 1, #failures)
for _, job in ipairs(batch.cut) do
  local first, beyond = '[' .. job .. '\\0', '(' .. job .. '\\1'
  local over = redis.call('ZLEXCOUNT', KEYS[12], first, beyond) - batch.keep
  if over > 0 then
    local old = redis.call('ZRANGEBYLEX', KEYS[12], first, beyond, 'LIMIT', 0, over)
    many('HDEL', KEYS[10], old, 1, over)
    for number = 11, 13 do many('ZREM', KEYS[number], old, 1, over) end
  end
end
return 1
"""
